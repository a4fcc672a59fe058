/* Range that cuts off a share of the values. */
#ifndef QL_PERCENTILE_H
#define QL_PERCENTILE_H

#include "core/calibrate/distribution.h"

/* Cuts (100 - percentile) / 100 of the mass off each end, or off both together for grids with one scale for both. Exact
 * zeros are inside of every range: `mass` counts them, the distribution need not. */
void ql_percentile_range(const ql_distribution *d, double mass, double percentile, const ql_grid *grid, float *low,
                         float *high);

#endif
