/* Codebooks by optimal one-dimensional k-means. */
#ifndef QL_KMEANS_H
#define QL_KMEANS_H

#include "core/calibrate/distribution.h"
#include "core/calibrate/partition.h"

typedef struct ql_kmeans {
    size_t n;                  /* points in use */
    double *position, *weight; /* of a point: the distribution's u, ascending; over 0 */
    ql_moments *prefix;        /* of the points before point i */
    ql_partitioner partitioner;
} ql_kmeans;

/* Room for what so many bins or samples can need. False, with what there is to be freed, if memory is short. */
bool ql_kmeans_alloc(ql_kmeans *k, size_t bins_or_samples, size_t entries);
void ql_kmeans_free(ql_kmeans *k);

/* d of a histogram with its zeros. */
void ql_kmeans_of_bins(ql_kmeans *k, const ql_distribution *d, size_t entries, float *codebook);
/* d of sorted samples. */
void ql_kmeans_of_samples(ql_kmeans *k, const ql_distribution *d, size_t entries, float *codebook);

#endif
