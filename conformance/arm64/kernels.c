// Runs the kernels on numbers that are the same on every processor, and prints a line for each:
//
//     bytes NAME DIGEST           what has the same bytes on every processor with fused multiply-adds
//     error NAME ERROR BOUND      the largest difference from the same in double, and what is allowed
//
// kernels.sh compares the lines of two processors.
#include "ckernels.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 1;
static double uniform(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static float *numbers(size_t count, double scale) {
    float *x = malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++) x[i] = (float)(scale * (2 * uniform() - 1));
    return x;
}

static void bytes(const char *name, const void *data, size_t count) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    printf("bytes %s %016llx\n", name, (unsigned long long)hash);
}

static int failures = 0;
static void error(const char *name, double found, double bound) {
    if (!(found <= bound)) failures++;
    printf("error %s %.3g %.3g%s\n", name, found, bound, found <= bound ? "" : " FAILED");
}

static double worst(double a, double b) { return fabs(a) > b || isnan(a) ? fabs(a) : b; }

static void products(void) {
    enum { ROWS = 13, OUTPUTS = 70, INPUTS = 193 };
    float *x = numbers(ROWS * INPUTS, 1), *w = numbers(OUTPUTS * INPUTS, 1), *y = calloc(ROWS * OUTPUTS, sizeof(float));
    float *packed = malloc(crux_packed_count(OUTPUTS, INPUTS) * sizeof(float));
    uint16_t *half = malloc(crux_packed_half_count(OUTPUTS, INPUTS) * sizeof(uint16_t));
    double largest = 0;
    crux_pack(w, OUTPUTS, INPUTS, packed);
    crux_packed_rows(x, ROWS, INPUTS, packed, OUTPUTS, INPUTS, y, OUTPUTS);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t o = 0; o < OUTPUTS; o++) {
            double exact = 0;
            for (size_t k = 0; k < INPUTS; k++) exact += (double)x[r * INPUTS + k] * w[o * INPUTS + k];
            largest = worst(y[r * OUTPUTS + o] - exact, largest);
        }
    error("packed_rows", largest, 2e-6 * sqrt(INPUTS));
    bytes("packed_rows", y, ROWS * OUTPUTS * sizeof(float));
    crux_pack_half(w, OUTPUTS, INPUTS, half);
    bytes("pack_half", half, crux_packed_half_count(OUTPUTS, INPUTS) * sizeof(uint16_t));
    crux_packed_half_rows(x, ROWS, INPUTS, half, OUTPUTS, INPUTS, y, OUTPUTS);
    bytes("packed_half_rows", y, ROWS * OUTPUTS * sizeof(float));
    crux_packed_half_rows(x, 3, INPUTS, half, OUTPUTS, INPUTS, y, OUTPUTS);
    bytes("packed_half_rows of three", y, 3 * OUTPUTS * sizeof(float));
    uint32_t *pairs = calloc(ROWS * (INPUTS + 1) / 2 + ROWS, sizeof(uint32_t));
    uint16_t *row = calloc(INPUTS + 1, sizeof(uint16_t));
    for (size_t r = 0; r < ROWS; r++) {
        crux_f32_to_bf16(x + r * INPUTS, row, INPUTS);
        memcpy(pairs + r * ((INPUTS + 1) / 2), row, (INPUTS + 1) * sizeof(uint16_t));
    }
    crux_half_rows(pairs, ROWS, (INPUTS + 1) / 2, half, OUTPUTS, INPUTS, y, OUTPUTS);
    bytes("half_rows", y, ROWS * OUTPUTS * sizeof(float));
    crux_tile_rows(pairs, ROWS, (INPUTS + 1) / 2, half, OUTPUTS, INPUTS, y, OUTPUTS);
    bytes("tile_rows", y, ROWS * OUTPUTS * sizeof(float));
}

static void attention(void) {
    enum { COUNT = 61, WIDTH = 84, STRIDE = 90 };
    float *q = numbers(WIDTH, 1), *keys = numbers(COUNT * STRIDE, 1), *p = numbers(COUNT, 1), scores[COUNT], out[WIDTH] = {0};
    crux_attention_scores(q, keys, STRIDE, COUNT, WIDTH, scores);
    crux_attention_mix(p, keys, STRIDE, COUNT, WIDTH, out);
    bytes("attention_scores", scores, sizeof scores);
    bytes("attention_mix", out, sizeof out);
    double largest = 0;
    for (size_t t = 0; t < COUNT; t++) {
        double exact = 0;
        for (size_t i = 0; i < WIDTH; i++) exact += (double)q[i] * keys[t * STRIDE + i];
        largest = worst(scores[t] - exact, largest);
    }
    error("attention_scores", largest, 1e-5);
    largest = 0;
    for (size_t i = 0; i < WIDTH; i++) {
        double exact = 0;
        for (size_t t = 0; t < COUNT; t++) exact += (double)p[t] * keys[t * STRIDE + i];
        largest = worst(out[i] - exact, largest);
    }
    error("attention_mix", largest, 1e-5);
}

static void conversions(void) {
    enum { COUNT = 65536 };
    uint16_t *halves = malloc(COUNT * 2), *back = malloc(COUNT * 2);
    float *wide = malloc(COUNT * 4), *x = numbers(COUNT, 70000);
    for (size_t i = 0; i < COUNT; i++) halves[i] = (uint16_t)i;
    crux_bf16_to_f32(halves, wide, COUNT);
    bytes("bf16_to_f32", wide, COUNT * 4);
    crux_f16_to_f32(halves, wide, COUNT);
    // Any NaN stands for NaN.
    for (size_t i = 0; i < COUNT; i++) if (isnan(wide[i])) wide[i] = NAN;
    bytes("f16_to_f32", wide, COUNT * 4);
    crux_f32_to_bf16(x, back, COUNT);
    bytes("f32_to_bf16", back, COUNT * 2);
    for (size_t i = 0; i < COUNT; i++) x[i] *= i % 3 ? 1e-6f : 1;
    crux_f32_to_f16(x, back, COUNT);
    bytes("f32_to_f16", back, COUNT * 2);
    uint8_t *high = malloc(COUNT), *low = malloc(COUNT);
    crux_split_bytes(back, high, low, COUNT);
    bytes("split_bytes, high", high, COUNT);
    bytes("split_bytes, low", low, COUNT);
}

// Rows of logits of each type, whole and split, against the slow version in double.
static void logits(void) {
    enum { N = 5003, K = 20 };
    const char *names[] = {"bf16", "f16", "f32"};
    for (int type = 0; type < 3; type++)
        for (int split = 0; split < (type == CRUX_F32 ? 1 : 2); split++)
            for (int flat = 0; flat < 2; flat++) {
                float *x = numbers(N, flat ? 0.5 : 12);
                uint16_t half[N];
                uint8_t high[N], low[N];
                if (type == CRUX_BF16) crux_f32_to_bf16(x, half, N);
                if (type == CRUX_F16) crux_f32_to_f16(x, half, N);
                crux_split_bytes(half, high, low, N);
                const crux_logits row = {split ? high : type == CRUX_F32 ? (void *)x : (void *)half, split ? low : NULL, N, type};
                int32_t ids[K], exact_ids[K];
                float logprobs[K], exact_logprobs[K];
                crux_top_k top = {K, 0, ids, logprobs}, exact_top = {K, 0, exact_ids, exact_logprobs};
                crux_row_stats stats, exact;
                crux_logit_row(&row, 1.25f, 17, CRUX_NOISE | CRUX_COLLISION, &top, &stats);
                crux_logit_row_reference(&row, 1.25f, 17, &exact_top, &exact);
                double largest = worst(stats.entropy - exact.entropy, 0);
                largest = worst(stats.logprob - exact.logprob, largest);
                largest = worst(stats.log_sum_exp - exact.log_sum_exp, largest);
                largest = worst((stats.sum_p_squared - exact.sum_p_squared) / exact.sum_p_squared, largest);
                for (size_t i = 0; i < K; i++) {
                    largest = worst(logprobs[i] - exact_logprobs[i], largest);
                    if (ids[i] != exact_ids[i]) largest = INFINITY;
                }
                char name[64];
                snprintf(name, sizeof name, "logit_row, %s%s%s", names[type], split ? ", split" : "", flat ? ", flat" : "");
                error(name, top.count == K && stats.status == CRUX_ROW_OK ? largest : INFINITY, 5e-6);
                const crux_row_error moved = crux_logit_row_error(&row, 1.25f, 17, &stats),
                                     slow = crux_logit_row_error_reference(&row, 1.25f, 17);
                snprintf(name, sizeof name, "logit_row_error, %s%s%s", names[type], split ? ", split" : "", flat ? ", flat" : "");
                error(name, worst(moved.entropy / slow.entropy - 1, fabs(moved.logprob / slow.logprob - 1)), 1e-3);
                free(x);
            }
    float bad[N];
    for (size_t i = 0; i < N; i++) bad[i] = -INFINITY;
    const crux_logits row = {bad, NULL, N, CRUX_F32};
    int statuses[3] = {crux_scan_logits(&row)};
    bad[N - 1] = INFINITY;
    statuses[1] = crux_scan_logits(&row);
    bad[1000] = NAN;
    statuses[2] = crux_scan_logits(&row);
    bytes("scan_logits", statuses, sizeof statuses);
}

static void layers(void) {
    enum { N = 1027 };
    float *x = numbers(N, 3), *weight = numbers(N, 1), *y = calloc(N, 4), *dy = numbers(N, 1), *dx = calloc(N, 4), *dw = calloc(N, 4);
    const float rstd = crux_rmsnorm_forward(x, weight, y, N, 1e-6f);
    double squares = 0, dot = 0, largest = 0;
    for (size_t i = 0; i < N; i++) squares += (double)x[i] * x[i], dot += (double)dy[i] * weight[i] * x[i];
    const double r = 1 / sqrt(squares / N + 1e-6);
    for (size_t i = 0; i < N; i++) largest = worst(y[i] - x[i] * weight[i] * r, largest);
    error("rmsnorm_forward", largest, 1e-5);
    crux_rmsnorm_backward(dy, x, weight, rstd, dx, dw, N);
    largest = 0;
    for (size_t i = 0; i < N; i++) largest = worst(dx[i] - r * (dy[i] * weight[i] - x[i] * r * r * dot / N), largest);
    error("rmsnorm_backward", largest, 1e-5);
    float *gate = numbers(N, 8), *up = numbers(N, 2), *dgate = calloc(N, 4), *dup = calloc(N, 4);
    crux_swiglu_forward(gate, up, y, N);
    crux_swiglu_backward(dy, gate, up, dgate, dup, N);
    double backward = largest = 0;
    for (size_t i = 0; i < N; i++) {
        const double s = 1 / (1 + exp(-(double)gate[i]));
        largest = worst(y[i] - gate[i] * s * up[i], largest);
        backward = worst(dgate[i] - dy[i] * up[i] * s * (1 + gate[i] * (1 - s)), backward);
    }
    error("swiglu_forward", largest, 1e-5);
    error("swiglu_backward", backward, 1e-5);
    crux_geglu_forward(gate, up, y, N);
    largest = 0;
    for (size_t i = 0; i < N; i++) {
        const double g = gate[i];
        largest = worst(y[i] - 0.5 * g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g))) * up[i], largest);
    }
    error("geglu_forward", largest, 1e-5);
    float *capped = numbers(N, 50);
    memcpy(x, capped, N * 4);
    crux_cap(capped, N, 0.5f, 20);
    largest = 0;
    for (size_t i = 0; i < N; i++) largest = worst(capped[i] - 20 * tanh(0.5 * x[i] / 20), largest);
    error("cap", largest, 2e-5);
    float *scores = numbers(N, 20), logprob, entropy, lse;
    memcpy(x, scores, N * 4);
    crux_log_softmax_stats(x, N, 0.8f, 5, &logprob, &entropy, &lse);
    double sum = 0, expected = 0;
    for (size_t i = 0; i < N; i++) sum += exp(0.8 * x[i]);
    for (size_t i = 0; i < N; i++) { const double l = 0.8 * x[i] - log(sum); expected -= exp(l) * l; }
    error("log_softmax_stats", worst(logprob - (0.8 * x[5] - log(sum)), fabs(entropy - expected)), 1e-5);
    const float own = crux_softmax_row(scores, N, 0.8f);
    largest = fabs(own - log(sum));
    for (size_t i = 0; i < N; i++) largest = worst(scores[i] - exp(0.8 * x[i]) / sum, largest);
    error("softmax_row", largest, 1e-5);
    int32_t sampled[64];
    for (int i = 0; i < 64; i++) sampled[i] = crux_sample_row(x, N, 0.8f, lse, (i + 0.5) / 64);
    bytes("sample_row", sampled, sizeof sampled);
    const int32_t best = crux_argmax(x, N);
    bytes("argmax", &best, sizeof best);
    double norm = 0;
    for (size_t i = 0; i < N; i++) norm += (double)x[i] * x[i];
    error("squared_norm", fabs(crux_squared_norm(x, N) / norm - 1), 1e-6);
}

static void optimizer(void) {
    enum { N = 777 };
    float *w = numbers(N, 1), *g = numbers(N, 1), *m = numbers(N, 0.1), *v = numbers(N, 0.1);
    double largest = 0, w0[N], m0[N], v0[N];
    for (size_t i = 0; i < N; i++) v[i] = fabsf(v[i]), w0[i] = w[i], m0[i] = m[i], v0[i] = v[i];
    const crux_adamw_settings s = {0.999f, 1e-3f, 0.9f, 0.1f, 0.999f, 0.001f, 1.2f, 1e-8f, 0.7f};
    crux_adamw(w, g, m, v, N, &s);
    for (size_t i = 0; i < N; i++) {
        const double d = 0.7f * (double)g[i], first = 0.9f * m0[i] + 0.1f * d, second = 0.999f * v0[i] + 0.001f * d * d;
        largest = worst(w[i] - (w0[i] * 0.999f - 1e-3f * first / (sqrt(second) * 1.2f + 1e-8)), largest);
    }
    error("adamw", largest, 2e-7);
}

static void cells(void) {
    enum { N = 10007 };
    float *x = numbers(N, 1), *kept = malloc((N + 16) * sizeof(float));
    const float edges[] = {-0.9f, -0.25f, 0, 0.3f, 0.31f, 0.8f};
    crux_cells found;
    crux_begin_cells(&found, edges, 6, 1u << 1 | 1u << 3);
    const size_t count = crux_count_cells(x, N, &found, kept);
    uint64_t counts[7] = {count};
    for (size_t edge = 0; edge < 6; edge++) counts[edge + 1] = crux_cells_at_least(&found, edge);
    bytes("count_cells, counts", counts, sizeof counts);
    bytes("count_cells, kept", kept, count * sizeof(float));
}

static int work[1000];
static void piece(void *context, size_t index) { work[index] += *(int *)context; }

static void team(void) {
    int one = 1;
    for (int time = 0; time < 50; time++) crux_team_run(1000, 3, piece, &one);
    bytes("team_run", work, sizeof work);
}

int main(void) {
    products();
    attention();
    conversions();
    logits();
    layers();
    optimizer();
    cells();
    team();
    return failures > 0;
}
