// Compiles kernels_body.inc for each instruction set and hands calls to the widest one that this processor has.
#include "ckernels.h"
#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef struct {
    void (*bf16_to_f32)(const uint16_t *, float *, size_t);
    void (*f16_to_f32)(const uint16_t *, float *, size_t);
    void (*f32_to_bf16)(const float *, uint16_t *, size_t);
    void (*split_bytes)(const void *, uint8_t *, uint8_t *, size_t);
    float (*rmsnorm_forward)(const float *, const float *, float *, size_t, float);
    void (*rmsnorm_backward)(const float *, const float *, const float *, float, float *, float *, size_t);
    void (*swiglu_forward)(const float *, const float *, float *, size_t);
    void (*swiglu_backward)(const float *, const float *, const float *, float *, float *, size_t);
    float (*softmax_row)(float *, size_t, float);
    void (*softmax_row_from_lse)(float *, size_t, float, float);
    void (*softmax_row_backward)(const float *, float *, size_t, float, float);
    float (*dot)(const float *, const float *, size_t);
    void (*add)(float *, const float *, size_t);
    double (*squared_norm)(const float *, size_t);
    void (*log_softmax_stats)(const float *, size_t, float, int32_t, float *, float *, float *);
    int32_t (*sample_row)(const float *, size_t, float, float, double);
    void (*head_backward_row)(float *, size_t, float, float, int32_t, float);
    void (*adamw)(float *, const float *, float *, float *, size_t, const crux_adamw_settings *);
    size_t (*joint_row)(const float *, const float *, const float *, size_t, float, double *, double *);
    double (*target_row)(float *, float *, const float *, size_t, float, float, int32_t, float, float);
} crux_kernels;

static inline uint32_t crux_float_to_bits(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static inline float crux_bits_to_float(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }

// Plain: whatever the compiler's base instruction set is (SSE2 on x86-64, NEON on arm64).
#define NAME(x) plain_##x
#include "kernels_body.inc"
#undef NAME

#if defined(__x86_64__)
#define F16C
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2"))), apply_to = function)
#define NAME(x) avx2_##x
#include "kernels_body.inc"
#undef NAME
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi,bmi2"))), apply_to = function)
#define NAME(x) avx512_##x
#include "kernels_body.inc"
#undef NAME
#pragma clang attribute pop
#endif

static const crux_kernels *kernels_of(crux_instruction_set set) {
#if defined(__x86_64__)
    if (set == CRUX_AVX512) return &avx512_kernels;
    if (set == CRUX_AVX2) return &avx2_kernels;
#endif
    (void)set;
    return &plain_kernels;
}

crux_instruction_set crux_best_instruction_set(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl")) return CRUX_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return CRUX_AVX2;
#endif
    return CRUX_PLAIN;
}

static const crux_kernels *chosen;
static crux_instruction_set chosen_set;

__attribute__((constructor)) static void choose(void) { crux_set_instruction_set(crux_best_instruction_set()); }

void crux_set_instruction_set(crux_instruction_set set) {
    const crux_instruction_set best = crux_best_instruction_set();
    chosen_set = set > best ? best : set;
    chosen = kernels_of(chosen_set);
}

crux_instruction_set crux_current_instruction_set(void) { return chosen_set; }

void crux_bf16_to_f32(const uint16_t *x, float *y, size_t n) { chosen->bf16_to_f32(x, y, n); }
void crux_f16_to_f32(const uint16_t *x, float *y, size_t n) { chosen->f16_to_f32(x, y, n); }
void crux_f32_to_bf16(const float *x, uint16_t *y, size_t n) { chosen->f32_to_bf16(x, y, n); }
void crux_split_bytes(const void *x, uint8_t *high, uint8_t *low, size_t n) { chosen->split_bytes(x, high, low, n); }
float crux_rmsnorm_forward(const float *x, const float *weight, float *y, size_t n, float epsilon) {
    return chosen->rmsnorm_forward(x, weight, y, n, epsilon);
}
void crux_rmsnorm_backward(const float *dy, const float *x, const float *weight, float rstd, float *dx, float *dweight, size_t n) {
    chosen->rmsnorm_backward(dy, x, weight, rstd, dx, dweight, n);
}
void crux_swiglu_forward(const float *gate, const float *up, float *y, size_t n) { chosen->swiglu_forward(gate, up, y, n); }
void crux_swiglu_backward(const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n) {
    chosen->swiglu_backward(dy, gate, up, dgate, dup, n);
}
float crux_softmax_row(float *scores, size_t n, float scale) { return chosen->softmax_row(scores, n, scale); }
void crux_softmax_row_from_lse(float *scores, size_t n, float scale, float lse) { chosen->softmax_row_from_lse(scores, n, scale, lse); }
void crux_softmax_row_backward(const float *p, float *dp, size_t n, float scale, float delta) { chosen->softmax_row_backward(p, dp, n, scale, delta); }
float crux_dot(const float *a, const float *b, size_t n) { return chosen->dot(a, b, n); }
void crux_add(float *y, const float *x, size_t n) { chosen->add(y, x, n); }
double crux_squared_norm(const float *x, size_t n) { return chosen->squared_norm(x, n); }
size_t crux_joint_row(const float *policy, const float *reference, const float *q, size_t n, float inverse_temperature, double *kl,
                      double *expected_q) {
    return chosen->joint_row(policy, reference, q, n, inverse_temperature, kl, expected_q);
}
double crux_target_row(float *policy, float *reference, const float *q, size_t n, float inverse_temperature, float inverse_beta, int32_t token,
                       float bonus, float derivative) {
    return chosen->target_row(policy, reference, q, n, inverse_temperature, inverse_beta, token, bonus, derivative);
}
void crux_log_softmax_stats(const float *logits, size_t n, float inverse_temperature, int32_t target, float *logprob, float *entropy, float *lse) {
    chosen->log_softmax_stats(logits, n, inverse_temperature, target, logprob, entropy, lse);
}
int32_t crux_sample_row(const float *logits, size_t n, float inverse_temperature, float lse, double u) {
    return chosen->sample_row(logits, n, inverse_temperature, lse, u);
}
void crux_head_backward_row(float *logits, size_t n, float inverse_temperature, float lse, int32_t target, float dlogprob) {
    chosen->head_backward_row(logits, n, inverse_temperature, lse, target, dlogprob);
}
void crux_adamw(float *parameter, const float *gradient, float *exp_avg, float *exp_avg_sq, size_t n, const crux_adamw_settings *settings) {
    chosen->adamw(parameter, gradient, exp_avg, exp_avg_sq, n, settings);
}
