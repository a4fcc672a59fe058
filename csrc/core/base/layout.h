/* Data with parameters over it, cut into runs: one walk along the innermost axis, which a kernel takes in one call.
 * Element i of a run has parameter i / group. */
#ifndef QL_LAYOUT_H
#define QL_LAYOUT_H

#include "qlite.h"

typedef struct ql_run {
    size_t offset, length; /* in elements */
    size_t parameter;      /* of the first element */
    size_t group;
} ql_run;

/* Number of runs, and run i, of data that is not empty. */
size_t ql_run_count(const ql_layout *layout);
ql_run ql_run_at(const ql_layout *layout, size_t i);

/* Returns the piece of a run that begins with element `first`, where another piece ended: at most `limit` elements,
 * which are whole groups or a part of one. */
ql_run ql_run_piece(const ql_run *run, size_t first, size_t limit);

/* Returns n such that runs 0 to n - 1 have the same parameters, and so have n to 2n - 1, ... */
size_t ql_runs_alike(const ql_layout *layout);

#endif
