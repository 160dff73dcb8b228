// Which instruction set is used.
#include "instruction_sets.h"

#if defined(__x86_64__)
#include <cpuid.h>

// Processors on which the logit kernel was measured to be faster with its operations ordered by hand: Zen 4 (nine tenths
// of the time of the compiler's order) and Emerald Rapids (six tenths). Intel's are asked for AVX-512 FP16, which came
// with that core, since virtual machines show other models' numbers; later ones are taken to be like it. Elsewhere the
// plain form runs until somebody has measured: crux-bench kernel.
static int gains_by_hand(void) {
    unsigned a, b, c, features = 0;
    if (__builtin_cpu_is("amd")) return __builtin_cpu_is("znver4") != 0;
    return __builtin_cpu_is("intel") && __get_cpuid_count(7, 0, &a, &b, &c, &features) && (features >> 23 & 1);
}

static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl");
}
#endif

crux_instruction_set crux_best_instruction_set(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (has_avx512()) return gains_by_hand() ? CRUX_AVX512_BY_HAND : CRUX_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return CRUX_AVX2;
#endif
    return CRUX_PLAIN;
}

static crux_instruction_set best;

// What this thread was told to use, and one more; 0: nothing. Others go on with the best: their numbers don't change
// under them.
static _Thread_local int told;

void crux_set_instruction_set(crux_instruction_set set) { told = (set > best ? best : set) + 1; }

crux_instruction_set crux_current_instruction_set(void) { return told ? (crux_instruction_set)(told - 1) : best; }

__attribute__((constructor)) static void choose(void) { best = crux_best_instruction_set(); }
