#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#if defined(__linux__)
#include <sys/vfs.h>
#endif
#include <unistd.h>

// prctl takes any number of arguments, which Swift can't call. The parent may have died before the call: whoever is the
// parent now tells.
static inline int crux_die_with_parent(int parent) { return prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent; }

// Whether whoever started this process has asked for a signal to be ignored. (Swift can't compare handlers.)
static inline int crux_is_ignored(int number) {
    struct sigaction action;
    return sigaction(number, 0, &action) == 0 && action.sa_handler == SIG_IGN;
}

// Descriptors from `first` on are closed in whatever is started from now on. (CLOSE_RANGE_CLOEXEC; glibc's header hides
// the call.) Before Linux 5.11 nothing happens, and children inherit them as ever.
static inline void crux_keep_from_children(unsigned int first) {
#ifdef SYS_close_range
    syscall(SYS_close_range, first, ~0U, 4U);
#endif
}

// Processors in the mask of this process, 0 where the kernel doesn't say. The kernel's own call takes masks of any
// length.
static inline int crux_processors(void) {
    unsigned long mask[1024];
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    int count = 0;
    for (long word = 0; word < bytes / (long)sizeof *mask; word++) count += __builtin_popcountl(mask[word]);
    return count;
}

// Freed memory stays with the process. Large blocks would otherwise go back to the kernel after every step and come
// again page by page, zeroed each time: a quarter of a small model's training step.
static inline void crux_keep_freed_memory(void) {
#if defined(__GLIBC__)
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

// One heap for all threads. Each would otherwise have its own, which keeps what others could do with.
static inline void crux_share_freed_memory(void) {
#if defined(__GLIBC__)
    mallopt(M_ARENA_MAX, 1);
#endif
}

// Begins to write a stretch of a file to disk and does not wait for it: a sync at the end then has less left to do.
// Nothing where the kernel has no such call. (glibc's header hides it, and its flag 2, SYNC_FILE_RANGE_WRITE.)
#if defined(__GLIBC__) && defined(__LP64__)
extern int sync_file_range(int descriptor, long start, long count, unsigned int flags);
#endif
static inline void crux_start_writing_back(int descriptor, long start, long count) {
#if defined(__GLIBC__) && defined(__LP64__)
    sync_file_range(descriptor, start, count, 2);
#endif
}

// A file in a folder that never has a name there; -1 where the file system can't. (The flag is the kernel's own:
// headers hide it.)
static inline int crux_open_unnamed(const char *folder) {
#if defined(__linux__)
    return open(folder, 020000000 | O_DIRECTORY | O_RDWR | O_CLOEXEC, 0600);
#else
    return -1;
#endif
}

// Whether a folder lies on a file system that several machines may have mounted at once: NFS, CIFS and SMB2, Lustre,
// GPFS, BeeGFS, Ceph, OCFS2, GFS2, AFS, 9p. 0 where it doesn't, or nobody knows.
static inline int crux_is_network_file_system(const char *folder) {
#if defined(__linux__)
    static const unsigned int types[] = {0x6969,     0xff534d42, 0xfe534d42, 0x0bd00bd0, 0x47504653, 0x19830326,
                                         0x00c36400, 0x7461636f, 0x01161970, 0x5346414f, 0x01021997};
    struct statfs found;
    if (statfs(folder, &found) != 0) return 0;
    for (unsigned long i = 0; i < sizeof types / sizeof *types; i++)
        if ((unsigned int)found.f_type == types[i]) return 1;
#endif
    return 0;
}
