// What a plug-in does for processes that work together, one rank each. The library exports one function, CRUX_GANG_ENTRY,
// which returns the calls below. It is compiled against a cluster's own MPI, so that nothing else has to be.
//
// All calls are made by one thread. All but send and receive are made by every rank, in the same order. Bytes are counted
// in 64 bits: where MPI counts in 32, the plug-in cuts. Each call returns 0 or MPI's error code.
#pragma once
#include <stddef.h>

#define CRUX_GANG_FORM 1
#define CRUX_GANG_ENTRY "crux_gang_mpi"

typedef struct {
    int form; // CRUX_GANG_FORM; first in every version of this table
    // Once in a process. `rank` counts from 0 to below `size`.
    int (*join)(int *rank, int *size);
    // `all` [size, bytes]: `own` of each rank in the order of ranks.
    int (*gather)(const void *own, void *all, size_t bytes);
    // `bytes` of rank `from` on all ranks.
    int (*broadcast)(void *bytes, size_t count, int from);
    // outgoing[r] of outgoing_bytes[r] goes to rank r; `incoming` [size, incoming_bytes]: what each rank has sent here.
    int (*exchange)(
        const void *const *outgoing, const size_t *outgoing_bytes, void *incoming, size_t incoming_bytes);
    int (*send)(const void *bytes, size_t count, int to);
    int (*receive)(void *bytes, size_t count, int from);
    // What an error code means, as a text that ends with 0.
    void (*explain)(int code, char *text, size_t room);
    // Waits for all ranks. Nothing can be called after it.
    int (*leave)(void);
    // Ends all ranks at once; the launcher ends with `status`.
    void (*end_all)(int status);
} crux_gang;
