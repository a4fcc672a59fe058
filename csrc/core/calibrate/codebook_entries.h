/* Entries of a codebook: strictly ascending, as many as are asked for. */
#ifndef QL_CODEBOOK_ENTRIES_H
#define QL_CODEBOOK_ENTRIES_H

#include "core/calibrate/distribution.h"

/* Stores n ascending values, 1 <= n <= entries. */
void ql_store_values(const double *values, size_t n, size_t entries, float *codebook);

/* Stores the same from positions u, which become values x in place. */
void ql_store_positions(const ql_distribution *d, double *positions, size_t n, size_t entries, float *codebook);

/* Stores all samples of weight > 0, which have no more than `entries` distinct values. */
void ql_store_samples(const ql_distribution *d, size_t entries, float *codebook);

#endif
