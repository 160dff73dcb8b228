// Matrix products of bf16 factors with float32 sums, by oneDNN's shared library, which is looked for when it is wanted:
// nothing is linked, so executables run, and are built, where it isn't installed.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// c [m, n] = a [m, k] . b [k, n], or c += that. Steps are elements from one row to the next, and from one column to the
// next; one of a factor's two is 1. Columns of c lie side by side.
typedef struct {
    int64_t m, n, k;
    int64_t a_row_step, a_column_step;
    int64_t b_row_step, b_column_step;
    int64_t c_row_step;
    int64_t adds;
} crux_half_product;

typedef enum {
    CRUX_ONEDNN_READY = 0,
    CRUX_ONEDNN_MISSING = 1,        // no libdnnl.so.2 or libdnnl.so.3
    CRUX_ONEDNN_OTHER_FORM = 2,     // a version or a form of threading that isn't known here
    CRUX_ONEDNN_WRONG = 3           // it doesn't compute a small product as it should
} crux_onednn_status;

// Loads the library, once in a process. `version` gets its number as major * 10000 + minor * 100 + patch, if any.
crux_onednn_status crux_onednn_load(int *version);

// On the calling thread alone; from several threads at once. The bytes depend on the arguments alone. Returns 0, or
// oneDNN's status where memory runs out. Only after crux_onednn_load was ready.
int crux_half_multiply(const crux_half_product *product, const uint16_t *a, const uint16_t *b, float *c);

#ifdef __cplusplus
}
#endif
