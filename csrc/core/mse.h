/* The expected squared error of a grid, and the grid where it is least. */
#ifndef QL_MSE_H
#define QL_MSE_H

#include "core/distribution.h"
#include "core/grid.h"

/* The summed squared error when every value takes the nearest of the levels. */
double ql_squared_error(const ql_distribution *d, const ql_levels *levels, double scale);

/* The range of the best grid. entries: the codebook's, sorted, or NULL. The values are not all equal. */
void ql_mse_range(const ql_distribution *d, const ql_grid *grid, const ql_levels *codebook, float *low, float *high);

#endif
