// Counts of values between the edges of a number line, and the values between some of them.
#ifndef NAME
#define BODY "cells.c"
#include "each_instruction_set.inc"

void crux_begin_cells(crux_cells *cells, const float *edges, size_t count, uint32_t turns) {
    memset(cells, 0, sizeof *cells);
    memcpy(cells->edges, edges, count * sizeof *edges);
    cells->count = count;
    cells->turns = turns;
}

size_t crux_count_cells(const float *values, size_t n, crux_cells *cells, float *gathered){
    CHOOSE(count_cells(values, n, cells, gathered))}

uint64_t crux_cells_at_least(const crux_cells *cells, size_t edge) {
    uint64_t sum = 0;
    for (size_t lane = 0; lane < CRUX_CELL_LANES; lane++) sum += cells->at_least[edge][lane];
    return sum;
}

#elif defined(AVX512)
// It has what the others lack: masks, and a compressing store.
#include "cells_avx512.inc"
#else

// Loops that a compiler makes vectors of, a block of values at a time so that they stay in the nearest cache while one
// edge after the other goes over them.
enum { NAME(cell_block) = 256 };

static uint32_t NAME(has_odd)(const float *values, size_t n) {
    uint32_t odd = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        odd |= (bits & 0x7f800000) == 0x7f800000;
    }
    return odd;
}

static uint32_t NAME(count_and_turn)(const float *values, size_t n, float edge, uint32_t *inside) {
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t reaches = values[i] >= edge;
        count += reaches;
        inside[i] ^= reaches;
    }
    return count;
}

static uint32_t NAME(count_alone)(const float *values, size_t n, float edge) {
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) count += values[i] >= edge;
    return count;
}

// Without a branch: which values lie inside is hard to foresee.
static size_t NAME(keep)(const float *values, const uint32_t *inside, size_t n, float *gathered) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        gathered[kept] = values[i];
        kept += inside[i];
    }
    return kept;
}

static size_t NAME(count_cells)(const float *values, size_t n, crux_cells *cells, float *gathered) {
    size_t kept = 0;
    for (size_t start = 0; start < n; start += NAME(cell_block)) {
        const size_t count = n - start < NAME(cell_block) ? n - start : NAME(cell_block);
        uint32_t inside[NAME(cell_block)] = {0};
        cells->saw_odd |= NAME(has_odd)(values + start, count);
        for (size_t edge = 0; edge < cells->count; edge++) {
            cells->at_least[edge][0] += cells->turns >> edge & 1
                                            ? NAME(count_and_turn)(values + start, count, cells->edges[edge], inside)
                                            : NAME(count_alone)(values + start, count, cells->edges[edge]);
        }
        kept += NAME(keep)(values + start, inside, count, gathered + kept);
    }
    return kept;
}

#endif
