// Products of few rows, and attention over a cache: what generation needs.
#ifndef NAME
#include "instruction_sets.h"
#include <stdlib.h>

typedef uint32_t crux_bit_lanes __attribute__((vector_size(64)));

#define CRUX_TILE_ROWS_MAX 8

#define BODY "generation.c"
#include "each_instruction_set.inc"

static void packed_half_rows(const float *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride, float *wide) {
    CHOOSE(packed_half_rows(x, rows, x_stride, packed, outputs, inputs, y, y_stride, wide))
}

size_t crux_packed_count(size_t outputs, size_t inputs) {
    return (outputs + CRUX_PANEL - 1) / CRUX_PANEL * CRUX_PANEL * inputs;
}

void crux_pack(const float *w, size_t outputs, size_t inputs, float *packed) {
    for (size_t o = 0; o < outputs; o += CRUX_PANEL)
        for (size_t k = 0; k < inputs; k++)
            for (size_t i = 0; i < CRUX_PANEL; i++)
                packed[o * inputs + k * CRUX_PANEL + i] = o + i < outputs ? w[(o + i) * inputs + k] : 0;
}

void crux_packed_rows(const float *x, size_t rows, size_t x_stride, const float *packed, size_t outputs, size_t inputs,
    float *y, size_t y_stride) {
    CHOOSE(packed_rows(x, rows, x_stride, packed, outputs, inputs, y, y_stride))
}

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

void crux_packed_half_rows(const float *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride) {
    // Where several tiles of rows read a panel it is widened once for all of them.
    float *wide = rows > CRUX_TILE_ROWS_MAX ? malloc(CRUX_PANEL * inputs * sizeof(float)) : NULL;
    packed_half_rows(x, rows, x_stride, packed, outputs, inputs, y, y_stride, wide);
    free(wide);
}

int crux_is_half(const float *x, size_t n) {
    uint32_t low = 0;
    for (size_t i = 0; i < n; i++) low |= crux_float_to_bits(x[i]) & 0xffffu;
    return low == 0;
}

void crux_attention_scores(
    const float *q, const float *keys, size_t stride, size_t count, size_t width, float *scores) {
    CHOOSE(attention_scores(q, keys, stride, count, width, scores))
}

void crux_attention_mix(const float *p, const float *values, size_t stride, size_t count, size_t width, float *out) {
    CHOOSE(attention_mix(p, values, stride, count, width, out))
}

#else

// Rows of a tile: as many as the registers allow.
#define TILE_ROWS (LANES == 16 ? 8 : LANES == 8 ? 2 : 1)

// A sum over n elements runs in 16 lanes whatever the instruction set's width and whatever else is computed beside it:
// a token's numbers never depend on which other tokens stand in its batch.

#include "lanes.inc"

// y[r][o] = sum_k x[r][k] panel[k][o] for a tile of `rows` rows (a compile-time constant at every call) and one panel
// of CRUX_PANEL outputs, of which `outputs` are wanted. Every sum runs over k in order, alone in its lane. `ahead`
// moves by `pace` floats a step and is fetched into the cache: this tile's share of the next panel.
static inline __attribute__((always_inline)) void NAME(tile)(const int rows, const float *x, size_t x_stride,
    const float *panel, size_t inputs, size_t outputs, float *y, size_t y_stride, const float *ahead, size_t pace) {
    crux_lanes low[CRUX_TILE_ROWS_MAX], high[CRUX_TILE_ROWS_MAX];
    for (int r = 0; r < rows; r++) low[r] = high[r] = (crux_lanes){0};
    for (size_t k = 0; k < inputs; k++) {
        const crux_lanes first = NAME(load)(panel + k * CRUX_PANEL), second = NAME(load)(panel + k * CRUX_PANEL + 16);
        __builtin_prefetch(ahead + k * pace, 0, 2);
        for (int r = 0; r < rows; r++) {
            const float value = x[r * x_stride + k];
            low[r] += value * first;
            high[r] += value * second;
        }
    }
    for (int r = 0; r < rows; r++) {
        float out[CRUX_PANEL];
        memcpy(out, &low[r], sizeof low[r]);
        memcpy(out + 16, &high[r], sizeof high[r]);
        memcpy(y + r * y_stride, out, outputs * sizeof(float));
    }
}

// All rows of one panel, of which `outputs` are wanted. One block of rows streams the panel from memory; where there are
// more, they fetch the next one meanwhile, each a part: `next`, of `step` floats for each k, NULL after the last.
static void NAME(panel_rows)(const float *x, size_t rows, size_t x_stride, const float *panel, size_t inputs,
    size_t outputs, float *y, size_t y_stride, const float *next, size_t step) {
    const size_t blocks = (rows + TILE_ROWS - 1) / TILE_ROWS, pace = blocks > 1 && next ? step / blocks : 0;
    const float *ahead = pace > 0 ? next : panel;
    size_t r = 0;
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS) {
        NAME(tile)(TILE_ROWS, x + r * x_stride, x_stride, panel, inputs, outputs, y + r * y_stride, y_stride, ahead, pace);
        ahead += pace * inputs;
    }
    const float *rest = x + r * x_stride;
    float *out = y + r * y_stride;
    switch (rows - r) {
    case 7: NAME(tile)(7, rest, x_stride, panel, inputs, outputs, out, y_stride, ahead, pace); break;
    case 6: NAME(tile)(6, rest, x_stride, panel, inputs, outputs, out, y_stride, ahead, pace); break;
    case 5: NAME(tile)(5, rest, x_stride, panel, inputs, outputs, out, y_stride, ahead, pace); break;
    case 4: NAME(tile)(4, rest, x_stride, panel, inputs, outputs, out, y_stride, ahead, pace); break;
    case 3: NAME(tile)(3, rest, x_stride, panel, inputs, outputs, out, y_stride, ahead, pace); break;
    case 2: NAME(tile)(2, rest, x_stride, panel, inputs, outputs, out, y_stride, ahead, pace); break;
    case 1: NAME(tile)(1, rest, x_stride, panel, inputs, outputs, out, y_stride, ahead, pace); break;
    }
}

// Panels outermost: each is read from memory once, whatever the number of rows.
static void NAME(packed_rows)(const float *x, size_t rows, size_t x_stride, const float *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride) {
    for (size_t o = 0; o < outputs; o += CRUX_PANEL) {
        const float *panel = packed + o * inputs;
        const size_t wanted = outputs - o < CRUX_PANEL ? outputs - o : CRUX_PANEL;
        NAME(panel_rows)(x, rows, x_stride, panel, inputs, wanted, y + o, y_stride,
            o + CRUX_PANEL < outputs ? panel + CRUX_PANEL * inputs : NULL, CRUX_PANEL);
    }
}

// Two neighbouring k of an output lie in 32 bits, the lower one first: what a bf16 number lacks of a float are zeros.
static inline crux_bit_lanes NAME(load_bits)(const uint16_t *p) { crux_bit_lanes v; memcpy(&v, p, sizeof v); return v; }

// As `tile`, from a panel of bf16 numbers: the same sums in the same order of what they stand for.
static inline __attribute__((always_inline)) void NAME(half_tile)(const int rows, const float *x, size_t x_stride,
    const uint16_t *panel, size_t inputs, size_t outputs, float *y, size_t y_stride) {
    crux_lanes low[CRUX_TILE_ROWS_MAX], high[CRUX_TILE_ROWS_MAX];
    for (int r = 0; r < rows; r++) low[r] = high[r] = (crux_lanes){0};
    for (size_t k = 0; k < inputs; k += 2) {
        const crux_bit_lanes first = NAME(load_bits)(panel + k * CRUX_PANEL),
                             second = NAME(load_bits)(panel + k * CRUX_PANEL + 32);
        const crux_lanes low_even = (crux_lanes)(first << 16), high_even = (crux_lanes)(second << 16);
        for (int r = 0; r < rows; r++) {
            const float value = x[r * x_stride + k];
            low[r] += value * low_even;
            high[r] += value * high_even;
        }
        if (k + 1 == inputs) break;
        const crux_lanes low_odd = (crux_lanes)(first & 0xffff0000u), high_odd = (crux_lanes)(second & 0xffff0000u);
        for (int r = 0; r < rows; r++) {
            const float value = x[r * x_stride + k + 1];
            low[r] += value * low_odd;
            high[r] += value * high_odd;
        }
    }
    for (int r = 0; r < rows; r++) {
        float out[CRUX_PANEL];
        memcpy(out, &low[r], sizeof low[r]);
        memcpy(out + 16, &high[r], sizeof high[r]);
        memcpy(y + r * y_stride, out, outputs * sizeof(float));
    }
}

// A panel of bf16 numbers -> the same panel of floats.
static void NAME(widen_panel)(const uint16_t *panel, size_t inputs, float *wide) {
    for (size_t k = 0; k < inputs; k++)
        for (size_t half = 0; half < 2; half++) {
            const crux_bit_lanes both = NAME(load_bits)(panel + k / 2 * 2 * CRUX_PANEL + 32 * half),
                                 one = k % 2 == 0 ? both << 16 : both & 0xffff0000u;
            memcpy(wide + k * CRUX_PANEL + 16 * half, &one, sizeof one);
        }
}

static void NAME(packed_half_rows)(const float *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride, float *wide) {
    for (size_t o = 0; o < outputs; o += CRUX_PANEL) {
        const uint16_t *panel = packed + o * ((inputs + 1) / 2 * 2);
        const size_t wanted = outputs - o < CRUX_PANEL ? outputs - o : CRUX_PANEL;
        if (wide) {
            NAME(widen_panel)(panel, inputs, wide);
            const uint16_t *next = panel + CRUX_PANEL * ((inputs + 1) / 2 * 2);
            NAME(panel_rows)(x, rows, x_stride, wide, inputs, wanted, y + o, y_stride,
                o + CRUX_PANEL < outputs ? (const float *)(const void *)next : NULL, CRUX_PANEL / 2);
            continue;
        }
        size_t r = 0;
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
            NAME(half_tile)(
                TILE_ROWS, x + r * x_stride, x_stride, panel, inputs, wanted, y + r * y_stride + o, y_stride);
        const float *rest = x + r * x_stride;
        float *out = y + r * y_stride + o;
        switch (rows - r) {
        case 7: NAME(half_tile)(7, rest, x_stride, panel, inputs, wanted, out, y_stride); break;
        case 6: NAME(half_tile)(6, rest, x_stride, panel, inputs, wanted, out, y_stride); break;
        case 5: NAME(half_tile)(5, rest, x_stride, panel, inputs, wanted, out, y_stride); break;
        case 4: NAME(half_tile)(4, rest, x_stride, panel, inputs, wanted, out, y_stride); break;
        case 3: NAME(half_tile)(3, rest, x_stride, panel, inputs, wanted, out, y_stride); break;
        case 2: NAME(half_tile)(2, rest, x_stride, panel, inputs, wanted, out, y_stride); break;
        case 1: NAME(half_tile)(1, rest, x_stride, panel, inputs, wanted, out, y_stride); break;
        }
    }
}

static void NAME(attention_scores)(
    const float *q, const float *keys, size_t stride, size_t count, size_t width, float *scores) {
    for (size_t t = 0; t < count; t++) {
        const float *key = keys + t * stride;
        crux_lanes sum = {0};
        size_t k = 0;
        for (; k + 16 <= width; k += 16) sum += NAME(load)(q + k) * NAME(load)(key + k);
        if (k < width) sum += NAME(load_tail)(q + k, width - k) * NAME(load_tail)(key + k, width - k);
        scores[t] = NAME(total)(sum);
    }
}

static void NAME(attention_mix)(
    const float *p, const float *values, size_t stride, size_t count, size_t width, float *out) {
    size_t k = 0;
    for (; k + 64 <= width; k += 64) {
        crux_lanes sum[4];
        for (int j = 0; j < 4; j++) sum[j] = NAME(load)(out + k + 16 * j);
        for (size_t t = 0; t < count; t++)
            for (int j = 0; j < 4; j++) sum[j] += p[t] * NAME(load)(values + t * stride + k + 16 * j);
        for (int j = 0; j < 4; j++) memcpy(out + k + 16 * j, &sum[j], sizeof sum[j]);
    }
    for (; k + 16 <= width; k += 16) {
        crux_lanes sum = NAME(load)(out + k);
        for (size_t t = 0; t < count; t++) sum += p[t] * NAME(load)(values + t * stride + k);
        memcpy(out + k, &sum, sizeof sum);
    }
    for (; k < width; k++)
        for (size_t t = 0; t < count; t++) out[k] += p[t] * values[t * stride + k];
}

#undef TILE_ROWS
#endif
