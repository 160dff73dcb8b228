// Mapped files whose bytes may go away while they are read: another process cuts the file off, or the disk fails. The kernel
// then raises SIGBUS, which would end the process without a word. Here zeros take the place of what is missing, and the
// mapping remembers that they did: whoever reads it asks before he believes what he has read.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crux_mapping crux_mapping;

// Watches over [start, start + length). NULL where there is no memory for it. From any thread.
crux_mapping *crux_mapping_watch(const void *start, uint64_t length);

// Ends that; before the memory is unmapped, when nobody reads it any more.
void crux_mapping_forget(crux_mapping *mapping);

// The first byte, of those that were touched, that could not be read, rounded down to a page; -1 where all could.
int64_t crux_mapping_missing(const crux_mapping *mapping);

#ifdef __cplusplus
}
#endif
