/* Places in one piece of memory for what is needed at different times. */
#ifndef QL_PLACEMENT_H
#define QL_PLACEMENT_H

#include <stddef.h>

/* Bytes that are needed from time `begin` to `end`, both included. */
typedef struct ql_resident {
    size_t id, size, begin, end;
    size_t offset; /* found by ql_place */
    size_t trial;  /* the same, of the placement that is tried */
} ql_resident;

/* Gives each resident an offset, so that two that are needed at one time do not overlap; reorders them. Returns the
 * bytes of all. */
size_t ql_place(ql_resident *residents, size_t count);

#endif
