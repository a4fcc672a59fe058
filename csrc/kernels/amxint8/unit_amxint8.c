/* The unit falls asleep: 10 to 50 us after its last product the next one takes 2.5 to 5 us longer, and the thread
 * stands still meanwhile. In that time vpdpbusd does MUCH; as long as the unit is awake it is the faster one for all
 * but the smallest products. */
#include "kernels/amxint8/unit_amxint8.h"

#ifdef QL_EMULATE_AMX
#include "clock_emulated.h"
#define TIME_STAMP() ql_emulated_clock()
#else
#define TIME_STAMP() __builtin_ia32_rdtsc()
#endif

enum { MUCH = 3000000, AWAKE_CYCLES = 10000 /* of the time stamp: 3 to 5 us */ };

static _Thread_local uint64_t last_use;

bool ql_unit_is_worth__amxint8(uint64_t macs)
{
    return macs >= MUCH || TIME_STAMP() - last_use < AWAKE_CYCLES;
}

void ql_unit_note_use__amxint8(void)
{
    last_use = TIME_STAMP();
}
