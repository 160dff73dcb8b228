#include <signal.h>
#include <sys/prctl.h>

// prctl takes any number of arguments, which Swift can't call.
static inline int crux_die_with_parent(void) { return prctl(PR_SET_PDEATHSIG, SIGKILL); }
