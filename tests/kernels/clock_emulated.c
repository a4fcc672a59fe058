#ifdef QL_EMULATE_AMX
#include "clock_emulated.h"

#include <stdatomic.h>

enum { LEAP = 1000000 };

static _Atomic uint64_t interval, readings, now;

uint64_t ql_emulated_clock(void)
{
    const uint64_t reading = atomic_fetch_add(&readings, 1) + 1, every = atomic_load(&interval);
    return every && reading % every == 0 ? atomic_fetch_add(&now, LEAP) + LEAP : atomic_load(&now);
}

uint64_t ql_emulated_leaps(uint64_t every)
{
    if (every == 0)
        atomic_store(&now, 0);
    atomic_store(&interval, every);
    return atomic_exchange(&readings, 0);
}
#else
typedef int nothing; /* a source has to hold something */
#endif
