// Whether this processor has vectors of bf16 products, and how fast.
#include "instruction_sets.h"
#include <time.h>

#if defined(__x86_64__)
// Asked once: CPUID is a call to the hypervisor in a virtual machine, tens of microseconds.
static int has_half_products;

__attribute__((constructor)) static void find_half_products(void) {
    has_half_products = crux_best_instruction_set() >= CRUX_AVX512 && __builtin_cpu_supports("avx512bf16");
}

int crux_has_half_products(void) { return has_half_products; }

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define SUMS 12
enum { STEPS = 4000 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Seconds of as many instructions as keep both pipes busy, on independent sums.
TARGET static double half_seconds(void) {
    __m512 sums[SUMS];
    const __m512bh x = (__m512bh)_mm512_set1_epi16(0x3c00);
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_setzero_ps();
    const double start = now();
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < SUMS; i++) {
            sums[i] = _mm512_dpbf16_ps(sums[i], x, x);
            __asm__ volatile("" : "+v"(sums[i]));
        }
    return now() - start;
}

TARGET static double single_seconds(void) {
    __m512 sums[SUMS];
    const __m512 x = _mm512_set1_ps(1e-3f);
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_setzero_ps();
    const double start = now();
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < SUMS; i++) {
            sums[i] = _mm512_fmadd_ps(x, x, sums[i]);
            __asm__ volatile("" : "+v"(sums[i]));
        }
    return now() - start;
}

double crux_half_speed(void) {
    if (!crux_has_half_products()) return 0;
    double half = 1, single = 1;
    for (int turn = 0; turn < 5; turn++) {
        const double a = half_seconds(), b = single_seconds();
        if (a < half) half = a;
        if (b < single) single = b;
    }
    // An instruction of the one multiplies twice as many pairs as one of the other.
    return half > 0 ? 2 * single / half : 0;
}

#else

int crux_has_half_products(void) { return 0; }
double crux_half_speed(void) { return 0; }

#endif
