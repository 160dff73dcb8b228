// A library to preload: makes one call of the system fail in one program, the N-th of its kind, or counts them.
//
//   FAULT_PROGRAM  the name of the executable that is meant; others, its children say, go undisturbed
//   FAULT_CALL     which call; counted are all
//   FAULT_AT       which of them, from 0
//   FAULT_ERROR    an error's number; -1: half of what was asked for is read or written; -2: the process is killed
//   FAULT_LOG      where is written what failed, or with FAULT_CALL=count how often each call was made
//
// What libc calls within itself (fopen, getline) doesn't pass here. fd 2 is left alone, so that words can be read.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS(X) X(open) X(read) X(pread) X(write) X(pwrite) X(fsync) X(fdatasync) X(rename) X(link) X(mkdir) \
    X(unlink) X(rmdir) X(ftruncate) X(mmap) X(opendir) X(readdir) X(stat) X(flock) X(fallocate) X(thread) X(close)
#define NUMBER(name) call_##name,
enum { CALLS(NUMBER) call_count };
#define NAME(name) #name,
static const char *const names[] = {CALLS(NAME)};

static atomic_long made[call_count];
static int wanted = -1, counts, error_number;
static long wanted_time;
static const char *log_path;

// Straight to the kernel: nothing that passes here may be counted.
static void note(const char *text) {
    const long fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return;
    syscall(SYS_write, fd, text, strlen(text));
    syscall(SYS_close, fd);
}

__attribute__((constructor)) static void read_environment(void) {
    const char *program = getenv("FAULT_PROGRAM"), *call = getenv("FAULT_CALL");
    log_path = getenv("FAULT_LOG");
    if (program == NULL || call == NULL || log_path == NULL || strcmp(program, program_invocation_short_name) != 0) return;
    counts = strcmp(call, "count") == 0;
    for (int i = 0; i < call_count; i++) if (strcmp(call, names[i]) == 0) wanted = i;
    if (!counts) { wanted_time = atol(getenv("FAULT_AT")); error_number = atoi(getenv("FAULT_ERROR")); }
}

__attribute__((destructor)) static void write_counts(void) {
    char line[64];
    for (int i = 0; counts && i < call_count; i++) {
        snprintf(line, sizeof line, "%s %ld\n", names[i], atomic_load(&made[i]));
        note(line);
    }
}

// Whether this is the call that is to fail; then with its error.
static int fails(int call, const char *path, int fd) {
    if (!counts && wanted != call) return 0;
    if (atomic_fetch_add(&made[call], 1) != wanted_time || counts) return 0;
    char own[PATH_MAX] = "?", link[64], line[PATH_MAX + 64];
    if (path == NULL && fd >= 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        const long length = syscall(SYS_readlink, link, own, sizeof own - 1);
        own[length < 0 ? 0 : length] = 0;
    }
    snprintf(line, sizeof line, "%s %s\n", names[call], path != NULL ? path : own);
    note(line);
    if (error_number == -2) syscall(SYS_kill, getpid(), SIGKILL);
    errno = error_number;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
// Half of the bytes; of one byte that one.
#define PART(n) ((n) > 1 ? (n) / 2 : (n))

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); const mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        return fails(call_open, path, -1) ? -1 : REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); const mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        return fails(call_open, path, -1) ? -1 : REAL(name)(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)
#define TRANSFER(kind, name, type, more, given) \
    ssize_t name(int fd, type p, size_t n more) { \
        if (fd != 2 && fails(call_##kind, NULL, fd)) { if (error_number != -1) return -1; n = PART(n); } \
        return REAL(name)(fd, p, n given); \
    }
#define COMMA ,
TRANSFER(read, read, void *, , )
TRANSFER(write, write, const void *, , )
TRANSFER(pread, pread, void *, COMMA off_t o, COMMA o)
TRANSFER(pread, pread64, void *, COMMA off64_t o, COMMA o)
TRANSFER(pwrite, pwrite, const void *, COMMA off_t o, COMMA o)
TRANSFER(pwrite, pwrite64, const void *, COMMA off64_t o, COMMA o)
int fsync(int fd) { return fails(call_fsync, NULL, fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails(call_fdatasync, NULL, fd) ? -1 : REAL(fdatasync)(fd); }
int flock(int fd, int how) { return fails(call_flock, NULL, fd) ? -1 : REAL(flock)(fd, how); }
int rename(const char *a, const char *b) { return fails(call_rename, b, -1) ? -1 : REAL(rename)(a, b); }
int renameat(int f, const char *a, int g, const char *b) { return fails(call_rename, b, -1) ? -1 : REAL(renameat)(f, a, g, b); }
int link(const char *a, const char *b) { return fails(call_link, b, -1) ? -1 : REAL(link)(a, b); }
int linkat(int f, const char *a, int g, const char *b, int h) { return fails(call_link, b, -1) ? -1 : REAL(linkat)(f, a, g, b, h); }
int mkdir(const char *path, mode_t mode) { return fails(call_mkdir, path, -1) ? -1 : REAL(mkdir)(path, mode); }
int unlink(const char *path) { return fails(call_unlink, path, -1) ? -1 : REAL(unlink)(path); }
int rmdir(const char *path) { return fails(call_rmdir, path, -1) ? -1 : REAL(rmdir)(path); }
int ftruncate(int fd, off_t n) { return fails(call_ftruncate, NULL, fd) ? -1 : REAL(ftruncate)(fd, n); }
int ftruncate64(int fd, off64_t n) { return fails(call_ftruncate, NULL, fd) ? -1 : REAL(ftruncate64)(fd, n); }
void *mmap(void *a, size_t n, int p, int f, int fd, off_t o) { return fails(call_mmap, NULL, fd) ? MAP_FAILED : REAL(mmap)(a, n, p, f, fd, o); }
void *mmap64(void *a, size_t n, int p, int f, int fd, off64_t o) { return fails(call_mmap, NULL, fd) ? MAP_FAILED : REAL(mmap64)(a, n, p, f, fd, o); }
DIR *opendir(const char *path) { return fails(call_opendir, path, -1) ? NULL : REAL(opendir)(path); }
DIR *fdopendir(int fd) { return fails(call_opendir, NULL, fd) ? NULL : REAL(fdopendir)(fd); }
struct dirent *readdir(DIR *d) { return fails(call_readdir, NULL, dirfd(d)) ? NULL : REAL(readdir)(d); }
struct dirent64 *readdir64(DIR *d) { return fails(call_readdir, NULL, dirfd(d)) ? NULL : REAL(readdir64)(d); }
int stat(const char *path, struct stat *s) { return fails(call_stat, path, -1) ? -1 : REAL(stat)(path, s); }
int lstat(const char *path, struct stat *s) { return fails(call_stat, path, -1) ? -1 : REAL(lstat)(path, s); }
int fstat(int fd, struct stat *s) { return fails(call_stat, NULL, fd) ? -1 : REAL(fstat)(fd, s); }
int posix_fallocate(int fd, off_t o, off_t n) { return fails(call_fallocate, NULL, fd) ? error_number : REAL(posix_fallocate)(fd, o, n); }
int posix_fallocate64(int fd, off64_t o, off64_t n) { return fails(call_fallocate, NULL, fd) ? error_number : REAL(posix_fallocate64)(fd, o, n); }
int fallocate(int fd, int m, off_t o, off_t n) { return fails(call_fallocate, NULL, fd) ? -1 : REAL(fallocate)(fd, m, o, n); }
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *p) {
    return fails(call_thread, "a thread", -1) ? error_number : REAL(pthread_create)(t, a, f, p);
}
// The descriptor is gone all the same, as Linux has it.
int close(int fd) {
    const int failed = fails(call_close, NULL, fd), code = REAL(close)(fd);
    if (failed) errno = error_number;
    return failed ? -1 : code;
}
