// Conversions between types, n elements each.
#ifndef NAME
#define BODY "convert.c"
#include "each_instruction_set.inc"

void crux_bf16_to_f32(const uint16_t *x, float *y, size_t n) { CHOOSE(bf16_to_f32(x, y, n)) }
void crux_f16_to_f32(const uint16_t *x, float *y, size_t n) { CHOOSE(f16_to_f32(x, y, n)) }
void crux_f32_to_bf16(const float *x, uint16_t *y, size_t n) { CHOOSE(f32_to_bf16(x, y, n)) }
void crux_split_bytes(const void *x, uint8_t *high, uint8_t *low, size_t n) { CHOOSE(split_bytes(x, high, low, n)) }

#else

static void NAME(bf16_to_f32)(const uint16_t *x, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = crux_bits_to_float((uint32_t)x[i] << 16);
}

static void NAME(f32_to_bf16)(const float *x, uint16_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t b = crux_float_to_bits(x[i]);
        const uint32_t rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
        y[i] = (uint16_t)((b & 0x7fffffffu) > 0x7f800000u ? (b >> 16) | 0x40u : rounded);
    }
}

// Half precision by the processor's own conversion where it has one; for the rest by integer arithmetic, which
// vectorises everywhere.
static void NAME(f16_to_f32)(const uint16_t *x, float *y, size_t n) {
    size_t i = 0;
#ifdef F16C
    for (; i + 8 <= n; i += 8) {
        __m128i halves;
        memcpy(&halves, x + i, sizeof halves);
        const __m256 floats = _mm256_cvtph_ps(halves);
        memcpy(y + i, &floats, sizeof floats);
    }
#endif
    for (; i < n; i++) {
        const uint32_t sign = (uint32_t)(x[i] & 0x8000u) << 16, magnitude = x[i] & 0x7fffu;
        const float normal = crux_bits_to_float((magnitude << 13) + 0x38000000u);
        const float subnormal = (float)magnitude * 5.9604644775390625e-8f;     // 2^-24
        const uint32_t special = 0x7f800000u | (magnitude << 13);
        const uint32_t bits = magnitude < 0x400u ? crux_float_to_bits(subnormal)
                                                 : (magnitude >= 0x7c00u ? special : crux_float_to_bits(normal));
        y[i] = crux_bits_to_float(bits | sign);
    }
}

static void NAME(split_bytes)(const void *x, uint8_t *high, uint8_t *low, size_t n) {
    const uint8_t *bytes = (const uint8_t *)x;
    for (size_t i = 0; i < n; i++) {
        low[i] = bytes[2 * i];
        high[i] = bytes[2 * i + 1];
    }
}

#endif
