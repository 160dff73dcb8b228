// Activations of gated layers and soft caps. Compiles activations_body.inc for each instruction set.
#include "choose.h"
#include <string.h>

static inline uint32_t crux_float_to_bits(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static inline float crux_bits_to_float(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }

#define NAME(x) plain_##x
#include "activations_body.inc"
#undef NAME

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2"))), apply_to = function)
#define NAME(x) avx2_##x
#include "activations_body.inc"
#undef NAME
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi,bmi2"))), apply_to = function)
#define NAME(x) avx512_##x
#include "activations_body.inc"
#undef NAME
#pragma clang attribute pop
#endif

void crux_geglu_forward(const float *gate, const float *up, float *y, size_t n) { CHOOSE(geglu_forward(gate, up, y, n)) }

void crux_geglu_backward(const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n) {
    CHOOSE(geglu_backward(dy, gate, up, dgate, dup, n))
}

void crux_cap(float *x, size_t n, float scale, float cap) { CHOOSE(cap(x, n, scale, cap)) }

void crux_cap_backward(const float *y, float *d, size_t n, float scale, float cap) { CHOOSE(cap_backward(y, d, n, scale, cap)) }

void crux_capped_softmax_backward(float *scores, float *dp, size_t n, float scale, float cap, float log_sum_exp, float delta) {
    CHOOSE(capped_softmax_backward(scores, dp, n, scale, cap, log_sum_exp, delta))
}
