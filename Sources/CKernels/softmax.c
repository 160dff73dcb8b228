// Softmax of a row of attention scores, forward and backward.
#ifndef NAME
#define BODY "softmax.c"
#include "each_instruction_set.inc"

float crux_softmax_row(float *scores, size_t n, float scale) { CHOOSE(softmax_row(scores, n, scale)) }

void crux_softmax_row_from_lse(float *scores, size_t n, float scale, float log_sum_exp) {
    CHOOSE(softmax_row_from_lse(scores, n, scale, log_sum_exp))
}

void crux_softmax_row_backward(const float *p, float *dp, size_t n, float scale, float delta) {
    CHOOSE(softmax_row_backward(p, dp, n, scale, delta))
}

#else

#include "exponential.inc"

static float NAME(softmax_row)(float *scores, size_t n, float scale) {
#pragma clang fp reassociate(on)
    const float reference = NAME(maximum)(scores, n) * scale;
    double total = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float s = 0;
        for (size_t i = start; i < end; i++) {
            const float e = NAME(exp)(scores[i] * scale - reference);
            scores[i] = e;
            s += e;
        }
        total += s;
    }
    const float inverse = (float)(1.0 / total);
    for (size_t i = 0; i < n; i++) scores[i] *= inverse;
    return (float)((double)reference + log(total));
}

static void NAME(softmax_row_from_lse)(float *scores, size_t n, float scale, float log_sum_exp) {
    for (size_t i = 0; i < n; i++) scores[i] = NAME(exp)(scores[i] * scale - log_sum_exp);
}

static void NAME(softmax_row_backward)(const float *p, float *dp, size_t n, float scale, float delta) {
    for (size_t i = 0; i < n; i++) dp[i] = scale * p[i] * (dp[i] - delta);
}

#endif
