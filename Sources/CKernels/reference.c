// Slow and obvious: one element at a time, in double. What the fast kernels are checked against, and the few
// conversions that no hot loop needs.
#include "ckernels.h"
#include <math.h>
#include <string.h>

static float element(const crux_logits *row, size_t i) {
    if (row->dtype == CRUX_F32) return ((const float *)row->values)[i];
    const uint16_t half = row->low == NULL ? ((const uint16_t *)row->values)[i]
                                           : (uint16_t)(((const uint8_t *)row->values)[i] << 8 | row->low[i]);
    float value = 0;
    if (row->dtype == CRUX_BF16) crux_bf16_to_f32(&half, &value, 1);
    else crux_f16_to_f32(&half, &value, 1);
    return value;
}

// The largest element below the last one taken, in the order of value and then of place; n where there is none.
static size_t next_largest(const crux_logits *row, float last, size_t last_id, int first) {
    size_t best = row->n;
    for (size_t i = 0; i < row->n; i++) {
        const float z = element(row, i);
        const int follows = first || z < last || (z == last && i > last_id);
        if (follows && z > -INFINITY && (best == row->n || z > element(row, best))) best = i;
    }
    return best;
}

static void reference_top_k(const crux_logits *row, float inverse_temperature, double log_sum_exp, crux_top_k *top) {
    float last = 0;
    size_t id = 0;
    for (top->count = 0; top->count < top->k; top->count++) {
        id = next_largest(row, last, id, top->count == 0);
        if (id == row->n) return;
        last = element(row, id);
        top->ids[top->count] = (int32_t)id;
        top->logprobs[top->count] = (float)((double)last * inverse_temperature - log_sum_exp);
    }
}

void crux_logit_row_reference(
    const crux_logits *row, float inverse_temperature, int32_t sampled, crux_top_k *top, crux_row_stats *out) {
    *out = (crux_row_stats){NAN, NAN, NAN, NAN, NAN, NAN, NAN, CRUX_ROW_OK};
    double maximum = -INFINITY;
    int positive = 0;
    for (size_t i = 0; i < row->n; i++) {
        const double z = element(row, i);
        if (isnan(z)) { out->status = CRUX_ROW_NAN; return; }
        positive |= z == INFINITY;
        if (z * inverse_temperature > maximum) maximum = z * inverse_temperature;
    }
    if (positive) { out->status = CRUX_ROW_POSITIVE_INFINITY; return; }
    if (maximum == -INFINITY) { out->status = CRUX_ROW_EMPTY; return; }
    double total = 0, entropy = 0, magnitude = 0, noise = 0, squared = 0;
    for (size_t i = 0; i < row->n; i++) total += exp((double)element(row, i) * inverse_temperature - maximum);
    // Differences to the maximum first: of numbers of the size of the logits the last digits would be lost.
    const double log_total = log(total);
    for (size_t i = 0; i < row->n; i++) {
        const double z = (double)element(row, i) * inverse_temperature, log_p = z - maximum - log_total, p = exp(log_p);
        if (p == 0) continue;
        entropy -= p * log_p;
        magnitude += p * fabs(z);
        noise -= p * fabs(z) * log_p;
        squared += p * p;
    }
    const double u = row->dtype == CRUX_BF16 ? 0x1p-8 : row->dtype == CRUX_F16 ? 0x1p-11 : 0x1p-24;
    const double z = (double)element(row, (size_t)sampled) * inverse_temperature;
    out->maximum = maximum;
    out->log_sum_exp = maximum + log_total;
    out->entropy = entropy;
    out->logprob = z - maximum - log_total;
    out->sum_p_squared = squared;
    out->entropy_noise = u * (noise + magnitude * entropy);
    out->logprob_noise = u * ((isinf(z) ? 0.0 : fabs(z)) + magnitude);
    if (top != NULL) reference_top_k(row, inverse_temperature, out->log_sum_exp, top);
}

// The distance between neighbours of a type at z.
static double ulp(crux_dtype dtype, double z) {
    if (z == 0 && dtype != CRUX_F16) return 0;
    const double power = z == 0 ? 0 : exp2(floor(log2(fabs(z))));
    return crux_ulp_share(dtype) * (dtype == CRUX_F16 ? fmax(power, 0x1p-14) : power);
}

crux_row_error crux_logit_row_error_reference(const crux_logits *row, float inverse_temperature, int32_t sampled) {
    crux_row_stats stats;
    crux_logit_row_reference(row, inverse_temperature, sampled, NULL, &stats);
    uint32_t bits = 0;
    for (size_t i = 0; i < row->n; i++) {
        const float z = element(row, i);
        uint32_t b;
        memcpy(&b, &z, 4);
        bits |= b;
    }
    const crux_dtype dtype = crux_narrowest_type(row->dtype, bits);
    double entropy = 0, logprob = 0;
    for (size_t i = 0; i < row->n; i++) {
        const double z = element(row, i);
        if (isinf(z)) continue;
        const double s = ulp(dtype, z) / sqrt(12) * inverse_temperature;
        const double log_p = z * inverse_temperature - stats.log_sum_exp, p = exp(log_p);
        entropy += pow(p * (log_p + stats.entropy) * s, 2);
        logprob += pow(((size_t)sampled == i ? 1 - p : -p) * s, 2);
    }
    return (crux_row_error){sqrt(entropy), sqrt(logprob), dtype};
}

void crux_f32_to_f16(const float *x, uint16_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t b;
        memcpy(&b, x + i, 4);
        const uint16_t sign = (uint16_t)(b >> 16 & 0x8000u);
        const uint32_t magnitude = b & 0x7fffffffu;
        if (magnitude > 0x7f800000u) { y[i] = (uint16_t)(sign | 0x7e00u); continue; }
        if (magnitude >= 0x477ff000u) { y[i] = (uint16_t)(sign | 0x7c00u); continue; }         // rounds beyond 65,504
        if (magnitude < 0x38800000u) {    // subnormal: a multiple of 2^-24
            float v;
            memcpy(&v, &magnitude, 4);
            y[i] = (uint16_t)(sign | (uint16_t)lrintf(v * 16777216.0f));
            continue;
        }
        const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
        y[i] = (uint16_t)(sign | (uint16_t)((rounded - 0x38000000u) >> 13));
    }
}

uint64_t crux_read_bandwidth_probe(const void *bytes, size_t count) {
    const uint64_t *words = (const uint64_t *)bytes;
    uint64_t lanes[8] = {0};
    for (size_t i = 0; i + 8 <= count / 8; i += 8)
        for (int j = 0; j < 8; j++) lanes[j] ^= words[i + j];
    uint64_t sum = 0;
    for (int j = 0; j < 8; j++) sum ^= lanes[j];
    return sum;
}
