// The softmax over the vocabulary that a model ends in: what a token's log-probability is, and its derivative.
#ifndef NAME
#define BODY "head.c"
#include "each_instruction_set.inc"

void crux_log_softmax_stats(
    const float *logits, size_t n, float inverse_temperature, int32_t target, float *logprob, float *entropy,
    float *log_sum_exp) {
    CHOOSE(log_softmax_stats(logits, n, inverse_temperature, target, logprob, entropy, log_sum_exp))
}

void crux_head_backward_row(
    float *logits, size_t n, float inverse_temperature, float log_sum_exp, int32_t target, float dlogprob) {
    CHOOSE(head_backward_row(logits, n, inverse_temperature, log_sum_exp, target, dlogprob))
}

void crux_head_backward_row_with_entropy(
    float *logits, size_t n, float inverse_temperature, float log_sum_exp, int32_t target, float dlogprob,
    float entropy, float dentropy) {
    CHOOSE(head_backward_row_with_entropy(
        logits, n, inverse_temperature, log_sum_exp, target, dlogprob, entropy, dentropy))
}

#else

#include "exponential.inc"

static void NAME(log_softmax_stats)(const float *logits, size_t n, float inverse_temperature, int32_t target,
                                    float *logprob, float *entropy, float *log_sum_exp) {
#pragma clang fp reassociate(on)
    const float reference = NAME(maximum)(logits, n) * inverse_temperature;
    double total = 0, weighted = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float s = 0, w = 0;
        for (size_t i = start; i < end; i++) {
            const float raw = logits[i] * inverse_temperature - reference;
            const float d = raw < -100.0f ? -100.0f : raw;
            const float e = NAME(exp)(d);
            s += e;
            w += e * d;
        }
        total += s;
        weighted += w;
    }
    const double log_total = log(total);
    *log_sum_exp = (float)((double)reference + log_total);
    // Both terms from the shifted form: subtracting two numbers of the size of the logits would cost their digits.
    *logprob = (float)((double)logits[target] * inverse_temperature - reference - log_total);
    *entropy = (float)fmax(0.0, log_total - weighted / total);
}

static void NAME(head_backward_row)(
    float *logits, size_t n, float inverse_temperature, float log_sum_exp, int32_t target, float dlogprob) {
    const float factor = dlogprob * inverse_temperature;
    const float kept = logits[target];
    for (size_t i = 0; i < n; i++) logits[i] = -factor * NAME(exp)(logits[i] * inverse_temperature - log_sum_exp);
    // 1 - p through expm1: near p = 1 the plain difference has no digits left.
    logits[target] = -factor * expm1f(kept * inverse_temperature - log_sum_exp);
}

// dH/dz = -p (log p + H) / T beside the log-probability's derivative; a token of probability 0 has none.
static void NAME(head_backward_row_with_entropy)(
    float *logits, size_t n, float inverse_temperature, float log_sum_exp, int32_t target, float dlogprob,
    float entropy, float dentropy) {
    const float factor = dlogprob * inverse_temperature, spread = dentropy * inverse_temperature;
    const float kept = logits[target] * inverse_temperature - log_sum_exp;
    for (size_t i = 0; i < n; i++) {
        const float raw = logits[i] * inverse_temperature - log_sum_exp, lp = raw < -100.0f ? -100.0f : raw;
        logits[i] = -NAME(exp)(lp) * (factor + spread * (lp + entropy));
    }
    const float lp = kept < -100.0f ? -100.0f : kept;
    logits[target] = -factor * expm1f(kept) - spread * expf(lp) * (lp + entropy);
}

#endif
