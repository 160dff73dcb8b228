// Activations of gated layers beside silu, sigmoid gates, and soft caps, forward and backward.
#ifndef NAME
#define BODY "activations.c"
#include "each_instruction_set.inc"

void crux_geglu_forward(const float *gate, const float *up, float *y, size_t n) {
    CHOOSE(geglu_forward(gate, up, y, n))
}

void crux_geglu_backward(const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n) {
    CHOOSE(geglu_backward(dy, gate, up, dgate, dup, n))
}

void crux_clamped_swiglu_forward(
    const float *gate, const float *up, float *y, size_t n, float limit, float slope) {
    CHOOSE(clamped_swiglu_forward(gate, up, y, n, limit, slope))
}

void crux_clamped_swiglu_backward(
    const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n, float limit, float slope) {
    CHOOSE(clamped_swiglu_backward(dy, gate, up, dgate, dup, n, limit, slope))
}

void crux_sigmoid_gate_forward(const float *x, const float *gate, float *y, size_t n) {
    CHOOSE(sigmoid_gate_forward(x, gate, y, n))
}

void crux_sigmoid_gate_backward(
    const float *dy, const float *x, const float *gate, float *dx, float *dgate, size_t n) {
    CHOOSE(sigmoid_gate_backward(dy, x, gate, dx, dgate, n))
}

void crux_cap(float *x, size_t n, float scale, float cap) { CHOOSE(cap(x, n, scale, cap)) }

void crux_cap_backward(const float *y, float *d, size_t n, float scale, float cap) {
    CHOOSE(cap_backward(y, d, n, scale, cap))
}

void crux_capped_softmax_backward(
    float *scores, float *dp, size_t n, float scale, float cap, float log_sum_exp, float delta) {
    CHOOSE(capped_softmax_backward(scores, dp, n, scale, cap, log_sum_exp, delta))
}

#else

#include "exponential.inc"

// tanh(x): below 0.625 an odd polynomial (Cephes), above 1 - 2 / (exp(2x) + 1); about 2 ulp, no branches.
static inline float NAME(tanh)(float x) {
    const float size = x < 0.0f ? -x : x, square = x * x;
    float p = -5.70498872745e-3f;
    p = p * square + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    const float small = p * square * x + x;
    // Beyond 9 a float's tanh is 1.
    const float large = 1.0f - 2.0f / (NAME(exp)(2.0f * (size > 10.0f ? 10.0f : size)) + 1.0f);
    return size < 0.625f ? small : (x < 0.0f ? -large : large);
}

// gelu(x) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3): the tanh form, as 1 + tanh(u) = 2 sigmoid(2 u).
static inline float NAME(gelu_sigmoid)(float x) {
    const float twice = 1.5957691216f * (x + 0.044715f * x * x * x);
    return 1.0f / (1.0f + NAME(exp)(-twice));
}

static void NAME(geglu_forward)(const float *gate, const float *up, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = gate[i] * NAME(gelu_sigmoid)(gate[i]) * up[i];
}

// Through a block of its own, as in swiglu_backward.
static void NAME(geglu_backward)(
    const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n) {
    enum { block_size = 256 };
    float gates[block_size], ups[block_size];
    for (size_t start = 0; start < n; start += block_size) {
        const size_t count = n - start < block_size ? n - start : block_size;
        const float *d = dy + start, *g = gate + start, *u = up + start;
        for (size_t i = 0; i < count; i++) {
            const float s = NAME(gelu_sigmoid)(g[i]), slope = 1.5957691216f * (1.0f + 0.134145f * g[i] * g[i]);
            gates[i] = d[i] * u[i] * s * (1.0f + g[i] * (1.0f - s) * slope);
            ups[i] = d[i] * g[i] * s;
        }
        memcpy(dgate + start, gates, count * sizeof(float));
        memcpy(dup + start, ups, count * sizeof(float));
    }
}

static void NAME(clamped_swiglu_forward)(
    const float *gate, const float *up, float *y, size_t n, float limit, float slope) {
    for (size_t i = 0; i < n; i++) {
        const float g = gate[i] > limit ? limit : gate[i];
        const float below = up[i] > limit ? limit : up[i], u = below < -limit ? -limit : below;
        y[i] = g / (1.0f + NAME(exp)(-slope * g)) * (u + 1.0f);
    }
}

// Through a block of its own, as in swiglu_backward.
static void NAME(clamped_swiglu_backward)(
    const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n, float limit, float slope) {
    enum { block_size = 256 };
    float gates[block_size], ups[block_size];
    for (size_t start = 0; start < n; start += block_size) {
        const size_t count = n - start < block_size ? n - start : block_size;
        const float *d = dy + start, *g = gate + start, *u = up + start;
        for (size_t i = 0; i < count; i++) {
            const float x = g[i] > limit ? limit : g[i], s = 1.0f / (1.0f + NAME(exp)(-slope * x));
            const float below = u[i] > limit ? limit : u[i], v = below < -limit ? -limit : below;
            const float slope_of_gate = s * (1.0f + slope * x * (1.0f - s));
            gates[i] = g[i] > limit ? 0.0f : d[i] * (v + 1.0f) * slope_of_gate;
            ups[i] = u[i] > limit || u[i] < -limit ? 0.0f : d[i] * x * s;
        }
        memcpy(dgate + start, gates, count * sizeof(float));
        memcpy(dup + start, ups, count * sizeof(float));
    }
}

static void NAME(sigmoid_gate_forward)(const float *x, const float *gate, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = x[i] / (1.0f + NAME(exp)(-gate[i]));
}

// Through a block of its own, as in swiglu_backward.
static void NAME(sigmoid_gate_backward)(
    const float *dy, const float *x, const float *gate, float *dx, float *dgate, size_t n) {
    enum { block_size = 256 };
    float values[block_size], gates[block_size];
    for (size_t start = 0; start < n; start += block_size) {
        const size_t count = n - start < block_size ? n - start : block_size;
        const float *d = dy + start, *v = x + start, *g = gate + start;
        for (size_t i = 0; i < count; i++) {
            const float s = 1.0f / (1.0f + NAME(exp)(-g[i]));
            values[i] = d[i] * s;
            gates[i] = d[i] * v[i] * s * (1.0f - s);
        }
        memcpy(dx + start, values, count * sizeof(float));
        memcpy(dgate + start, gates, count * sizeof(float));
    }
}

static void NAME(cap)(float *x, size_t n, float scale, float cap) {
    const float inner = scale / cap;
    for (size_t i = 0; i < n; i++) x[i] = cap * NAME(tanh)(x[i] * inner);
}

static void NAME(cap_backward)(const float *y, float *d, size_t n, float scale, float cap) {
    const float inverse = 1.0f / cap;
    for (size_t i = 0; i < n; i++) {
        const float t = y[i] * inverse;
        d[i] *= scale * (1.0f - t * t);
    }
}

static void NAME(capped_softmax_backward)(
    float *scores, float *dp, size_t n, float scale, float cap, float log_sum_exp, float delta) {
    const float inner = scale / cap;
    for (size_t i = 0; i < n; i++) {
        const float t = NAME(tanh)(scores[i] * inner), p = NAME(exp)(cap * t - log_sum_exp);
        dp[i] = scale * (1.0f - t * t) * p * (dp[i] - delta);
        scores[i] = p;
    }
}

#endif
