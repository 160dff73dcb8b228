// Slow and obvious: one element at a time, in double. What the fast kernels are checked against, and the few conversions
// that no hot loop needs.
#include "ckernels.h"
#include <math.h>
#include <string.h>

static double element(const void *row, crux_dtype dtype, size_t i) {
    float value = 0;
    if (dtype == CRUX_F32) return ((const float *)row)[i];
    if (dtype == CRUX_BF16) crux_bf16_to_f32((const uint16_t *)row + i, &value, 1);
    else crux_f16_to_f32((const uint16_t *)row + i, &value, 1);
    return value;
}

void crux_logit_row_reference(const void *row, crux_dtype dtype, size_t n, float inverse_temperature, int32_t sampled, crux_row_stats *out) {
    *out = (crux_row_stats){NAN, NAN, NAN, NAN, NAN, NAN, CRUX_ROW_OK};
    double maximum = -INFINITY;
    int positive = 0;
    for (size_t i = 0; i < n; i++) {
        const double z = element(row, dtype, i);
        if (isnan(z)) { out->status = CRUX_ROW_NAN; return; }
        positive |= z == INFINITY;
        if (z * inverse_temperature > maximum) maximum = z * inverse_temperature;
    }
    if (positive) { out->status = CRUX_ROW_POSITIVE_INFINITY; return; }
    if (maximum == -INFINITY) { out->status = CRUX_ROW_EMPTY; return; }
    double total = 0, entropy = 0, magnitude = 0, noise = 0;
    for (size_t i = 0; i < n; i++) total += exp(element(row, dtype, i) * inverse_temperature - maximum);
    const double lse = maximum + log(total);
    for (size_t i = 0; i < n; i++) {
        const double z = element(row, dtype, i) * inverse_temperature, p = exp(z - lse);
        if (p == 0) continue;
        entropy -= p * (z - lse);
        magnitude += p * fabs(z);
        noise -= p * fabs(z) * (z - lse);
    }
    const double u = dtype == CRUX_BF16 ? 0x1p-8 : dtype == CRUX_F16 ? 0x1p-11 : 0x1p-24;
    const double z = element(row, dtype, (size_t)sampled) * inverse_temperature;
    out->maximum = maximum;
    out->log_sum_exp = lse;
    out->entropy = entropy;
    out->logprob = z - lse;
    out->entropy_noise = u * (noise + magnitude * entropy);
    out->logprob_noise = u * ((isinf(z) ? 0.0 : fabs(z)) + magnitude);
}

void crux_f32_to_f16(const float *x, uint16_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t b;
        memcpy(&b, x + i, 4);
        const uint16_t sign = (uint16_t)(b >> 16 & 0x8000u);
        const uint32_t magnitude = b & 0x7fffffffu;
        if (magnitude > 0x7f800000u) { y[i] = (uint16_t)(sign | 0x7e00u); continue; }
        if (magnitude >= 0x477ff000u) { y[i] = (uint16_t)(sign | 0x7c00u); continue; }         // rounds beyond 65,504
        if (magnitude < 0x38800000u) {                                                          // subnormal: a multiple of 2^-24
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
