// Hands a call to the form of a function for the instruction set in use: avx512_NAME, avx2_NAME or plain_NAME. It ends
// the caller.
#include "ckernels.h"

#if defined(__x86_64__)
#define CHOOSE(call) \
    switch (crux_current_instruction_set()) { \
    case CRUX_AVX512: return avx512_##call; \
    case CRUX_AVX2: return avx2_##call; \
    default: return plain_##call; \
    }
#else
#define CHOOSE(call) return plain_##call;
#endif
