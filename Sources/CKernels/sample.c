// Choosing a token of a row of logits.
#ifndef NAME
#define BODY "sample.c"
#include "each_instruction_set.inc"

int32_t crux_sample_row(const float *logits, size_t n, float inverse_temperature, float log_sum_exp, double u) {
    CHOOSE(sample_row(logits, n, inverse_temperature, log_sum_exp, u))
}

int32_t crux_argmax(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

#else

#include "exponential.inc"

// Sums of 1,024 probabilities at a time until one would pass u; then token by token within it.
static int32_t NAME(sample_row)(const float *logits, size_t n, float inverse_temperature, float log_sum_exp, double u) {
#pragma clang fp reassociate(on)
    double below = 0;
    int32_t last = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float mass = 0;
        for (size_t i = start; i < end; i++) mass += NAME(exp)(logits[i] * inverse_temperature - log_sum_exp);
        if (below + mass <= u && end < n) {
            below += mass;
            continue;
        }
        double sum = below;
        for (size_t i = start; i < end; i++) {
            const float p = NAME(exp)(logits[i] * inverse_temperature - log_sum_exp);
            if (p > 0) last = (int32_t)i;
            sum += p;
            if (sum > u) return (int32_t)i;
        }
        break;     // rounding left u above this block's sum
    }
    return last;
}

#endif
