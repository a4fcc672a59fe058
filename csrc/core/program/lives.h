/* When the buffers of a part of a plan hold values, and which of them share a place. */
#ifndef QL_LIVES_H
#define QL_LIVES_H

#include "core/program/plan.h"

/* A life begins at 0 where the buffer is given, at i + 1 where the i-th of the steps writes it, and ends at i + 1 where
 * that step is the last to read it. */
typedef struct ql_life {
    size_t begin, end; /* begin QL_NONE: it never lives */
    size_t place;      /* the first buffer that lies where this one does, perhaps itself */
} ql_life;

/* What lies in one place, by the number of its first buffer. */
typedef struct ql_place_life {
    size_t begin, end, count; /* of buffers, one at a time, or of the same bytes */
    size_t keeper;            /* the buffer in whose memory, the caller's, all of them lie; or QL_NONE */
} ql_place_life;

/* Fills lives [buffers]. Returns false where *at_fault is a buffer that the part may not give, read, write or want. */
bool ql_find_lives(const ql_plan *plan, const ql_part *part, ql_life *lives, size_t *at_fault);

/* Puts the output of steps that allow it where their input lies: lives' places and places [buffers]. */
void ql_share_places(const ql_plan *plan, const ql_part *part, ql_life *lives, ql_place_life *places);

#endif
