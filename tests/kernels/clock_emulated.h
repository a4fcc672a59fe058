/* The time stamp that emulated tiles fall asleep by. It stands still, so that they serve every product, until a test
 * lets it leap. */
#ifndef QL_CLOCK_EMULATED_H
#define QL_CLOCK_EMULATED_H

#include <stdint.h>

uint64_t ql_emulated_clock(void);

/* Lets the clock leap at each n-th reading from now on, by more than tiles stay awake; n = 0: it stands still at 0.
 * Returns how often it was read since the last call. */
__attribute__((visibility("default"))) uint64_t ql_emulated_leaps(uint64_t n);

#endif
