/* Sorted points, parted into cells of the least squared error. */
#ifndef QL_PARTITION_H
#define QL_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/calibrate/prefix_sums.h"

/* The best partition of the first points; `from` is where its last cell begins. */
typedef struct ql_partial {
    double cost;
    uint32_t from, cells;
} ql_partial;

/* A partition of all points: cell i is cuts[i] to cuts[i + 1] - 1. */
typedef struct ql_partition {
    size_t cells;
    double cost;
    uint32_t *cuts;
} ql_partition;

typedef struct ql_partitioner {
    size_t n;                 /* points in use */
    const ql_moments *prefix; /* of the points before point i */
    ql_partial *partial;
    uint32_t *queue, *begin; /* who is the best last cut, and from which point on */
    ql_partition found, fewer, more;
} ql_partitioner;

/* For fewer than `room` points. False, with what there is to be freed, if memory is short. */
bool ql_partitioner_alloc(ql_partitioner *p, size_t room);
void ql_partitioner_free(ql_partitioner *p);

/* The best partition of n points into cells, 1 <= cells <= n, as `found`. */
void ql_best_partition(ql_partitioner *p, const ql_moments *prefix, size_t n, size_t cells);

#endif
