// Products of few rows with 16-bit weights, by the processor's own bf16 multiplication: what generation needs where
// weights are kept in 16 bits.
#include "instruction_sets.h"

#if defined(__x86_64__)
#define HALF_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

int crux_has_half_products(void) {
    __builtin_cpu_init();
    return crux_best_instruction_set() >= CRUX_AVX512 && __builtin_cpu_supports("avx512bf16");
}

#define TILE_ROWS 8

// y[r][o] = sum_k x[r][k] panel[k][o] for `rows` rows (a compile-time constant at every call) and one panel. A step
// takes two neighbouring k; every sum runs over k in order, alone in its lane, so that a row's numbers never depend on
// which others are computed beside it.
static inline __attribute__((always_inline)) HALF_TARGET void half_tile(const int rows, const uint16_t *x,
    size_t x_stride, const uint16_t *panel, size_t pairs, size_t outputs, float *y, size_t y_stride) {
    __m512 low[TILE_ROWS], high[TILE_ROWS];
    for (int r = 0; r < rows; r++) low[r] = high[r] = _mm512_setzero_ps();
    for (size_t k = 0; k < pairs; k++) {
        const __m512i first = _mm512_loadu_si512(panel + k * 2 * CRUX_PANEL),
                      second = _mm512_loadu_si512(panel + k * 2 * CRUX_PANEL + 32);
        for (int r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, x + r * x_stride + 2 * k, sizeof pair);
            const __m512bh value = (__m512bh)_mm512_set1_epi32(pair);
            low[r] = _mm512_dpbf16_ps(low[r], (__m512bh)first, value);
            high[r] = _mm512_dpbf16_ps(high[r], (__m512bh)second, value);
        }
    }
    const __mmask16 some_low = outputs < 16 ? (__mmask16)((1u << outputs) - 1) : 0xffff,
                    some_high = outputs < 16 ? 0 : outputs < 32 ? (__mmask16)((1u << (outputs - 16)) - 1) : 0xffff;
    for (int r = 0; r < rows; r++) {
        _mm512_mask_storeu_ps(y + r * y_stride, some_low, low[r]);
        _mm512_mask_storeu_ps(y + r * y_stride + 16, some_high, high[r]);
    }
}

// Panels outermost: each is read from memory once, whatever the number of rows.
HALF_TARGET void crux_packed_half_rows(const uint16_t *x, size_t rows, size_t x_stride, const uint16_t *packed,
    size_t outputs, size_t inputs, float *y, size_t y_stride) {
    const size_t pairs = (inputs + 1) / 2;
    for (size_t o = 0; o < outputs; o += CRUX_PANEL) {
        const uint16_t *panel = packed + o * 2 * pairs;
        const size_t wanted = outputs - o < CRUX_PANEL ? outputs - o : CRUX_PANEL;
        size_t r = 0;
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
            half_tile(TILE_ROWS, x + r * x_stride, x_stride, panel, pairs, wanted, y + r * y_stride + o, y_stride);
        const uint16_t *rest = x + r * x_stride;
        float *out = y + r * y_stride + o;
        switch (rows - r) {
        case 7: half_tile(7, rest, x_stride, panel, pairs, wanted, out, y_stride); break;
        case 6: half_tile(6, rest, x_stride, panel, pairs, wanted, out, y_stride); break;
        case 5: half_tile(5, rest, x_stride, panel, pairs, wanted, out, y_stride); break;
        case 4: half_tile(4, rest, x_stride, panel, pairs, wanted, out, y_stride); break;
        case 3: half_tile(3, rest, x_stride, panel, pairs, wanted, out, y_stride); break;
        case 2: half_tile(2, rest, x_stride, panel, pairs, wanted, out, y_stride); break;
        case 1: half_tile(1, rest, x_stride, panel, pairs, wanted, out, y_stride); break;
        }
    }
}

#else

int crux_has_half_products(void) { return 0; }

// Never called where there are none.
void crux_packed_half_rows(const uint16_t *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride) {
    (void)x, (void)rows, (void)x_stride, (void)packed, (void)outputs, (void)inputs, (void)y, (void)y_stride;
    __builtin_trap();
}

#endif

size_t crux_packed_half_count(size_t outputs, size_t inputs) {
    return (outputs + CRUX_PANEL - 1) / CRUX_PANEL * CRUX_PANEL * ((inputs + 1) / 2 * 2);
}

void crux_pack_half(const float *w, size_t outputs, size_t inputs, uint16_t *packed) {
    const size_t pairs = (inputs + 1) / 2;
    float pair[2 * CRUX_PANEL];
    for (size_t o = 0; o < outputs; o += CRUX_PANEL)
        for (size_t k = 0; k < pairs; k++) {
            for (size_t i = 0; i < CRUX_PANEL; i++)
                for (size_t j = 0; j < 2; j++)
                    pair[2 * i + j]
                        = o + i < outputs && 2 * k + j < inputs ? w[(o + i) * inputs + 2 * k + j] : 0;
            crux_f32_to_bf16(pair, packed + (o * pairs + k * CRUX_PANEL) * 2, 2 * CRUX_PANEL);
        }
}
