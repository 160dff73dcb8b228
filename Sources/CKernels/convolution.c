// A depthwise causal convolution with silu, and vectors made of unit length: what stands before the delta rule.
#ifndef NAME
#define BODY "convolution.c"
#include "each_instruction_set.inc"

void crux_convolve_silu(const float *const *x, const float *w, size_t w_stride, size_t taps, float *y, size_t n) {
    CHOOSE(convolve_silu(x, w, w_stride, taps, y, n))
}

void crux_convolve_silu_backward(const float *const *x, const float *w, size_t w_stride, size_t taps, const float *dy,
    float *const *dx, float *dw, size_t n) {
    CHOOSE(convolve_silu_backward(x, w, w_stride, taps, dy, dx, dw, n))
}

float crux_unit_forward(const float *x, float *y, size_t n, float epsilon, float scale) {
    CHOOSE(unit_forward(x, y, n, epsilon, scale))
}

void crux_unit_backward(const float *dy, const float *y, float r, float scale, float *dx, size_t n) {
    CHOOSE(unit_backward(dy, y, r, scale, dx, n))
}

#else

#include "exponential.inc"

enum { NAME(convolved_at_once) = 256 };

// sum_j w[j] x[j] of a block's elements from `start` on, taps in their order.
static inline void NAME(convolve)(const float *const *x, const float *w, size_t w_stride, size_t taps, size_t start,
    size_t count, float *sum) {
    for (size_t i = 0; i < count; i++) sum[i] = 0;
    for (size_t j = 0; j < taps; j++) {
        if (!x[j]) continue;
        const float *weights = w + j * w_stride + start, *values = x[j] + start;
        for (size_t i = 0; i < count; i++) sum[i] += weights[i] * values[i];
    }
}

static void NAME(convolve_silu)(
    const float *const *x, const float *w, size_t w_stride, size_t taps, float *y, size_t n) {
    float sum[NAME(convolved_at_once)];
    for (size_t start = 0; start < n; start += NAME(convolved_at_once)) {
        const size_t count = n - start < NAME(convolved_at_once) ? n - start : NAME(convolved_at_once);
        NAME(convolve)(x, w, w_stride, taps, start, count, sum);
        for (size_t i = 0; i < count; i++) y[start + i] = sum[i] / (1.0f + NAME(exp)(-sum[i]));
    }
}

static void NAME(convolve_silu_backward)(const float *const *x, const float *w, size_t w_stride, size_t taps,
    const float *dy, float *const *dx, float *dw, size_t n) {
    float sum[NAME(convolved_at_once)];
    for (size_t start = 0; start < n; start += NAME(convolved_at_once)) {
        const size_t count = n - start < NAME(convolved_at_once) ? n - start : NAME(convolved_at_once);
        NAME(convolve)(x, w, w_stride, taps, start, count, sum);
        for (size_t i = 0; i < count; i++) {
            const float s = 1.0f / (1.0f + NAME(exp)(-sum[i]));
            sum[i] = dy[start + i] * s * (1.0f + sum[i] * (1.0f - s));
        }
        for (size_t j = 0; j < taps; j++) {
            if (!x[j]) continue;
            const float *weights = w + j * w_stride + start, *values = x[j] + start;
            float *dvalues = dx[j] + start, *dweights = dw + j * w_stride + start;
            for (size_t i = 0; i < count; i++) dvalues[i] += weights[i] * sum[i];
            for (size_t i = 0; i < count; i++) dweights[i] += values[i] * sum[i];
        }
    }
}

static float NAME(unit_forward)(const float *x, float *y, size_t n, float epsilon, float scale) {
    const float r = (float)(1.0 / sqrt(crux_squared_norm(x, n) + epsilon)), factor = r * scale;
    for (size_t i = 0; i < n; i++) y[i] = x[i] * factor;
    return r;
}

// With x^ = x r = y / scale: dx = r (scale dy - x^ (y . dy)).
static void NAME(unit_backward)(const float *dy, const float *y, float r, float scale, float *dx, size_t n) {
    const float along = crux_dot(y, dy, n) / scale;
    for (size_t i = 0; i < n; i++) dx[i] = r * (scale * dy[i] - along * y[i]);
}

#endif
