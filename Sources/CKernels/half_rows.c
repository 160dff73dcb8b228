// Products of few rows of which both factors are bf16: what generation multiplies under --precision bf16.
//
// Two neighbouring inputs make a step: sum = fma(x[2i], w[2i], fma(x[2i+1], w[2i+1], sum)), each rounded to float32.
// That is what AVX-512 BF16's VDPBF16PS does, so a processor without it gives the same bytes, more slowly. (The
// instruction takes numbers below 1.2e-38 for zeros.)
#ifndef NAME
#include "instruction_sets.h"

typedef float crux_lanes __attribute__((vector_size(64)));
typedef uint32_t crux_bit_lanes __attribute__((vector_size(64)));

#define MOST_TILE_ROWS 12

#define BODY "half_rows.c"
#include "each_instruction_set.inc"

#if defined(__x86_64__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi,bmi2"))), apply_to = function)
#define NAME(x) avx512bf16_##x
#define LANES 16
#define MULTIPLIES_HALVES
#include "half_rows.c"
#undef MULTIPLIES_HALVES
#undef LANES
#undef NAME
#pragma clang attribute pop
#endif

void crux_half_rows(const uint32_t *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride) {
#if defined(__x86_64__)
    if (crux_current_instruction_set() >= CRUX_AVX512 && crux_has_half_products())
        return avx512bf16_half_rows(x, rows, x_stride, packed, outputs, inputs, y, y_stride);
#endif
    CHOOSE(half_rows(x, rows, x_stride, packed, outputs, inputs, y, y_stride))
}

#else

// As many rows as their sums, two registers each, leave room for a panel's two and what they are multiplied by.
#ifdef MULTIPLIES_HALVES
#define TILE_ROWS 12
#else
#define TILE_ROWS (LANES == 16 ? 8 : LANES == 8 ? 2 : 1)
#endif

// `weights`: for each lane two neighbouring inputs' numbers, the lower one in the lower half; `pair`: the row's two.
static inline crux_lanes NAME(step)(crux_lanes sum, crux_bit_lanes weights, uint32_t pair) {
#ifdef MULTIPLIES_HALVES
    return (crux_lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)weights, (__m512bh)_mm512_set1_epi32((int)pair));
#else
    const crux_lanes even = (crux_lanes)(weights << 16), odd = (crux_lanes)(weights & 0xffff0000u);
    const crux_lanes x_even = crux_bits_to_float(pair << 16) - (crux_lanes){0},
                     x_odd = crux_bits_to_float(pair & 0xffff0000u) - (crux_lanes){0};
    return __builtin_elementwise_fma(x_even, even, __builtin_elementwise_fma(x_odd, odd, sum));
#endif
}

// y[r][o] = sum over k of x[r][k] panel[k][o] for a tile of `rows` rows (a compile-time constant at every call) and one
// panel of CRUX_PANEL outputs, of which `outputs` are wanted. `ahead`: what is fetched into the cache meanwhile, as much
// as is read.
static inline __attribute__((always_inline)) void NAME(half_tile)(const int rows, const uint32_t *x, size_t x_stride,
    const uint16_t *panel, size_t pairs, size_t outputs, float *y, size_t y_stride, const uint16_t *ahead) {
    crux_lanes low[MOST_TILE_ROWS], high[MOST_TILE_ROWS];
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) low[r] = high[r] = (crux_lanes){0};
    for (size_t k = 0; k < pairs; k++) {
        crux_bit_lanes first, second;
        memcpy(&first, panel + k * 2 * CRUX_PANEL, sizeof first);
        memcpy(&second, panel + k * 2 * CRUX_PANEL + CRUX_PANEL, sizeof second);
        if (ahead) {
            __builtin_prefetch(ahead + k * 2 * CRUX_PANEL, 0, 2);
            __builtin_prefetch(ahead + k * 2 * CRUX_PANEL + CRUX_PANEL, 0, 2);
        }
        // Not left to the compiler: sums in an array that it doesn't take apart would go through memory.
#pragma clang loop unroll(full)
        for (int r = 0; r < rows; r++) {
            const uint32_t pair = x[r * x_stride + k];
            low[r] = NAME(step)(low[r], first, pair);
            high[r] = NAME(step)(high[r], second, pair);
        }
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
        float out[CRUX_PANEL];
        memcpy(out, &low[r], sizeof low[r]);
        memcpy(out + 16, &high[r], sizeof high[r]);
        memcpy(y + r * y_stride, out, outputs * sizeof(float));
    }
}

// Panels outermost: each is read from memory once, whatever the number of rows. Where there is one tile of rows it reads
// on without a break; where there are more, the first one fetches the panel after for all of them.
static void NAME(half_rows)(const uint32_t *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride) {
    const size_t pairs = (inputs + 1) / 2, size = pairs * 2 * CRUX_PANEL;
    for (size_t o = 0; o < outputs; o += CRUX_PANEL) {
        const uint16_t *panel = packed + o * pairs * 2;
        const size_t wanted = outputs - o < CRUX_PANEL ? outputs - o : CRUX_PANEL;
        const uint16_t *ahead = o + CRUX_PANEL < outputs ? panel + (rows > TILE_ROWS || size < 4096 ? size : 4096) : NULL;
        for (size_t r = 0; r < rows; r += TILE_ROWS, ahead = NULL) {
            const uint32_t *row = x + r * x_stride;
            float *out = y + r * y_stride + o;
#define TILE(n) case n: NAME(half_tile)(n, row, x_stride, panel, pairs, wanted, out, y_stride, ahead); break;
            switch (rows - r < TILE_ROWS ? rows - r : TILE_ROWS) {
                TILE(1)
#if !defined(__x86_64__) || defined(AVX512) || defined(F16C) || defined(MULTIPLIES_HALVES)
                TILE(2)
#endif
#if defined(AVX512) || defined(MULTIPLIES_HALVES)
                TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8)
#endif
#if defined(MULTIPLIES_HALVES)
                TILE(9) TILE(10) TILE(11) TILE(12)
#endif
            }
#undef TILE
        }
    }
}

#undef TILE_ROWS
#endif
