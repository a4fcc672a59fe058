/* The entries of a codebook: strictly ascending, as many as are asked for. */
#ifndef QL_ENTRIES_H
#define QL_ENTRIES_H

#include "core/calibrate/distribution.h"

/* Of n ascending values, 1 <= n <= entries. */
void ql_store_values(const double *values, size_t n, size_t entries, float *codebook);

/* Of the distribution's u, which become values in place. */
void ql_store_positions(const ql_distribution *d, double *positions, size_t n, size_t entries, float *codebook);

/* Of all samples that weigh anything, of which there are no more than entries. */
void ql_store_samples(const ql_distribution *d, size_t entries, float *codebook);

#endif
