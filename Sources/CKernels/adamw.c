// One AdamW step.
#ifndef NAME
#define BODY "adamw.c"
#include "each_instruction_set.inc"

void crux_adamw(
    float *parameter, const float *gradient, float *exp_avg, float *exp_avg_sq, size_t n,
    const crux_adamw_settings *settings) {
    CHOOSE(adamw(parameter, gradient, exp_avg, exp_avg_sq, n, settings))
}

#else

static void NAME(adamw)(float *parameter, const float *gradient, float *exp_avg, float *exp_avg_sq, size_t n,
    const crux_adamw_settings *s) {
    const crux_adamw_settings c = *s;
    for (size_t i = 0; i < n; i++) {
        const float g = gradient[i] * c.gradient_scale;
        const float m = c.beta1 * exp_avg[i] + c.one_minus_beta1 * g,
                    v = c.beta2 * exp_avg_sq[i] + c.one_minus_beta2 * g * g;
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        // Not sqrtf: that may set errno, and the compiler would go one by one.
        const float root = __builtin_elementwise_sqrt(v);
        parameter[i] = parameter[i] * c.decay - c.step_size * m / (root * c.inverse_bias2_sqrt + c.epsilon);
    }
}

#endif
