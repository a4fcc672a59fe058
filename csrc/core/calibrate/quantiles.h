/* Codebooks of quantiles. */
#ifndef QL_QUANTILES_H
#define QL_QUANTILES_H

#include "core/calibrate/distribution.h"

/* Entry i is the least value at or below which (i + 0.5) / entries of the mass lies. */
void ql_quantiles_of_bins(const ql_distribution *d, size_t entries, float *codebook);
void ql_quantiles_of_samples(const float *x, const double *weights, size_t n, size_t entries, float *codebook);

#endif
