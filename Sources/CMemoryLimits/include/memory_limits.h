// What this process does where the system gives it no memory or no thread: see refusals.c.
#ifndef CRUX_MEMORY_LIMITS_H
#define CRUX_MEMORY_LIMITS_H

// From here on a refusal is written as one JSON object, as StageLog writes errors, in place of a line for people.
void crux_tell_refusals_as_json(void);

// Bytes of address space that this process may have in all, as `ulimit -v` sets them; LONG_MAX where nobody has.
long crux_address_space_limit(void);

#endif
