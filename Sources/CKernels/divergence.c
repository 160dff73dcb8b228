// A policy beside a teacher: how far their distributions are apart, over the whole vocabulary or the likeliest tokens.
#ifndef NAME
#define BODY "divergence.c"
#include "each_instruction_set.inc"

double crux_divergence_row(
    float *policy, float *teacher, size_t n, float inverse_temperature, const crux_divergence *what, int32_t *chosen,
    float derivative) {
    CHOOSE(divergence_row(policy, teacher, n, inverse_temperature, what, chosen, derivative))
}

#else

#include "exponential.inc"

// log Σ exp(z · inverse_temperature).
static float NAME(row_log_sum_exp)(const float *z, size_t n, float inverse_temperature) {
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

// What a class of policy's log-probability s and teacher's t adds, and its derivative by s.
static inline float NAME(class_term)(float s, float t, const crux_divergence *what, float *slope) {
    const float p = NAME(exp)(s < -100.0f ? -100.0f : s), q = NAME(exp)(t < -100.0f ? -100.0f : t);
    const float share = what->share, apart = s - t;
    switch (what->kind) {
    case CRUX_FORWARD_REVERSE:
        *slope = (1 - share) * p * (apart + 1) - share * q;
        return (1 - share) * p * apart - share * q * apart;
    case CRUX_JENSEN_SHANNON: break;
    }
    const float m = logf((1 - share) * p + share * q + 1e-37f);
    *slope = (1 - share) * p * (s - m);
    return share * q * (t - m) + (1 - share) * p * (s - m);
}

// Places of the k largest, the earlier of equal ones: a heap whose first is the smallest taken.
static void NAME(sink)(const float *z, int32_t *heap, size_t count, size_t place) {
    for (;;) {
        size_t least = place;
        for (size_t child = 2 * place + 1; child < 2 * place + 3 && child < count; child++) {
            const int32_t a = heap[child], b = heap[least];
            if (z[a] < z[b] || (z[a] == z[b] && a > b)) least = child;
        }
        if (least == place) return;
        const int32_t moved = heap[place];
        heap[place] = heap[least];
        heap[least] = moved;
        place = least;
    }
}

static void NAME(choose)(const float *z, size_t n, size_t k, int32_t *heap) {
    for (size_t i = 0; i < k; i++) heap[i] = (int32_t)i;
    for (size_t i = k / 2; i-- > 0;) NAME(sink)(z, heap, k, i);
    for (size_t i = k; i < n; i++) {
        if (!(z[i] > z[heap[0]])) continue;
        heap[0] = (int32_t)i;
        NAME(sink)(z, heap, k, 0);
    }
}

// Over all tokens. `policy` and `teacher` are log-probabilities.
static double NAME(whole)(float *policy, const float *teacher, size_t n, const crux_divergence *what, float scale) {
    double divergence = 0, slopes = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float d = 0, a = 0;
        for (size_t i = start; i < end; i++) {
            float slope;
            d += NAME(class_term)(policy[i], teacher[i], what, &slope);
            a += slope;
        }
        divergence += d;
        slopes += a;
    }
    if (scale == 0.0f) return divergence;
    const float sum = (float)slopes;
    for (size_t i = 0; i < n; i++) {
        float slope;
        const float lp = policy[i];
        NAME(class_term)(lp, teacher[i], what, &slope);
        policy[i] = scale * (slope - NAME(exp)(lp < -100.0f ? -100.0f : lp) * sum);
    }
    return divergence;
}

// log(1 - Σ) of what the chosen leave, the sum's logarithm kept below -1e-7.
static float NAME(rest)(double mass) {
    const double most = exp(-1e-7);
    return (float)log1p(-(mass < most ? mass : most));
}

static double NAME(likeliest)(float *policy, float *teacher, size_t n, const crux_divergence *what,
    const int32_t *chosen, float scale) {
    const size_t k = what->chosen < n ? what->chosen : n;
    double policy_mass = 0, teacher_mass = 0;
    for (size_t i = 0; i < k; i++) {
        policy_mass += exp(policy[chosen[i]]);
        teacher_mass += exp(teacher[chosen[i]]);
    }
    const int renormalized = what->rest == CRUX_REST_RENORMALIZED, bucket = what->rest == CRUX_REST_BUCKET && k < n;
    const float policy_shift = renormalized ? (float)log(policy_mass) : 0,
                teacher_shift = renormalized ? (float)log(teacher_mass) : 0;
    const float policy_rest = NAME(rest)(policy_mass), teacher_rest = NAME(rest)(teacher_mass);
    double divergence = 0, slopes = 0;
    float slope, rest_slope = 0;
    for (size_t i = 0; i < k; i++) {
        divergence += NAME(class_term)(
            policy[chosen[i]] - policy_shift, teacher[chosen[i]] - teacher_shift, what, &slope);
        slopes += slope;
    }
    if (bucket) {
        divergence += NAME(class_term)(policy_rest, teacher_rest, what, &rest_slope);
        slopes += rest_slope;
    }
    // verl's forward sum over a part is raised to 0, and flat there.
    const int raised = what->rest == CRUX_REST_DROPPED && what->share == 1 && what->kind == CRUX_FORWARD_REVERSE
        && divergence < 0;
    if (scale == 0.0f) return raised ? 0 : divergence;
    if (raised) {
        for (size_t i = 0; i < n; i++) policy[i] = 0;
        return 0;
    }
    // Tokens outside share the rest's slope by their part of it, and all lose their part of the sum.
    const float sum = (float)slopes, outside = bucket ? rest_slope * expf(-policy_rest) : 0;
    for (size_t i = 0; i < k; i++) {
        const float lp = policy[chosen[i]] - policy_shift;
        NAME(class_term)(lp, teacher[chosen[i]] - teacher_shift, what, &slope);
        teacher[chosen[i]] = scale * (slope - expf(lp) * sum);
    }
    for (size_t i = 0; i < n; i++) policy[i] = renormalized ? 0 : scale * NAME(exp)(policy[i]) * (outside - sum);
    for (size_t i = 0; i < k; i++) policy[chosen[i]] = teacher[chosen[i]];
    return divergence;
}

static double NAME(divergence_row)(
    float *policy, float *teacher, size_t n, float inverse_temperature, const crux_divergence *what, int32_t *chosen,
    float derivative) {
    const float lse = NAME(row_log_sum_exp)(policy, n, inverse_temperature),
                teacher_lse = NAME(row_log_sum_exp)(teacher, n, inverse_temperature);
    for (size_t i = 0; i < n; i++) {
        const float lp = policy[i] * inverse_temperature - lse, other = teacher[i] * inverse_temperature - teacher_lse;
        policy[i] = lp < -100.0f ? -100.0f : lp;
        teacher[i] = other == -INFINITY ? -30.0f : other < -100.0f ? -100.0f : other;
    }
    const float scale = derivative * inverse_temperature;
    if (what->support == CRUX_SUPPORT_ALL) return NAME(whole)(policy, teacher, n, what, scale);
    const size_t k = what->chosen < n ? what->chosen : n;
    NAME(choose)(what->support == CRUX_SUPPORT_TEACHER ? teacher : policy, n, k, chosen);
    return NAME(likeliest)(policy, teacher, n, what, chosen, scale);
}

#endif
