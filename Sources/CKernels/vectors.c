// Sums and products of vectors.
#ifndef NAME
#define BODY "vectors.c"
#include "each_instruction_set.inc"

float crux_dot(const float *a, const float *b, size_t n) { CHOOSE(dot(a, b, n)) }
void crux_add(float *y, const float *x, size_t n) { CHOOSE(add(y, x, n)) }
double crux_squared_norm(const float *x, size_t n) { CHOOSE(squared_norm(x, n)) }

#else

static double NAME(squared_norm)(const float *x, size_t n) {
#pragma clang fp reassociate(on)
    double total = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float s = 0;
        for (size_t i = start; i < end; i++) s += x[i] * x[i];
        total += s;
    }
    return total;
}

static float NAME(dot)(const float *a, const float *b, size_t n) {
#pragma clang fp reassociate(on)
    double total = 0;
    for (size_t start = 0; start < n; start += 1024) {
        const size_t end = start + 1024 < n ? start + 1024 : n;
        float s = 0;
        for (size_t i = start; i < end; i++) s += a[i] * b[i];
        total += s;
    }
    return (float)total;
}

static void NAME(add)(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

#endif
