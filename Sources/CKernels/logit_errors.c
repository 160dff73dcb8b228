// What storing a row of logits in few bits can be expected to have moved.
#ifndef NAME
#include "instruction_sets.h"

// What a row's sums are relative to.
typedef struct {
    float center;       // the log-sum-exp, in units of the logits
    float scale;        // from there to octaves: log2(e) / T
    float entropy;
    uint32_t smallest;  // the smallest power of two that an ulp is counted from, as the bits of a float
} crux_error_origin;

enum { CRUX_ERROR_BLOCK = 512 };

#define BODY "logit_errors.c"
#include "each_instruction_set.inc"

static void sum_errors(const float *z, size_t n, const crux_error_origin *origin, double sums[2], uint32_t *bits) {
    CHOOSE(sum_errors(z, n, origin, sums, bits))
}

// Some of the row's elements as float32, filled up with -inf.
static void widen(const crux_logits *row, size_t start, size_t count, float out[CRUX_ERROR_BLOCK]) {
    const uint16_t *halves = (const uint16_t *)row->values + start;
    uint16_t joined[CRUX_ERROR_BLOCK];
    if (row->low != NULL) {
        const uint8_t *high = (const uint8_t *)row->values + start, *low = row->low + start;
        for (size_t i = 0; i < count; i++) joined[i] = (uint16_t)(high[i] << 8 | low[i]);
        halves = joined;
    }
    if (row->dtype == CRUX_F32) memcpy(out, (const float *)row->values + start, count * sizeof(float));
    else if (row->dtype == CRUX_BF16) crux_bf16_to_f32(halves, out, count);
    else crux_f16_to_f32(halves, out, count);
    for (size_t i = count; i < CRUX_ERROR_BLOCK; i++) out[i] = -INFINITY;
}

crux_dtype crux_narrowest_type(crux_dtype stored, uint32_t bits) {
    return (bits & 0xffffu) == 0 ? CRUX_BF16 : stored == CRUX_F32 && (bits & 0x1fffu) == 0 ? CRUX_F16 : stored;
}

double crux_ulp_share(crux_dtype dtype) { return dtype == CRUX_BF16 ? 0x1p-7 : dtype == CRUX_F16 ? 0x1p-10 : 0x1p-23; }

crux_row_error crux_logit_row_error(
    const crux_logits *row, float inverse_temperature, int32_t sampled, const crux_row_stats *stats) {
    const crux_error_origin origin = {
        (float)(stats->log_sum_exp / inverse_temperature), (float)(inverse_temperature * M_LOG2E),
        (float)stats->entropy,
        row->dtype == CRUX_F16 ? 0x38800000u : 0};      // 2^-14: below it float16 has one ulp for all
    float z[CRUX_ERROR_BLOCK], own = 0;
    double sums[2] = {0, 0};
    uint32_t bits = 0;
    for (size_t start = 0; start < row->n; start += CRUX_ERROR_BLOCK) {
        const size_t left = row->n - start, count = left < CRUX_ERROR_BLOCK ? left : CRUX_ERROR_BLOCK;
        widen(row, start, count, z);
        // The sampled token's part of both is taken by itself: in the log-probability it is 1 - p and not p.
        if ((size_t)sampled >= start && (size_t)sampled < start + count) {
            own = z[(size_t)sampled - start];
            uint32_t b;
            memcpy(&b, &own, sizeof b);
            bits |= b;
            z[(size_t)sampled - start] = -INFINITY;
        }
        sum_errors(z, (count + 15) / 16 * 16, &origin, sums, &bits);
    }
    const crux_dtype type = crux_narrowest_type(row->dtype, bits);
    const double factor = crux_ulp_share(type) / sqrt(12) * inverse_temperature, p = exp(stats->logprob);
    double power = isfinite(own) && own != 0 ? exp2(ilogb(own)) : 0;
    if (row->dtype == CRUX_F16 && isfinite(own) && power < 0x1p-14) power = 0x1p-14;
    const double entropy = p > 0 ? p * (stats->logprob + stats->entropy) * power : 0;
    const double logprob = (1 - p) * power;
    return (crux_row_error){
        factor * sqrt(sums[1] + entropy * entropy), factor * sqrt(sums[0] + logprob * logprob), type};
}

#else

typedef float NAME(floats) __attribute__((ext_vector_type(LANES)));
typedef uint32_t NAME(words) __attribute__((ext_vector_type(LANES)));

// Sums over some elements, filled up with -inf to whole vectors, of d^2 and of (d (log p + H))^2, d being p times the
// power of two below |z|; and which bits any of them has.
static void NAME(sum_errors)(
    const float *z, size_t n, const crux_error_origin *origin, double sums[2], uint32_t *bits) {
    const NAME(floats) zero = {0}, center = zero + origin->center, scale = zero + origin->scale;
    const NAME(floats) entropy = zero + origin->entropy, lowest = zero - 40.0f;
    const NAME(floats) magic = zero + 12582912.0f;      // 1.5 * 2^23: adding it rounds to a whole number
    const NAME(words) none = {0}, exponent = none + 0x7f800000u;
    const NAME(words) smallest = none + origin->smallest, largest = none + 0x5d800000u;
    NAME(floats) errors = zero, entropies = zero;
    NAME(words) seen = none;
    for (size_t i = 0; i < n; i += LANES) {
        NAME(floats) v;
        memcpy(&v, z + i, sizeof v);
        seen |= (NAME(words))v;
        NAME(floats) t = (v - center) * scale;
        // What is less likely than 2^-40 moves nothing; -inf is among it, and has no ulp.
        const NAME(words) counts = (NAME(words))(t > lowest);
        t = t > lowest ? t : lowest;
        const NAME(floats) r = t + magic, f = t - (r - magic);
        NAME(floats) p = f * 1.326472731e-3f + 9.671512991e-3f;
        p = p * f + 5.550733581e-2f;
        p = p * f + 2.402224243e-1f;
        p = p * f + 6.931470037e-1f;
        p = p * f + 1.0f;
        p = (NAME(floats))(((NAME(words))p + ((NAME(words))r << 23)) & counts);
        NAME(words) power = (NAME(words))v & exponent;
        power = power > smallest ? power : smallest;
        power = power < largest ? power : largest;
        const NAME(floats) d = p * (NAME(floats))power, w = d * (t * (float)M_LN2 + entropy);
        errors += d * d;
        entropies += w * w;
    }
    for (int j = 0; j < LANES; j++) {
        sums[0] += errors[j];
        sums[1] += entropies[j];
        *bits |= seen[j];
    }
}

#endif
