// Products of few rows of which both factors are bf16, in the order of AMX's tiles: what generation multiplies under
// --precision bf16-amx.
//
// Thirty-two inputs make a step, the last one filled up with zeros: even = fma(x[2i], w[2i], even) over the step's
// inputs in their order, from zero, the same for the odd ones, then sum = sum + (even + odd), each rounded to float32.
// That is what TDPBF16PS does, so a processor without it gives the same bytes, far more slowly. (The instruction takes
// numbers below 1.2e-38 for zeros.)
#ifndef NAME
#include "instruction_sets.h"

typedef float crux_lanes __attribute__((vector_size(64)));
typedef uint32_t crux_bit_lanes __attribute__((vector_size(64)));

// Pairs of inputs in a step, and rows of a tile.
#define STEP_PAIRS 16
#define TILE_ROWS 16

#define BODY "tile_rows.c"
#include "each_instruction_set.inc"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AMX_TARGET __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw")))

// Linux gives a process the room for tiles in every thread's state when it asks.
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

// Asked for where tiles are first wanted, and not by every command's start: it makes every thread's state larger.
int crux_has_tiles(void) {
    enum { UNKNOWN, NONE, THERE };
    static _Atomic int found = UNKNOWN;
    int known = atomic_load_explicit(&found, memory_order_relaxed);
    if (known == UNKNOWN) {
        unsigned a, b, c, features;
        const unsigned wanted = 1u << 24 | 1u << 22;    // AMX-TILE, AMX-BF16
        const int has = __get_cpuid_count(7, 0, &a, &b, &c, &features) && (features & wanted) == wanted
            && crux_best_instruction_set() >= CRUX_AVX512
            && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
        known = has ? THERE : NONE;
        atomic_store_explicit(&found, known, memory_order_relaxed);
    }
    return known == THERE;
}

// What LDTILECFG reads: sums of the first rows in tiles 0 and 1, of the second in 2 and 3; the rows themselves in 4 and
// 5; weights of a panel's lower and upper outputs in 6 and 7.
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_configuration;

AMX_TARGET static void configure(size_t first, size_t second) {
    tile_configuration c = {.palette = 1};
    const uint8_t rows[8] = {first, first, second, second, first, second, STEP_PAIRS, STEP_PAIRS};
    for (int i = 0; i < 8; i++) {
        c.rows[i] = rows[i];
        c.row_bytes[i] = rows[i] ? 64 : 0;
    }
    _tile_loadconfig(&c);
}

// What a pass over a panel brings into the cache meanwhile: of every step's weights of another panel these lines.
typedef struct {
    const uint16_t *panel;
    size_t from, to;
} fetched_lines;

// Cache lines of 64 bytes that a step's weights take.
#define STEP_LINES (2 * STEP_PAIRS)

// Sums of one or two tiles of rows and one panel, kept in registers. `two` is a compile-time constant.
AMX_TARGET static inline __attribute__((always_inline)) void steps(const int two, const uint32_t *x, size_t x_stride,
    const uint16_t *panel, size_t count, fetched_lines ahead) {
    const uint32_t *second = x + TILE_ROWS * x_stride;
    const int stride = (int)(x_stride * 4), panel_stride = CRUX_PANEL * 4;
    for (size_t step = 0; step < count; step++) {
        const size_t at = step * STEP_PAIRS;
        const uint16_t *weights = panel + at * 2 * CRUX_PANEL;
        for (size_t line = ahead.from; line < ahead.to; line++)
            _mm_prefetch((const char *)(ahead.panel + at * 2 * CRUX_PANEL + line * 32), _MM_HINT_T1);
        _tile_loadd(6, weights, panel_stride);
        _tile_loadd(4, x + at, stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, weights + CRUX_PANEL, panel_stride);
        _tile_dpbf16ps(1, 4, 7);
        if (two) {
            _tile_loadd(5, second + at, stride);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
}

// The last step's inputs, fewer than a tile holds, in blocks filled up with zeros.
AMX_TARGET static void last_step(const uint32_t *x, size_t rows, size_t x_stride, const uint16_t *panel, size_t pairs) {
    uint32_t block[2 * TILE_ROWS][STEP_PAIRS] = {{0}};
    uint16_t weights[STEP_PAIRS][2 * CRUX_PANEL] = {{0}};
    for (size_t r = 0; r < rows; r++) memcpy(block[r], x + r * x_stride, pairs * 4);
    memcpy(weights, panel, pairs * sizeof weights[0]);
    steps(rows > TILE_ROWS, block[0], STEP_PAIRS, weights[0], 1, (fetched_lines){0});
}

AMX_TARGET static void store(size_t rows, size_t outputs, float *y, size_t y_stride) {
    float out[2 * TILE_ROWS][CRUX_PANEL];
    const int whole = outputs == CRUX_PANEL, stride = whole ? (int)(y_stride * 4) : CRUX_PANEL * 4;
    float *to = whole ? y : out[0];
    const size_t second = TILE_ROWS * (whole ? y_stride : CRUX_PANEL);
    _tile_stored(0, to, stride);
    _tile_stored(1, to + 16, stride);
    if (rows > TILE_ROWS) {
        _tile_stored(2, to + second, stride);
        _tile_stored(3, to + second + 16, stride);
    }
    if (!whole) for (size_t r = 0; r < rows; r++) memcpy(y + r * y_stride, out[r], outputs * sizeof(float));
}

// Panels outermost: each is read from memory once, whatever the number of rows.
AMX_TARGET static void amx_tile_rows(const uint32_t *x, size_t rows, size_t x_stride, const uint16_t *packed,
    size_t outputs, size_t inputs, float *y, size_t y_stride) {
    const size_t pairs = (inputs + 1) / 2, count = pairs / STEP_PAIRS, left = pairs % STEP_PAIRS, most = 2 * TILE_ROWS;
    size_t configured = 0;
    for (size_t o = 0; o < outputs; o += CRUX_PANEL) {
        const uint16_t *panel = packed + o * pairs * 2;
        const size_t wanted = outputs - o < CRUX_PANEL ? outputs - o : CRUX_PANEL;
        // One pass over the rows reads on without a break, and fetches what it comes to next; several read the next
        // panel meanwhile, each a part.
        const size_t passes = (rows + most - 1) / most, size = pairs * 2 * CRUX_PANEL;
        const size_t distance = passes > 1 || size < 8192 ? size : 8192;
        const uint16_t *next = o + CRUX_PANEL < outputs ? panel + distance : NULL;
        for (size_t pass = 0; pass < passes; pass++) {
            const size_t r = pass * most, here = rows - r < most ? rows - r : most;
            fetched_lines ahead = {next, STEP_LINES * pass / passes, STEP_LINES * (pass + 1) / passes};
            if (!next) ahead.to = ahead.from;
            if (here != configured) {
                configure(here < TILE_ROWS ? here : TILE_ROWS, here > TILE_ROWS ? here - TILE_ROWS : 0);
                configured = here;
            }
            const uint32_t *from = x + r * x_stride;
            _tile_zero(0);
            _tile_zero(1);
            if (here > TILE_ROWS) {
                _tile_zero(2);
                _tile_zero(3);
                steps(1, from, x_stride, panel, count, ahead);
            } else {
                steps(0, from, x_stride, panel, count, ahead);
            }
            const size_t done = count * STEP_PAIRS;
            if (left) last_step(from + done, here, x_stride, panel + done * 2 * CRUX_PANEL, left);
            store(here, wanted, y + r * y_stride + o, y_stride);
        }
    }
    // Else every switch of threads saves the tiles.
    _tile_release();
}
#else
int crux_has_tiles(void) { return 0; }
#endif

void crux_tile_rows(const uint32_t *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride) {
#if defined(__x86_64__)
    if (crux_current_instruction_set() >= CRUX_AVX512 && crux_has_tiles())
        return amx_tile_rows(x, rows, x_stride, packed, outputs, inputs, y, y_stride);
#endif
    CHOOSE(tile_rows(x, rows, x_stride, packed, outputs, inputs, y, y_stride))
}

#else

static inline crux_lanes NAME(even)(crux_bit_lanes pairs) { return (crux_lanes)(pairs << 16); }
static inline crux_lanes NAME(odd)(crux_bit_lanes pairs) { return (crux_lanes)(pairs & 0xffff0000u); }

// Sixteen outputs of one row, `weights` [pairs, CRUX_PANEL, 2] at the first of them.
static inline crux_lanes NAME(tile_sums)(const uint32_t *x, const uint16_t *weights, size_t pairs) {
    crux_lanes sum = {0};
    for (size_t from = 0; from < pairs; from += STEP_PAIRS) {
        crux_lanes even = {0}, odd = {0};
        const size_t to = from + STEP_PAIRS < pairs ? from + STEP_PAIRS : pairs;
        for (size_t k = from; k < to; k++) {
            crux_bit_lanes w;
            memcpy(&w, weights + k * 2 * CRUX_PANEL, sizeof w);
            const crux_lanes x_even = crux_bits_to_float(x[k] << 16) - (crux_lanes){0},
                             x_odd = crux_bits_to_float(x[k] & 0xffff0000u) - (crux_lanes){0};
            even = __builtin_elementwise_fma(x_even, NAME(even)(w), even);
            odd = __builtin_elementwise_fma(x_odd, NAME(odd)(w), odd);
        }
        sum += even + odd;
    }
    return sum;
}

static void NAME(tile_rows)(const uint32_t *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride) {
    const size_t pairs = (inputs + 1) / 2;
    for (size_t o = 0; o < outputs; o += CRUX_PANEL) {
        const uint16_t *panel = packed + o * pairs * 2;
        const size_t wanted = outputs - o < CRUX_PANEL ? outputs - o : CRUX_PANEL;
        for (size_t r = 0; r < rows; r++) {
            float out[CRUX_PANEL];
            for (int half = 0; half < 2; half++) {
                const crux_lanes sums = NAME(tile_sums)(x + r * x_stride, panel + half * CRUX_PANEL, pairs);
                memcpy(out + 16 * half, &sums, sizeof sums);
            }
            memcpy(y + r * y_stride + o, out, wanted * sizeof(float));
        }
    }
}

#endif
