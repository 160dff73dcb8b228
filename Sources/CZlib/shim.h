#include <zlib.h>

// deflateInit2 is a macro, which Swift doesn't see.
static inline int crux_begin_gzip(z_stream *stream, int level) {
  const int window_bits_of_gzip = 15 + 16, memory_level = 8;
  return deflateInit2(stream, level, Z_DEFLATED, window_bits_of_gzip, memory_level, Z_DEFAULT_STRATEGY);
}
