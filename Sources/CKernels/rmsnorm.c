// RMS norm, forward and backward.
#ifndef NAME
#define BODY "rmsnorm.c"
#include "each_instruction_set.inc"

float crux_rmsnorm_forward(const float *x, const float *weight, float *y, size_t n, float epsilon) {
    CHOOSE(rmsnorm_forward(x, weight, y, n, epsilon))
}

void crux_rmsnorm_backward(
    const float *dy, const float *x, const float *weight, float rstd, float *dx, float *dweight, size_t n) {
    CHOOSE(rmsnorm_backward(dy, x, weight, rstd, dx, dweight, n))
}

#else

static float NAME(rmsnorm_forward)(const float *x, const float *weight, float *y, size_t n, float epsilon) {
    const float rstd = (float)(1.0 / sqrt(crux_squared_norm(x, n) / (double)n + epsilon));
    for (size_t i = 0; i < n; i++) y[i] = weight[i] * (x[i] * rstd);
    return rstd;
}

// With x^ = x rstd: dweight += dy x^; dx += rstd (g - x^ mean(g x^)), g = dy weight.
static void NAME(rmsnorm_backward)(
    const float *dy, const float *x, const float *weight, float rstd, float *dx, float *dweight, size_t n) {
#pragma clang fp reassociate(on)
    double total = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float s = 0;
        for (size_t i = start; i < end; i++) s += dy[i] * weight[i] * x[i];
        total += s;
    }
    const float mean = (float)(total * rstd / (double)n);
    for (size_t i = 0; i < n; i++) {
        const float normed = x[i] * rstd;
        dx[i] += rstd * (dy[i] * weight[i] - normed * mean);
        dweight[i] += dy[i] * normed;
    }
}

#endif
