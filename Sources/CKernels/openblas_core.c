// OpenBLAS knows processors by their model numbers. One that is newer than it is, or whose number a virtual machine
// hides, gets the kernels of 2004: Debian 12's 0.3.21 takes those named Prescott (SSE3) on an Emerald Rapids, which are
// a fifth as fast as the AVX-512 ones. Here it chooses once more, by what the processor can do, before anybody
// multiplies. Whoever sets OPENBLAS_CORETYPE himself is left alone.

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ckernels.h"

// Weak: programs that don't multiply have no OpenBLAS, and one that is built for a single processor has no choice.
extern char *openblas_get_corename(void) __attribute__((weak));
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

const char *crux_openblas_core(void) { return openblas_get_corename ? openblas_get_corename() : ""; }

// Cores of OpenBLAS whose kernels use neither AVX2 nor the AMD instructions of its time.
static const char *const old_cores[] = {
    "Katmai",  "Coppermine", "Northwood",    "Prescott",  "Banias", "Atom", "Core2",   "Penryn",      "Dunnington", "Nehalem",
    "Athlon",  "Opteron",    "Opteron_SSE3", "Barcelona", "Bobcat", "Nano", "Generic", "Sandybridge", "Unknown",
};

int crux_openblas_core_is_old(const char *core) {
    for (size_t i = 0; i < sizeof old_cores / sizeof *old_cores; i++)
        if (strcasecmp(core, old_cores[i]) == 0) return 1;
    return 0;
}

// What OpenBLAS calls the kernels for a processor; NULL where it can't have any that are newer.
static const char *core_for(crux_instruction_set set) {
    if (set >= CRUX_AVX512) return "SkylakeX";
    return set >= CRUX_AVX2 ? "Haswell" : NULL;
}

// Constructors of libraries that this one is linked with have run by now.
__attribute__((constructor)) static void choose_again(void) {
#if defined(__x86_64__)
    const char *core = core_for(crux_best_instruction_set());
    if (!core || !gotoblas_dynamic_init || !gotoblas_dynamic_quit) return;
    if (getenv("OPENBLAS_CORETYPE") || !crux_openblas_core_is_old(crux_openblas_core())) return;
    setenv("OPENBLAS_CORETYPE", core, 1);
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
    unsetenv("OPENBLAS_CORETYPE");
#endif
}
