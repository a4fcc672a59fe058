/* Range of the grid whose expected squared error is least. */
#ifndef QL_MSE_H
#define QL_MSE_H

#include "core/calibrate/distribution.h"
#include "core/calibrate/range.h"

/* levels are the grid's for a zero point of 0. The values are not all equal. */
void ql_mse_range(const ql_distribution *d, const ql_grid *grid, const ql_levels *levels, float *low, float *high);

#endif
