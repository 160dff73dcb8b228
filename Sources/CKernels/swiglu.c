// silu(gate) * up, forward and backward.
#ifndef NAME
#define BODY "swiglu.c"
#include "each_instruction_set.inc"

void crux_swiglu_forward(const float *gate, const float *up, float *y, size_t n) {
    CHOOSE(swiglu_forward(gate, up, y, n))
}

void crux_swiglu_backward(
    const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n) {
    CHOOSE(swiglu_backward(dy, gate, up, dgate, dup, n))
}

#else

#include "exponential.inc"

static void NAME(swiglu_forward)(const float *gate, const float *up, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + NAME(exp)(-gate[i])) * up[i];
}

// Through a block of its own: where the results take the inputs' place, the compiler could not vectorise the loop over
// memory.
static void NAME(swiglu_backward)(
    const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n) {
    enum { block_size = 256 };
    float gates[block_size], ups[block_size];
    for (size_t start = 0; start < n; start += block_size) {
        const size_t count = n - start < block_size ? n - start : block_size;
        const float *d = dy + start, *g = gate + start, *u = up + start;
        for (size_t i = 0; i < count; i++) {
            const float sigmoid = 1.0f / (1.0f + NAME(exp)(-g[i])), scaled = d[i] * sigmoid;
            gates[i] = scaled * u[i] * (1.0f + g[i] * (1.0f - sigmoid));
            ups[i] = scaled * g[i];
        }
        memcpy(dgate + start, gates, count * sizeof(float));
        memcpy(dup + start, ups, count * sizeof(float));
    }
}

#endif
