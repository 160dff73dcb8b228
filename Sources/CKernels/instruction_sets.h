// Kernels are written once and compiled for each instruction set; the widest that this processor has runs.
//
// A kernel's file includes itself: without NAME it holds what is called, with NAME(x) set the body. Loops are plain so
// that the compiler makes vectors of them; `#pragma clang fp reassociate(on)` lets it do so for sums.
#pragma once
#include "ckernels.h"
#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Hands a call to the form of a function for the instruction set in use: avx512_NAME, avx2_NAME or plain_NAME. It ends
// the caller.
#if defined(__x86_64__)
#define CHOOSE(call) \
    switch (crux_current_instruction_set()) { \
    case CRUX_AVX512_BY_HAND: \
    case CRUX_AVX512: return avx512_##call; \
    case CRUX_AVX2: return avx2_##call; \
    default: return plain_##call; \
    }
#else
#define CHOOSE(call) return plain_##call;
#endif

// 16 lanes on every instruction set, so that all of them add in the same order; see lanes.inc.
typedef float crux_lanes __attribute__((vector_size(64)));

static inline uint32_t crux_float_to_bits(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static inline float crux_bits_to_float(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }
