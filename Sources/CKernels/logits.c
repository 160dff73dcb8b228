// Everything that one row of logits says, in one pass over memory.
//
// With z the logits, T the temperature, m the largest, t = (z - m) / T <= 0 and e = exp(t), let
//
//     S = sum e      W = sum e t      Q = sum e^2      A = sum e |z / T|      B = sum e |z / T| t
//
// Then p = e / S and log p = t - log S, and so
//
//     log-sum-exp      m / T + log S
//     entropy          -sum p log p = log S - W / S
//     log-probability  t_sampled - log S
//     sum of p^2       Q / S^2
//     noise            of the entropy u (A / S (log S + H) - B / S), of the log-probability u (|z_sampled / T| + A / S)
//
// A new largest logit m' moves sums by d = (m - m') / T: S' = e^d S, W' = e^d (W + d S), and A, B alike.
#include "instruction_sets.h"

// Sums over a row, with t = (z - the largest) / T in units of ln 2 and e = 2^t: of e, of e t, of e |z / T| (in units of
// ln 2 as well), of e |z / T| t, and of e^2.
enum { CRUX_S, CRUX_W, CRUX_A, CRUX_B, CRUX_Q, CRUX_MOMENTS };

typedef struct {
    double sums[CRUX_MOMENTS];
    float maximum;      // of z
} crux_moments;

enum { CRUX_SAW_NAN = 1, CRUX_SAW_POSITIVE_INFINITY = 2, CRUX_SAW_FINITE = 4 };

static inline float crux_widen_bf16(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline float crux_widen(crux_dtype type, uint16_t half) {
    if (type == CRUX_BF16) return crux_widen_bf16(half);
    float value;
    crux_f16_to_f32(&half, &value, 1);
    return value;
}

// One element, for where no vector of them is at hand.
static inline float crux_logit(const crux_logits *row, size_t i) {
    if (row->dtype == CRUX_F32) return ((const float *)row->values)[i];
    const uint16_t half = row->low == NULL ? ((const uint16_t *)row->values)[i]
                                           : (uint16_t)(((const uint8_t *)row->values)[i] << 8 | row->low[i]);
    return crux_widen(row->dtype, half);
}

static crux_row_status crux_status(unsigned seen) {
    return seen & CRUX_SAW_NAN                 ? CRUX_ROW_NAN
           : seen & CRUX_SAW_POSITIVE_INFINITY ? CRUX_ROW_POSITIVE_INFINITY
           : seen & CRUX_SAW_FINITE            ? CRUX_ROW_OK
                                               : CRUX_ROW_EMPTY;
}

// The smallest of the k best so far; a later element has to be above it.
static float crux_top_k_threshold(const crux_top_k *top) {
    return top->count < top->k ? -INFINITY : top->logprobs[top->k - 1];
}

// Keeps the k largest in falling order, of equal ones the first. Elements must come in the row's order.
static void crux_top_k_offer(crux_top_k *top, float value, size_t id) {
    if (!(value > crux_top_k_threshold(top))) return;
    size_t place = top->count < top->k ? top->count++ : top->k - 1;
    for (; place > 0 && top->logprobs[place - 1] < value; place--) {
        top->logprobs[place] = top->logprobs[place - 1];
        top->ids[place] = top->ids[place - 1];
    }
    top->logprobs[place] = value;
    top->ids[place] = (int32_t)id;
}

#define BODY "logits_body.inc"
#include "each_instruction_set.inc"

static crux_row_status moments(
    const crux_logits *row, float scale, unsigned wanted, crux_top_k *top, crux_moments *out) {
    CHOOSE(moments(row, scale, wanted, top, out))
}

static unsigned scan(const crux_logits *row) { CHOOSE(scan(row, 0, row->n)) }

crux_row_status crux_scan_logits(const crux_logits *row) { return crux_status(scan(row)); }

static double roundoff(crux_dtype dtype) { return dtype == CRUX_BF16 ? 0x1p-8 : dtype == CRUX_F16 ? 0x1p-11 : 0x1p-24; }

// What the sums say, from units of ln 2 to nats. Differences to the largest logit are taken before anything is
// multiplied by the temperature: of two numbers of the size of the logits the digits would be lost.
static void finish(const crux_logits *row, const crux_moments *moments, float inverse_temperature, int32_t sampled,
    crux_row_stats *out) {
    const double *sums = moments->sums, s = sums[CRUX_S], log_s = log(s), magnitude = sums[CRUX_A] / s * M_LN2;
    const double z = crux_logit(row, (size_t)sampled), maximum = moments->maximum, u = roundoff(row->dtype);
    out->status = CRUX_ROW_OK;
    out->maximum = maximum * inverse_temperature;
    out->log_sum_exp = out->maximum + log_s;
    out->entropy = fmin(fmax(log_s - sums[CRUX_W] / s * M_LN2, 0.0), log((double)row->n));
    out->logprob = (z - maximum) * inverse_temperature - log_s;
    out->sum_p_squared = sums[CRUX_Q] / (s * s);
    // |log p| = log s - t ln 2.
    out->entropy_noise = u * (magnitude * (log_s + out->entropy) - sums[CRUX_B] / s * M_LN2 * M_LN2);
    out->logprob_noise = u * ((isinf(z) ? 0.0 : fabs(z * inverse_temperature)) + magnitude);
}

static void name_top_k(crux_top_k *top, double inverse_temperature, const crux_row_stats *stats) {
    for (size_t j = 0; j < top->count; j++)
        top->logprobs[j] = (float)(top->logprobs[j] * inverse_temperature - stats->log_sum_exp);
}

void crux_logit_row(const crux_logits *row, float inverse_temperature, int32_t sampled, unsigned wanted,
    crux_top_k *top, crux_row_stats *out) {
    const float scale = (float)((double)inverse_temperature * M_LOG2E);
    crux_moments sums;
    if (top != NULL) top->count = 0;
    crux_row_status status = moments(row, scale, wanted, top, &sums);
    // A NaN shows in the sums. So do logits too large for float32 once they are multiplied: those the slow kernel can
    // do.
    if (status == CRUX_ROW_OK && !isfinite(sums.sums[CRUX_W] + sums.sums[CRUX_B])) {
        status = crux_scan_logits(row);
        if (status == CRUX_ROW_OK) { crux_logit_row_reference(row, inverse_temperature, sampled, top, out); return; }
    }
    if (status != CRUX_ROW_OK) {
        *out = (crux_row_stats){NAN, NAN, NAN, NAN, NAN, NAN, NAN, status};
        return;
    }
    finish(row, &sums, inverse_temperature, sampled, out);
    if (top != NULL) name_top_k(top, inverse_temperature, out);
}
