/* Codebooks: optimal one-dimensional k-means, and quantiles. */
#ifndef QL_KMEANS_H
#define QL_KMEANS_H

#include "core/distribution.h"
#include "core/grid.h"

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

typedef struct ql_kmeans {
    size_t n;                  /* points in use */
    double *position, *weight; /* of a point: the distribution's u, ascending; over 0 */
    ql_moments *prefix;        /* of the points before point i */
    ql_partial *partial;
    uint32_t *queue, *begin; /* who is the best last cut, and from which point on */
    ql_partition found, fewer, more;
} ql_kmeans;

/* Room for what so many bins or samples can need. False, with what there is to be freed, if memory is short. */
bool ql_kmeans_alloc(ql_kmeans *k, size_t bins_or_samples, size_t entries);
void ql_kmeans_free(ql_kmeans *k);

/* d of a histogram with its zeros. */
void ql_kmeans_of_bins(ql_kmeans *k, const ql_distribution *d, size_t entries, float *codebook);
/* d of sorted samples. */
void ql_kmeans_of_samples(ql_kmeans *k, const ql_distribution *d, size_t entries, float *codebook);

/* Entry i: the least value at or below which (i + 0.5) / entries of the mass lies. */
void ql_quantiles_of_bins(const ql_distribution *d, size_t entries, float *codebook);
void ql_quantiles_of_samples(const float *x, const double *weights, size_t n, size_t entries, float *codebook);

#endif
