// Which instruction set is used.
#include "instruction_sets.h"

#if defined(__x86_64__)
static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl");
}
#endif

crux_instruction_set crux_best_instruction_set(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    // The order was found on Zen 4, where it takes nine tenths of the time of the compiler's. Other processors begin
    // other operations together: there the plain form runs until somebody has measured.
    if (has_avx512()) return __builtin_cpu_is("znver4") ? CRUX_ZEN4 : CRUX_AVX512;
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
