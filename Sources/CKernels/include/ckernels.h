// Vector kernels, each in one C body compiled for several instruction sets and chosen once at run time.
//
// Legend: n elements of a row, contiguous, float32 unless a type says otherwise. Reductions run in float lanes inside a
// block of at most 2,048 elements and in double across blocks, in a fixed order: the same bytes for the same
// instruction set, whatever the thread count. "+=" in a comment means that the kernel adds to what is there.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { CRUX_BF16 = 0, CRUX_F16 = 1, CRUX_F32 = 2 } crux_dtype;

typedef enum {
    CRUX_ROW_OK = 0,
    CRUX_ROW_NAN = 1,           // some logit is NaN
    CRUX_ROW_POSITIVE_INFINITY = 2,
    CRUX_ROW_EMPTY = 3          // every logit is -inf: no token was possible
} crux_row_status;

// One row of logits, n elements of `dtype`. The two bytes of a 16-bit element may lie apart: then `values` are the high
// ones.
typedef struct {
    const void *values;
    const uint8_t *low;     // NULL where elements are whole
    size_t n;
    crux_dtype dtype;
} crux_logits;

// What one row of logits z says after division by the temperature: everything of softmax(z / temperature), in nats.
typedef struct {
    double log_sum_exp;
    double entropy;
    double logprob;         // of the sampled token; -inf where its logit is -inf
    double maximum;
    double sum_p_squared;   // where CRUX_COLLISION is wanted: the probability that two draws are the same token
    // Where CRUX_NOISE is wanted, upper bounds of what storing z with unit roundoff u (2^-8 bf16, 2^-11 f16, 2^-24 f32)
    // can have moved:
    double entropy_noise;   // u * sum p |z| (|log p| + H)
    double logprob_noise;   // u * (|z_sampled| + sum p |z|)
    crux_row_status status;
} crux_row_stats;

// The k most likely tokens in falling order, of equal ones the lower id first; fewer where fewer are possible.
typedef struct {
    size_t k, count;
    int32_t *ids;           // [k]
    float *logprobs;        // [k]
} crux_top_k;

// What costs time of its own.
enum { CRUX_NOISE = 1, CRUX_COLLISION = 2 };

// One pass over memory. `sampled` must lie in 0..<n; `wanted` are flags as above; `top` may be null. On a bad row only
// the status says something. Errors against double: entropy 5e-6, where it is below 0.1 1e-6.
void crux_logit_row(const crux_logits *row, float inverse_temperature, int32_t sampled, unsigned wanted,
    crux_top_k *top, crux_row_stats *out);

// The slow obvious version in scalar double, everything wanted: kept as the check for the fast one.
void crux_logit_row_reference(
    const crux_logits *row, float inverse_temperature, int32_t sampled, crux_top_k *top, crux_row_stats *out);

// What rounding the row to the type that it is stored in is expected to have moved: root mean squares in nats, for
// errors of the logits that are independent and even over an ulp, s = ulp(z) / sqrt(12) each. Logits that were rounded
// to fewer bits before they were stored betray it.
typedef struct {
    double entropy;         // sqrt(sum (p (log p + H) s / T)^2)
    double logprob;         // sqrt(sum ((1[sampled] - p) s / T)^2)
    crux_dtype dtype;       // what the row was rounded to: the type that it is stored in, or a narrower one
} crux_row_error;

// `stats` are those of the row, whose status is CRUX_ROW_OK, at this temperature. It takes half as long
// again as crux_logit_row. Relative error 1e-3 where the result is not below 1e-4 of an ulp.
crux_row_error crux_logit_row_error(
    const crux_logits *row, float inverse_temperature, int32_t sampled, const crux_row_stats *stats);
// The slow obvious version.
crux_row_error crux_logit_row_error_reference(const crux_logits *row, float inverse_temperature, int32_t sampled);

// The narrowest type that holds every number of a row, given which bits any of them has as a float; and its ulp at 1.
crux_dtype crux_narrowest_type(crux_dtype stored, uint32_t bits);
double crux_ulp_share(crux_dtype dtype);

// Only the status: NaN, +inf, or nothing finite.
crux_row_status crux_scan_logits(const crux_logits *row);

// Conversions of n elements. To 16 bits: round to nearest, ties to even; NaN stays NaN.
void crux_bf16_to_f32(const uint16_t *x, float *y, size_t n);
void crux_f16_to_f32(const uint16_t *x, float *y, size_t n);
void crux_f32_to_bf16(const float *x, uint16_t *y, size_t n);
void crux_f32_to_f16(const float *x, uint16_t *y, size_t n);
// High and low bytes of n 16-bit elements (little-endian, at any address) to places of their own.
void crux_split_bytes(const void *x, uint8_t *high, uint8_t *low, size_t n);

// y = weight * x * rstd, rstd = 1 / sqrt(mean(x^2) + epsilon); returns rstd.
float crux_rmsnorm_forward(const float *x, const float *weight, float *y, size_t n, float epsilon);
// dx += and dweight +=.
void crux_rmsnorm_backward(
    const float *dy, const float *x, const float *weight, float rstd, float *dx, float *dweight, size_t n);

// y = silu(gate) * up; the backward half may write over its inputs.
void crux_swiglu_forward(const float *gate, const float *up, float *y, size_t n);
void crux_swiglu_backward(const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n);

// The same with gelu in its tanh form (PyTorch's approximate="tanh") in silu's place.
void crux_geglu_forward(const float *gate, const float *up, float *y, size_t n);
void crux_geglu_backward(const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n);

// y = g sigmoid(slope g) (u + 1), g = min(gate, limit), u = up kept within ± limit. No gradient where a limit holds.
void crux_clamped_swiglu_forward(
    const float *gate, const float *up, float *y, size_t n, float limit, float slope);
void crux_clamped_swiglu_backward(
    const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n, float limit, float slope);

// y = x sigmoid(gate), and dx, dgate =, which may take the places of x and gate.
void crux_sigmoid_gate_forward(const float *x, const float *gate, float *y, size_t n);
void crux_sigmoid_gate_backward(
    const float *dy, const float *x, const float *gate, float *dx, float *dgate, size_t n);

// Soft cap, in place: x -> cap * tanh(scale * x / cap).
void crux_cap(float *x, size_t n, float scale, float cap);
// Its backward half, from what it gave out: d *= scale * (1 - (y / cap)^2).
void crux_cap_backward(const float *y, float *d, size_t n, float scale, float cap);
// Of softmax over capped scores, from the raw scores and dp: scores -> p, dp -> dscores. Both in place; delta = sum(p *
// dp).
void crux_capped_softmax_backward(
    float *scores, float *dp, size_t n, float scale, float cap, float log_sum_exp, float delta);

// scores -> softmax(scale * scores) in place; returns the log-sum-exp of the scaled scores.
float crux_softmax_row(float *scores, size_t n, float scale);
// scores -> exp(scale * scores - log_sum_exp) in place.
void crux_softmax_row_from_lse(float *scores, size_t n, float scale, float log_sum_exp);
// dp -> scale * p * (dp - delta) in place, delta = sum(p * dp).
void crux_softmax_row_backward(const float *p, float *dp, size_t n, float scale, float delta);

// y = scale * x * r, r = 1 / sqrt(sum(x^2) + epsilon), in place or not; returns r.
float crux_unit_forward(const float *x, float *y, size_t n, float epsilon, float scale);
// From what it gave out and r; dx may be dy.
void crux_unit_backward(const float *dy, const float *y, float r, float scale, float *dx, size_t n);

// A depthwise causal convolution and silu, one token at a time: y = silu(sum_j w[j] x[j]), `taps` (at most
// CRUX_MOST_TAPS) rows of n, the token's own the last, NULL before the beginning; w [taps, n], `w_stride` apart.
#define CRUX_MOST_TAPS 64
void crux_convolve_silu(const float *const *x, const float *w, size_t w_stride, size_t taps, float *y, size_t n);
// dx[j] += where there is a row, dw += (`w_stride` apart too).
void crux_convolve_silu_backward(const float *const *x, const float *w, size_t w_stride, size_t taps, const float *dy,
    float *const *dx, float *dw, size_t n);

// The gated delta rule of one head, S [keys, values], over n tokens:
//     S <- decay S;  u = strength (v - S'k);  S <- S + k u';  out = S'q.
// A state lies in panels of CRUX_PANEL columns, [keys, CRUX_PANEL] each, the last one filled up with zeros.
typedef struct {
    const float *q, *k, *v;         // [n, keys], [n, keys], [n, values], rows `stride` apart
    const float *decay, *strength;  // [n], `gate_stride` apart
    size_t stride, gate_stride, keys, values;
} crux_delta_inputs;
typedef struct {
    float *q, *k;                   // +=; all of them laid out as the inputs
    float *v, *decay, *strength;    // =
} crux_delta_gradients;
size_t crux_delta_state_count(size_t keys, size_t values);
// Moves the state on; `out` may be NULL.
void crux_delta_forward(const crux_delta_inputs *x, size_t n, float *state, float *out, size_t out_stride);
// `state`: before the first token. dstate goes in as the gradient of the state behind the last token and comes out as that
// of the one before the first. `space`: crux_delta_space_count floats.
size_t crux_delta_space_count(size_t n, size_t keys);
void crux_delta_backward(const crux_delta_inputs *x, size_t n, const float *state, const float *dout, size_t dout_stride,
    float *dstate, const crux_delta_gradients *d, float *space);

float crux_dot(const float *a, const float *b, size_t n);
void crux_add(float *y, const float *x, size_t n);    // y += x
double crux_squared_norm(const float *x, size_t n);

/// Over the vocabulary, with π = softmax(policy · inverse_temperature): KL(π || softmax(reference ·
/// inverse_temperature)) and, where `q` is not null, Σ π q. Reference log-probabilities of -inf count as -30 here and
/// below; returns how many π reaches.
size_t crux_joint_row(const float *policy, const float *reference, const float *q, size_t n, float inverse_temperature,
    double *kl, double *expected_q);

/// KL(π || π*), π* ∝ softmax(reference · inverse_temperature) · exp(q · inverse_beta), with `bonus` added to the
/// log-odds of `token`. A `derivative` by it that is not 0 turns `policy` into the derivative by its logits.
/// `reference` is overwritten; `q` may be null.
double crux_target_row(float *policy, float *reference, const float *q, size_t n, float inverse_temperature,
    float inverse_beta, int32_t token, float bonus, float derivative);

/// A divergence between policy S and teacher T. `share`: of the first named part, KL(T || S) of the two directions, or b
/// of b KL(T || M) + (1 - b) KL(S || M) with M = (1 - b) S + b T.
typedef enum { CRUX_FORWARD_REVERSE, CRUX_JENSEN_SHANNON } crux_divergence_kind;
typedef enum { CRUX_SUPPORT_ALL, CRUX_SUPPORT_TEACHER, CRUX_SUPPORT_POLICY } crux_divergence_support;
/// What becomes of the tokens that are not among the likeliest.
typedef enum { CRUX_REST_BUCKET, CRUX_REST_RENORMALIZED, CRUX_REST_DROPPED } crux_divergence_rest;
typedef struct {
    crux_divergence_kind kind;
    float share;
    crux_divergence_support support;
    /// How many likeliest tokens.
    size_t chosen;
    crux_divergence_rest rest;
} crux_divergence;

/// The divergence between softmax(inverse_temperature · policy) and that of `teacher`, whose log-probabilities of -inf
/// count as -30. A `derivative` by it that is not 0 turns `policy` into the derivative by its logits; without one it is
/// overwritten too, as `teacher` is. `chosen`: room for as many numbers as are chosen; null over the whole vocabulary.
double crux_divergence_row(
    float *policy, float *teacher, size_t n, float inverse_temperature, const crux_divergence *what, int32_t *chosen,
    float derivative);

// Of softmax(inverse_temperature * logits): log-probability of `target`, entropy, log-sum-exp.
void crux_log_softmax_stats(const float *logits, size_t n, float inverse_temperature, int32_t target,
                            float *logprob, float *entropy, float *log_sum_exp);
// logits -> dlogprob * (1[v = target] - p_v) * inverse_temperature in place.
void crux_head_backward_row(
    float *logits, size_t n, float inverse_temperature, float log_sum_exp, int32_t target, float dlogprob);
// The same with dentropy * dH/dlogits added, H the `entropy` of the row.
void crux_head_backward_row_with_entropy(
    float *logits, size_t n, float inverse_temperature, float log_sum_exp, int32_t target, float dlogprob,
    float entropy, float dentropy);

// Calls `body` once for each index below `count`, which is at least 1, on at most `threads` threads, the caller's among
// them, and returns 1 when all are done; 0, having called nothing, while the team is at work for somebody else.
int crux_team_run(size_t count, size_t threads, void (*body)(void *context, size_t index), void *context);

// Generation. Each result depends on its own row alone, never on how many rows are computed together.
// y[r][o] = x[r] . w[o]: x [rows, inputs] and y [rows, outputs] with strides; w [outputs, inputs] packed into panels of
// CRUX_PANEL outputs, [inputs, CRUX_PANEL] each, the last one filled up with zeros.
#define CRUX_PANEL 32
size_t crux_packed_count(size_t outputs, size_t inputs);
void crux_pack(const float *w, size_t outputs, size_t inputs, float *packed);
void crux_packed_rows(const float *x, size_t rows, size_t x_stride, const float *packed, size_t outputs, size_t inputs,
    float *y, size_t y_stride);
// The same from weights in bf16, half the memory to read: what they stand for is multiplied in float32, so that weights
// which bf16 holds exactly (crux_is_half) give the same bytes. Panels hold [inputs / 2, CRUX_PANEL, 2], an odd number of
// inputs filled up with a zero.
size_t crux_packed_half_count(size_t outputs, size_t inputs);
void crux_pack_half(const float *w, size_t outputs, size_t inputs, uint16_t *packed);
void crux_packed_half_rows(const float *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride);
int crux_is_half(const float *x, size_t n);
// The same with rows in bf16 too: x [rows, inputs / 2] pairs, the lower input in the lower half. Sums are float32, of the
// same bytes on every processor that has fused multiply-adds.
void crux_half_rows(const uint32_t *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride);
// The same in the order of AMX's tiles: of every 32 inputs the even ones' and the odd ones' chain of fused multiply-adds,
// from zero, are added, then that to the sum. The same bytes everywhere; fast where crux_has_tiles.
void crux_tile_rows(const uint32_t *x, size_t rows, size_t x_stride, const uint16_t *packed, size_t outputs,
    size_t inputs, float *y, size_t y_stride);
// scores[t] = q . keys[t], and out += sum p[t] values[t], over `count` keys of `width` floats, `stride` apart.
void crux_attention_scores(const float *q, const float *keys, size_t stride, size_t count, size_t width, float *scores);
void crux_attention_mix(const float *p, const float *values, size_t stride, size_t count, size_t width, float *out);
// The first of the largest elements.
int32_t crux_argmax(const float *x, size_t n);
// The token where the cumulative probability of softmax(inverse_temperature * logits), in token order, first exceeds u
// in [0, 1).
int32_t crux_sample_row(const float *logits, size_t n, float inverse_temperature, float log_sum_exp, double u);

// Cells of the number line: edges that none of is NaN, ascending, and the values from one to the next. What lies in
// some cells is kept.
#define CRUX_MOST_EDGES 32
#define CRUX_CELL_LANES 16
typedef struct {
    float edges[CRUX_MOST_EDGES];
    size_t count;           // of edges
    uint32_t turns;         // bit i: keeping begins at edge i, or ends there
    uint32_t saw_odd;       // whether some value was NaN or infinite
    uint32_t at_least[CRUX_MOST_EDGES][CRUX_CELL_LANES];    // values that reach each edge, in parts
} crux_cells;
// Edges to go by, and nothing counted yet.
void crux_begin_cells(crux_cells *cells, const float *edges, size_t count, uint32_t turns);
// Adds n values to the counts; `gathered` gets those of the cells that are kept, in their order, and has room for n +
// 16. Returns how many. The parts hold 2^31 values: a caller of more adds them up in between.
size_t crux_count_cells(const float *values, size_t n, crux_cells *cells, float *gathered);
uint64_t crux_cells_at_least(const crux_cells *cells, size_t edge);

// One AdamW step with decoupled weight decay, in the order of torch.optim.AdamW. All constants are computed in double
// and rounded once: 1 - 0.999f, say, is wrong in its fifth digit.
typedef struct {
    float decay;               // 1 - learning_rate * weight_decay
    float step_size;           // learning_rate / (1 - beta1^step)
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float inverse_bias2_sqrt;  // 1 / sqrt(1 - beta2^step)
    float epsilon;
    float gradient_scale;      // multiplies gradients first
} crux_adamw_settings;
void crux_adamw(float *parameter, const float *gradient, float *exp_avg, float *exp_avg_sq, size_t n,
    const crux_adamw_settings *settings);

// Instruction sets, widest last. The last that the processor has is chosen at the start; tests set others, each for its
// own thread.
typedef enum {
    CRUX_PLAIN = 0,
    CRUX_AVX2 = 1,
    CRUX_AVX512 = 2,
    CRUX_AVX512_BY_HAND = 3 // AVX-512, with the logit kernel's operations ordered by hand
} crux_instruction_set;
crux_instruction_set crux_best_instruction_set(void);
crux_instruction_set crux_current_instruction_set(void);
void crux_set_instruction_set(crux_instruction_set set);

// The kernels that OpenBLAS multiplies with, as it calls them; "" where a program has no OpenBLAS. It chooses by what the
// processor can do where its own choice is one for processors of twenty years ago.
const char *crux_openblas_core(void);
// Whether these are kernels without AVX2.
int crux_openblas_core_is_old(const char *core);

// Whether this processor has vectors of bf16 products (AVX-512 BF16), and how many of them it makes in the time of one
// float32 product, by a measurement of a millisecond; 0 where it has none.
int crux_has_half_products(void);
double crux_half_speed(void);
// Whether it has tiles of them (AMX), and Linux lets this process use those.
int crux_has_tiles(void);

// Reads every byte once and returns a checksum: the machine's read bandwidth, for benchmarks.
uint64_t crux_read_bandwidth_probe(const void *bytes, size_t count);

#ifdef __cplusplus
}
#endif
