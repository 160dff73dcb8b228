// Memory that can't be had ends the process with a sentence and exit code 4. Without this, Swift's runtime traps where
// malloc gives nothing, OpenBLAS asks for its buffers again and again for ever, or ends the process with SIGINT where it
// gets no thread, before main has begun, and libdispatch waits for threads without end.
//
// The executable's own malloc and its like stand before libc's for every library that it is linked with: they hand on to
// the next ones, libc's or those of an allocator that was preloaded, and look at what comes back. Whoever ends here ends
// as if it were killed: what is unfinished has other names than what is whole.
#define _GNU_SOURCE
#include "memory_limits.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

long crux_address_space_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > LONG_MAX) return LONG_MAX;
    return (long)limit.rlim_cur;
}

// Sanitizers have allocators of their own, which say what is wrong.
#if defined(__GLIBC__) && !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer) && \
    !__has_feature(memory_sanitizer)

enum { OUTPUT_FAILURE = 4 };  // as ExitStatus has it

static int tells_json;

void crux_tell_refusals_as_json(void) { tells_json = 1; }

// MARK: words

// ` of the 400 MiB that ulimit -v allows`, or nothing where it allows everything.
static void describe_limit(char *text, size_t size) {
    const long limit = crux_address_space_limit();
    text[0] = 0;
    if (limit != LONG_MAX) snprintf(text, size, " (ulimit -v allows %ld MiB in all)", limit >> 20);
}

// As StageLog writes an error.
static int write_error(char *line, size_t size, const char *sentence) {
    if (!tells_json) return snprintf(line, size, "%s: error: %s\n", program_invocation_short_name, sentence);
    struct timespec now;
    struct tm parts;
    char time[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &parts);
    return snprintf(line, size,
        "{\"command\":\"%s\",\"level\":\"error\",\"message\":\"%s\",\"status\":%d,\"time\":\"%s.%03ldZ\"}\n",
        program_invocation_short_name, sentence, OUTPUT_FAILURE, time, now.tv_nsec / 1000000);
}

// Nothing here takes memory from the heap: snprintf doesn't for whole numbers and short strings. Several threads may
// find at once that there is nothing left: the first one speaks, the others wait for the end.
static _Noreturn void refuse(const char *what, int error, const char *remedy) {
    static atomic_flag is_told = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&is_told)) pause();
    char limit[64], sentence[640], line[1024];
    describe_limit(limit, sizeof limit);
    snprintf(sentence, sizeof sentence,
        "found no %s to be had: %s%s. What was complete before is untouched; %s, and run again.", what,
        error == ENOMEM ? "Cannot allocate memory" : "Resource temporarily unavailable", limit, remedy);
    const int length = write_error(line, sizeof line, sentence);
    for (ssize_t done = 0, moved; done < length; done += moved)
        if ((moved = write(STDERR_FILENO, line + done, (size_t)(length - done))) <= 0) break;
    _exit(OUTPUT_FAILURE);
}

static _Noreturn void refuse_memory(size_t bytes) {
    char what[64];
    snprintf(what, sizeof what, "%zu bytes of memory", bytes);
    refuse(what, ENOMEM, "allow more memory (ulimit -v, the control group, the job's request), or give a smaller --memory or fewer --threads");
}

// MARK: the next ones

// Looked up at the first call, which libraries may make before any constructor here has run. dlsym takes no memory where
// it finds what it looks for.
#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name); \
    if (!next) _exit(OUTPUT_FAILURE)

void *malloc(size_t size) {
    NEXT(malloc);
    void *memory = next(size);
    if (!memory && size) refuse_memory(size);
    return memory;
}

void *calloc(size_t count, size_t size) {
    NEXT(calloc);
    void *memory = next(count, size);
    if (!memory && count && size) refuse_memory(count * size);
    return memory;
}

void *realloc(void *old, size_t size) {
    NEXT(realloc);
    void *memory = next(old, size);
    if (!memory && size) refuse_memory(size);
    return memory;
}

void *aligned_alloc(size_t alignment, size_t size) {
    NEXT(aligned_alloc);
    void *memory = next(alignment, size);
    if (!memory && size) refuse_memory(size);
    return memory;
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    NEXT(posix_memalign);
    const int status = next(memory, alignment, size);
    if (status == ENOMEM) refuse_memory(size);
    return status;
}

// Of memory alone: a file that can't be mapped is its reader's to tell.
static int is_memory(int flags, int descriptor) {
    return descriptor < 0 && (flags & MAP_ANONYMOUS) && !(flags & (MAP_HUGETLB | MAP_FIXED_NOREPLACE));
}

void *mmap(void *address, size_t size, int protection, int flags, int descriptor, off_t offset) {
    NEXT(mmap);
    void *memory = next(address, size, protection, flags, descriptor, offset);
    if (memory == MAP_FAILED && errno == ENOMEM && is_memory(flags, descriptor)) refuse_memory(size);
    return memory;
}

void *mmap64(void *address, size_t size, int protection, int flags, int descriptor, off64_t offset) {
    NEXT(mmap64);
    void *memory = next(address, size, protection, flags, descriptor, offset);
    if (memory == MAP_FAILED && errno == ENOMEM && is_memory(flags, descriptor)) refuse_memory(size);
    return memory;
}

int pthread_create(
    pthread_t *restrict thread, const pthread_attr_t *restrict attributes, void *(*body)(void *), void *restrict argument) {
    NEXT(pthread_create);
    const int status = next(thread, attributes, body, argument);
    if (status == EAGAIN || status == ENOMEM)
        refuse("further thread", status,
            "allow more processes and threads (ulimit -u, the control group) or more memory (ulimit -v), or give fewer --threads");
    return status;
}

#else

void crux_tell_refusals_as_json(void) {}

#endif
