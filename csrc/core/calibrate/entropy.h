/* Range whose quantized histogram diverges least from the data's. */
#ifndef QL_ENTROPY_H
#define QL_ENTROPY_H

#include "core/calibrate/range.h"

/* Sums over the first bins: of counts, of count * log(count), and the number of bins that are not empty. */
typedef struct ql_entropy_sums {
    double count, count_log, filled;
} ql_entropy_sums;

/* sums is scratch, [bins + 1]. h is valid, not empty and not constant. */
void ql_entropy_range(const ql_histogram *h, const int64_t *counts, size_t bins, const ql_grid *grid,
                      ql_entropy_sums *sums, float *low, float *high);

#endif
