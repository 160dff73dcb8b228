// A policy beside a reference and a Q network, over the whole vocabulary.
#ifndef NAME
#define BODY "soft_target.c"
#include "each_instruction_set.inc"

size_t crux_joint_row(
    const float *policy, const float *reference, const float *q, size_t n, float inverse_temperature, double *kl,
    double *expected_q) {
    CHOOSE(joint_row(policy, reference, q, n, inverse_temperature, kl, expected_q))
}

double crux_target_row(
    float *policy, float *reference, const float *q, size_t n, float inverse_temperature, float inverse_beta,
    int32_t token, float bonus, float derivative) {
    CHOOSE(target_row(policy, reference, q, n, inverse_temperature, inverse_beta, token, bonus, derivative))
}

#else

#include "exponential.inc"

// log Σ exp(z · inverse_temperature).
static float NAME(log_sum_exp)(const float *z, size_t n, float inverse_temperature) {
#pragma clang fp reassociate(on)
    const float reference = NAME(maximum)(z, n) * inverse_temperature;
    double total = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float s = 0;
        for (size_t i = start; i < end; i++) {
            const float d = z[i] * inverse_temperature - reference;
            s += NAME(exp)(d < -100.0f ? -100.0f : d);
        }
        total += s;
    }
    return (float)((double)reference + log(total));
}

// Sums over the vocabulary under π = softmax(policy / T): KL(π || softmax(reference / T)), and Σ π Q where q is given.
// A token that the reference excludes, with a log-probability of -inf, counts as -30, so that it costs a finite amount
// (ETPO, arXiv 2402.06700); returns how many such tokens π has any probability of.
static size_t NAME(joint_row)(const float *policy, const float *reference, const float *q, size_t n,
    float inverse_temperature, double *kl, double *expected_q) {
#pragma clang fp reassociate(on)
    const float lse = NAME(log_sum_exp)(policy, n, inverse_temperature),
                reference_lse = NAME(log_sum_exp)(reference, n, inverse_temperature);
    double divergence = 0, mean = 0;
    size_t excluded = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float d = 0, m = 0;
        uint32_t count = 0;
        for (size_t i = start; i < end; i++) {
            const float raw = policy[i] * inverse_temperature - lse, lp = raw < -100.0f ? -100.0f : raw;
            const float other = reference[i] * inverse_temperature - reference_lse,
                        lr = other == -INFINITY ? -30.0f : other;
            const float p = NAME(exp)(lp);
            d += p * (lp - lr);
            m += q ? p * q[i] : 0.0f;
            count += other == -INFINITY && raw > -100.0f;
        }
        divergence += d;
        mean += m;
        excluded += count;
    }
    *kl = fmax(0.0, divergence);
    *expected_q = mean;
    return excluded;
}

// KL(π || π*) with π = softmax(policy / T) and π* ∝ softmax(reference / T) · exp(q · inverse_beta + bonus[token]). With
// a derivative by it that is not 0, `policy` becomes d/d(logits). `reference` is overwritten; what it excludes counts
// as -30 here too.
static double NAME(target_row)(float *policy, float *reference, const float *q, size_t n, float inverse_temperature,
    float inverse_beta, int32_t token, float bonus, float derivative) {
#pragma clang fp reassociate(on)
    const float lse = NAME(log_sum_exp)(policy, n, inverse_temperature),
                reference_lse = NAME(log_sum_exp)(reference, n, inverse_temperature);
    for (size_t i = 0; i < n; i++) {
        const float other = reference[i] * inverse_temperature - reference_lse;
        reference[i] = (other == -INFINITY ? -30.0f : other) + (q ? q[i] * inverse_beta : 0.0f);
    }
    reference[token] += bonus;
    const float target_lse = NAME(log_sum_exp)(reference, n, 1.0f);
    double divergence = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float d = 0;
        for (size_t i = start; i < end; i++) {
            const float raw = policy[i] * inverse_temperature - lse, lp = raw < -100.0f ? -100.0f : raw;
            d += NAME(exp)(lp) * (lp - (reference[i] - target_lse));
        }
        divergence += d;
    }
    if (derivative == 0.0f) return fmax(0.0, divergence);
    const float scale = derivative * inverse_temperature, mean = (float)divergence;
    for (size_t i = 0; i < n; i++) {
        const float raw = policy[i] * inverse_temperature - lse, lp = raw < -100.0f ? -100.0f : raw;
        policy[i] = scale * NAME(exp)(lp) * (lp - (reference[i] - target_lse) - mean);
    }
    return fmax(0.0, divergence);
}

#endif
