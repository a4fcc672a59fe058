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

/* Of data that is not empty. */
size_t ql_run_count(const ql_layout *layout);
ql_run ql_run_at(const ql_layout *layout, size_t i);

/* At most `limit` elements of a run, from element `first` on, where another piece ended: whole groups, or a part of
 * one. */
ql_run ql_run_piece(const ql_run *run, size_t first, size_t limit);

/* How many runs, counted from one that is a multiple of it, have the same parameters. */
size_t ql_runs_alike(const ql_layout *layout);

#endif
