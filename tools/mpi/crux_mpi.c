// libcrux-mpi.so: crux's processes as ranks of an MPI job. `make mpi` compiles it with mpicc against whatever MPI that is.
#include "gang.h"
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

// What one call of MPI, which counts in int, is given of long arrays.
enum { PIECE = 1 << 30 };

// Tags of messages between two ranks: MPI keeps those of one tag in order.
enum { EXCHANGED = 1, SENT = 2 };

static int own_rank, gang_size;

static int join(int *rank, int *size) {
    int threads;
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &threads);
    if (code != MPI_SUCCESS) return code;
    if (threads < MPI_THREAD_FUNNELED) return MPI_ERR_OTHER;
    // Errors come back; by default they would end the process without a word of ours.
    code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(MPI_COMM_WORLD, &own_rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(MPI_COMM_WORLD, &gang_size);
    *rank = own_rank;
    *size = gang_size;
    return code;
}

static int piece(size_t left) { return left < PIECE ? (int)left : PIECE; }

static int broadcast(void *bytes, size_t count, int from) {
    for (size_t done = 0; done < count; done += PIECE) {
        int code = MPI_Bcast((char *)bytes + done, piece(count - done), MPI_BYTE, from, MPI_COMM_WORLD);
        if (code != MPI_SUCCESS) return code;
    }
    return MPI_SUCCESS;
}

static int gather(const void *own, void *all, size_t bytes) {
    if (bytes <= PIECE) return MPI_Allgather(own, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
    memcpy((char *)all + (size_t)own_rank * bytes, own, bytes);
    for (int rank = 0; rank < gang_size; rank++) {
        int code = broadcast((char *)all + (size_t)rank * bytes, bytes, rank);
        if (code != MPI_SUCCESS) return code;
    }
    return MPI_SUCCESS;
}

static int exchange(
    const void *const *outgoing, const size_t *outgoing_bytes, void *incoming, size_t incoming_bytes) {
    // Crux exchanges pieces of some megabytes.
    if (incoming_bytes > PIECE) return MPI_ERR_COUNT;
    MPI_Request *requests = malloc(2 * (size_t)gang_size * sizeof *requests);
    if (!requests) return MPI_ERR_NO_MEM;
    int count = 0, code = MPI_SUCCESS;
    for (int rank = 0; rank < gang_size && code == MPI_SUCCESS; rank++) {
        if (rank == own_rank) continue;
        code = MPI_Irecv((char *)incoming + (size_t)rank * incoming_bytes, (int)incoming_bytes, MPI_BYTE, rank,
            EXCHANGED, MPI_COMM_WORLD, &requests[count++]);
    }
    for (int rank = 0; rank < gang_size && code == MPI_SUCCESS; rank++) {
        if (rank == own_rank) continue;
        code = outgoing_bytes[rank] > PIECE ? MPI_ERR_COUNT
            : MPI_Isend(outgoing[rank], (int)outgoing_bytes[rank], MPI_BYTE, rank, EXCHANGED, MPI_COMM_WORLD,
                &requests[count++]);
    }
    if (code == MPI_SUCCESS) {
        memcpy((char *)incoming + (size_t)own_rank * incoming_bytes, outgoing[own_rank], outgoing_bytes[own_rank]);
        code = MPI_Waitall(count, requests, MPI_STATUSES_IGNORE);
    }
    free(requests);
    return code;
}

static int send(const void *bytes, size_t count, int to) {
    for (size_t done = 0; done < count; done += PIECE) {
        int code = MPI_Send((const char *)bytes + done, piece(count - done), MPI_BYTE, to, SENT, MPI_COMM_WORLD);
        if (code != MPI_SUCCESS) return code;
    }
    return MPI_SUCCESS;
}

static int receive(void *bytes, size_t count, int from) {
    for (size_t done = 0; done < count; done += PIECE) {
        int code = MPI_Recv((char *)bytes + done, piece(count - done), MPI_BYTE, from, SENT, MPI_COMM_WORLD,
            MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return code;
    }
    return MPI_SUCCESS;
}

static void explain(int code, char *text, size_t room) {
    char words[MPI_MAX_ERROR_STRING];
    int length = 0;
    if (MPI_Error_string(code, words, &length) != MPI_SUCCESS) length = 0;
    size_t kept = (size_t)length < room - 1 ? (size_t)length : room - 1;
    memcpy(text, words, kept);
    text[kept] = 0;
}

static int leave(void) {
    int code = MPI_Barrier(MPI_COMM_WORLD);
    return code == MPI_SUCCESS ? MPI_Finalize() : code;
}

static void end_all(int status) { MPI_Abort(MPI_COMM_WORLD, status); }

const crux_gang *crux_gang_mpi(void) {
    static const crux_gang calls = {
        CRUX_GANG_FORM, join, gather, broadcast, exchange, send, receive, explain, leave, end_all,
    };
    return &calls;
}
