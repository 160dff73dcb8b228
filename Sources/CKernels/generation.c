// Compiles generation_body.inc for each instruction set; tiles are as large as its registers allow.
#include "choose.h"
#include <math.h>
#include <string.h>

// 16 lanes on every instruction set, so that all of them add in the same order.
typedef float crux_lanes __attribute__((vector_size(64)));

#define CRUX_TILE_ROWS_MAX 8

#define NAME(x) plain_##x
#define TILE_ROWS 1
#include "generation_body.inc"
#undef NAME
#undef TILE_ROWS

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2"))), apply_to = function)
#define NAME(x) avx2_##x
#define TILE_ROWS 2
#include "generation_body.inc"
#undef NAME
#undef TILE_ROWS
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi,bmi2"))), apply_to = function)
#define NAME(x) avx512_##x
#define TILE_ROWS 8
#include "generation_body.inc"
#undef NAME
#undef TILE_ROWS
#pragma clang attribute pop
#endif

size_t crux_packed_count(size_t outputs, size_t inputs) { return (outputs + CRUX_PANEL - 1) / CRUX_PANEL * CRUX_PANEL * inputs; }

void crux_pack(const float *w, size_t outputs, size_t inputs, float *packed) {
    for (size_t o = 0; o < outputs; o += CRUX_PANEL)
        for (size_t k = 0; k < inputs; k++)
            for (size_t i = 0; i < CRUX_PANEL; i++)
                packed[o * inputs + k * CRUX_PANEL + i] = o + i < outputs ? w[(o + i) * inputs + k] : 0;
}

void crux_packed_rows(const float *x, size_t rows, size_t x_stride, const float *packed, size_t outputs, size_t inputs, float *y, size_t y_stride) {
    CHOOSE(packed_rows(x, rows, x_stride, packed, outputs, inputs, y, y_stride))
}

void crux_attention_scores(const float *q, const float *keys, size_t stride, size_t count, size_t width, float *scores) {
    CHOOSE(attention_scores(q, keys, stride, count, width, scores))
}

void crux_attention_mix(const float *p, const float *values, size_t stride, size_t count, size_t width, float *out) {
    CHOOSE(attention_mix(p, values, stride, count, width, out))
}

int32_t crux_argmax(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}
