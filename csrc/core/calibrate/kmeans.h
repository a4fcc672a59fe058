/* Codebooks by optimal one-dimensional k-means. */
#ifndef QL_KMEANS_H
#define QL_KMEANS_H

#include "core/calibrate/distribution.h"
#include "core/calibrate/partition.h"

typedef struct ql_kmeans {
    size_t n;                  /* points in use */
    double *position, *weight; /* [n]: u of the distribution, ascending; > 0 */
    ql_sums *prefix;           /* [n + 1]: sums over the points before point i */
    ql_partitioner partitioner;
} ql_kmeans;

/* Makes room for so many bins or samples. False: memory is short; free it all the same. */
bool ql_kmeans_alloc(ql_kmeans *k, size_t bins_or_samples, size_t entries);
void ql_kmeans_free(ql_kmeans *k);

/* Codebooks of a histogram with its zeros, and of sorted samples. */
void ql_kmeans_of_bins(ql_kmeans *k, const ql_distribution *d, size_t entries, float *codebook);
void ql_kmeans_of_samples(ql_kmeans *k, const ql_distribution *d, size_t entries, float *codebook);

#endif
