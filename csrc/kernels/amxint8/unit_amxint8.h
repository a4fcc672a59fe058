/* When the unit that multiplies tiles is worth its waking up. */
#ifndef QL_UNIT_AMXINT8_H
#define QL_UNIT_AMXINT8_H

#include <stdbool.h>
#include <stdint.h>

/* Tells whether so many multiply-adds are best done by tiles, now, on this thread. */
bool ql_unit_is_worth__amxint8(uint64_t macs);

/* Notes that this thread has multiplied tiles until now. */
void ql_unit_note_use__amxint8(void);

#endif
