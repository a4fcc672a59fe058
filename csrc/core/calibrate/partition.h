/* Partition of sorted points into cells of the least squared error. */
#ifndef QL_PARTITION_H
#define QL_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/calibrate/prefix_sums.h"

/* Best partition of the first points; its last cell begins at `from`. */
typedef struct ql_partial {
    double cost;
    uint32_t from, cells;
} ql_partial;

/* Partition of all points: cell i is cuts[i] to cuts[i + 1] - 1. */
typedef struct ql_partition {
    size_t cells;
    double cost;
    uint32_t *cuts;
} ql_partition;

typedef struct ql_partitioner {
    size_t n;              /* points in use */
    const ql_sums *prefix; /* [n + 1]: sums over the points before point i */
    ql_partial *partial;
    uint32_t *queue, *begin; /* candidates for the best last cut, and the point from which on each is it */
    ql_partition found, fewer, more;
} ql_partitioner;

/* Makes room for fewer than `room` points. False: memory is short; free it all the same. */
bool ql_partitioner_alloc(ql_partitioner *p, size_t room);
void ql_partitioner_free(ql_partitioner *p);

/* Leaves the best partition of n points into cells, 1 <= cells <= n, in `found`. */
void ql_best_partition(ql_partitioner *p, const ql_sums *prefix, size_t n, size_t cells);

#endif
