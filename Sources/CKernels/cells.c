// Counts of values between the edges of a number line, and the values between some of them. Compiles cells_body.inc for
// each instruction set.
#include "choose.h"
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Plain: whatever the compiler's base instruction set is (SSE2 on x86-64, NEON on arm64).
#define NAME(x) plain_##x
#include "cells_body.inc"
#undef NAME

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2"))), apply_to = function)
#define NAME(x) avx2_##x
#include "cells_body.inc"
#undef NAME
#pragma clang attribute pop

// AVX-512 has what the others lack: masks, and a compressing store.
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi,bmi2,popcnt"))), apply_to = function)
#include "cells_avx512.inc"
#pragma clang attribute pop
#endif

void crux_begin_cells(crux_cells *cells, const float *edges, size_t count, uint32_t turns) {
    memset(cells, 0, sizeof *cells);
    memcpy(cells->edges, edges, count * sizeof *edges);
    cells->count = count;
    cells->turns = turns;
}

size_t crux_count_cells(const float *values, size_t n, crux_cells *cells, float *gathered) { CHOOSE(count_cells(values, n, cells, gathered)) }

uint64_t crux_cells_at_least(const crux_cells *cells, size_t edge) {
    uint64_t sum = 0;
    for (size_t lane = 0; lane < CRUX_CELL_LANES; lane++) sum += cells->at_least[edge][lane];
    return sum;
}
