import Foundation

/// Makes calls of the system fail in an executable, one way at a time: a library that stands before libc's own.
/// Compiled once, by the C compiler that Swift comes with.
package struct FailingCalls: Sendable {
    private let library: String
    private let folder: TemporaryDirectory

    package init() throws {
        folder = try TemporaryDirectory()
        library = folder("failing.so")
        try Self.source.write(toFile: folder("failing.c"), atomically: true, encoding: .utf8)
        let compiled = try Executable(path: "/usr/bin/env").run([
            "clang", "-shared", "-fPIC", "-O1", "-o", library, folder("failing.c"), "-ldl",
        ])
        guard compiled.status == 0 else { throw CocoaError(.executableLoad) }
    }

    /// What an executable's environment must be so that `call` fails with an error number: from its `first` time on
    /// (from 0), `count` times. `path`: only where the file's path has this in it, or ends with it where it is a
    /// folder's, with a slash at its end.
    package func environment(_ call: String, _ error: Int32, first: Int = 0, count: Int = 1 << 30, path: String = "")
        -> [String: String]
    {
        [
            "LD_PRELOAD": library, "FAILING_CALL": call, "FAILING_ERROR": "\(error)", "FAILING_FIRST": "\(first)",
            "FAILING_COUNT": "\(count)", "FAILING_PATH": path,
        ]
    }

    /// So that an executable is killed instead of making `call` for the `time`-th time (from 0) on a path with `path` in it.
    package func killing(at call: String, time: Int, path: String) -> [String: String] {
        environment(call, 0, first: time, count: 1, path: path)
    }

    /// So that a file whose path ends with `path` is changed behind an executable's back, right after it has mapped it for
    /// the `time`-th time (from 0).
    package func changing(_ change: FileChange, time: Int, path: String) -> [String: String] {
        environment("mmap", change.rawValue, first: time, count: 1, path: path)
    }

    /// What becomes of a file while somebody reads it.
    package enum FileChange: Int32, Sendable, CaseIterable {
        /// To half of its length.
        case cutOff = -1
        /// By one byte at its end.
        case longer = -2
    }

    /// Descriptors are looked up in /proc for their paths; a folder's has a slash at its end here.
    private static let source = #"""
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
        #include <unistd.h>

        static atomic_long calls;

        static int fails_at(const char *call, const char *path) {
            const char *wanted = getenv("FAILING_CALL"), *part = getenv("FAILING_PATH");
            if (wanted == NULL || part == NULL || strcmp(wanted, call) != 0) return 0;
            const size_t length = strlen(path), wants = strlen(part);
            // A folder's name is that of the folder itself, not of what lies in it.
            if (wants > 0 && part[wants - 1] == '/') { if (length < wants || strcmp(path + length - wants, part) != 0) return 0; }
            else if (strstr(path, part) == NULL) return 0;
            const long number = atomic_fetch_add(&calls, 1), first = atol(getenv("FAILING_FIRST"));
            if (number < first || number - first >= atol(getenv("FAILING_COUNT"))) return 0;
            const int error = atoi(getenv("FAILING_ERROR"));
            if (error == 0) kill(getpid(), SIGKILL);
            errno = error;
            return 1;
        }

        static int fails(const char *call, int descriptor) {
            char link[64], path[PATH_MAX + 2] = "";
            snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
            ssize_t length = readlink(link, path, PATH_MAX);
            path[length < 0 ? 0 : length] = 0;
            struct stat status;
            if (fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode)) strcat(path, "/");
            return fails_at(call, path);
        }

        #define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
        #define OPEN(name) \
            int name(const char *path, int flags, ...) { \
                va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
                return fails_at("open", path) ? -1 : REAL(name)(path, flags, mode); \
            }
        OPEN(open)
        OPEN(open64)
        ssize_t read(int fd, void *p, size_t n) { return fails("read", fd) ? -1 : REAL(read)(fd, p, n); }
        ssize_t write(int fd, const void *p, size_t n) { return fd > 2 && fails("write", fd) ? -1 : REAL(write)(fd, p, n); }
        ssize_t pwrite64(int fd, const void *p, size_t n, off64_t o) { return fails("pwrite64", fd) ? -1 : REAL(pwrite64)(fd, p, n, o); }
        int fsync(int fd) { return fails("fsync", fd) ? -1 : REAL(fsync)(fd); }
        int flock(int fd, int how) { return fails("flock", fd) ? -1 : REAL(flock)(fd, how); }
        int rename(const char *a, const char *b) { return fails_at("rename", b) ? -1 : REAL(rename)(a, b); }
        int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*body)(void *), void *x) {
            return fails_at("thread", "") ? errno : REAL(pthread_create)(t, a, body, x);
        }
        int mkdir(const char *path, mode_t mode) { return fails_at("mkdir", path) ? -1 : REAL(mkdir)(path, mode); }
        static void change(int error, int descriptor) {
            char link[64];
            struct stat status;
            snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
            if (fstat(descriptor, &status) == 0) truncate(link, error == -1 ? status.st_size / 2 : status.st_size + 1);
        }

        #define MAP(name) \
            void *name(void *a, size_t n, int p, int f, int fd, off_t o) { \
                const int failed = fd >= 0 && fails("mmap", fd), error = errno; \
                if (failed && error > 0) return MAP_FAILED; \
                void *mapped = REAL(name)(a, n, p, f, fd, o); \
                if (failed) change(error, fd); \
                return mapped; \
            }
        MAP(mmap)
        MAP(mmap64)
        struct dirent *readdir(DIR *d) { return fails("readdir", dirfd(d)) ? NULL : REAL(readdir)(d); }
        struct dirent64 *readdir64(DIR *d) { return fails("readdir", dirfd(d)) ? NULL : REAL(readdir64)(d); }
        """#
}
