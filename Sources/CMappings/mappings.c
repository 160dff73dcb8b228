#define _GNU_SOURCE
#include "mappings.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// A slot is odd while it changes: the handler, which may not wait for a lock, passes over it. The slot that it looks for is
// never one of those, because whoever faults is reading that mapping.
struct crux_mapping {
    atomic_uint_fast64_t changes;
    atomic_uintptr_t start, end;
    _Atomic int64_t missing;
};

enum { slots_of_a_block = 256 };

// Blocks are added and never taken away, so that the handler can walk them at any time.
typedef struct block {
    crux_mapping slots[slots_of_a_block];
    _Atomic(struct block *) next;
} block;

static block first_block;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sigaction earlier;
static uintptr_t page;

static crux_mapping *holder(uintptr_t address) {
    for (block *b = &first_block; b != NULL; b = atomic_load(&b->next)) {
        for (int i = 0; i < slots_of_a_block; i++) {
            crux_mapping *slot = &b->slots[i];
            const uint_fast64_t before = atomic_load(&slot->changes);
            const uintptr_t start = atomic_load(&slot->start), end = atomic_load(&slot->end);
            if (before % 2 == 0 && atomic_load(&slot->changes) == before && start <= address && address < end) return slot;
        }
    }
    return NULL;
}

// Only calls of the kernel and atomics: nothing else is allowed here.
static void put_zeros(int number, siginfo_t *information, void *context) {
    (void)number, (void)context;
    const int error = errno;
    const uintptr_t address = (uintptr_t)information->si_addr & ~(page - 1);
    crux_mapping *slot = information->si_code == BUS_ADRERR ? holder((uintptr_t)information->si_addr) : NULL;
    if (slot != NULL) {
        const int64_t offset = (int64_t)(address - atomic_load(&slot->start));
        int64_t known = atomic_load(&slot->missing);
        while ((known < 0 || offset < known) && !atomic_compare_exchange_weak(&slot->missing, &known, offset)) {}
        // All that follows too: it is an error already, and each further page would cost another signal.
        const uintptr_t length = atomic_load(&slot->end) - address;
        if (mmap((void *)address, length, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED) {
            errno = error;
            return;
        }
    }
    // Nothing of ours: the same instruction faults again, and ends as it would have.
    sigaction(SIGBUS, &earlier, NULL);
    errno = error;
}

static void listen_once(void) {
    page = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = put_zeros, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &earlier);
}

static crux_mapping *free_slot(void) {
    for (block *b = &first_block;; b = atomic_load(&b->next)) {
        for (int i = 0; i < slots_of_a_block; i++) if (atomic_load(&b->slots[i].end) == 0) return &b->slots[i];
        if (atomic_load(&b->next) == NULL) {
            block *more = calloc(1, sizeof *more);
            if (more == NULL) return NULL;
            atomic_store(&b->next, more);
        }
    }
}

static void change(crux_mapping *slot, uintptr_t start, uintptr_t end) {
    atomic_fetch_add(&slot->changes, 1);
    atomic_store(&slot->start, start);
    atomic_store(&slot->end, end);
    atomic_store(&slot->missing, -1);
    atomic_fetch_add(&slot->changes, 1);
}

crux_mapping *crux_mapping_watch(const void *start, uint64_t length) {
    pthread_once(&once, listen_once);
    pthread_mutex_lock(&lock);
    crux_mapping *slot = free_slot();
    if (slot != NULL) change(slot, (uintptr_t)start, (uintptr_t)start + length);
    pthread_mutex_unlock(&lock);
    return slot;
}

void crux_mapping_forget(crux_mapping *mapping) {
    pthread_mutex_lock(&lock);
    change(mapping, 0, 0);
    pthread_mutex_unlock(&lock);
}

int64_t crux_mapping_missing(const crux_mapping *mapping) { return atomic_load(&mapping->missing); }
