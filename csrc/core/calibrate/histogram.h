/* Streaming histograms, as the core's own files see them. */
#ifndef QL_HISTOGRAM_H
#define QL_HISTOGRAM_H

#include "qlite.h"

/* Returns whether values could have led to these states: what came from outside must not lead out of the counts. */
bool ql_histograms_are_valid(const ql_histogram *h, const int64_t *counts, size_t channels, size_t bins);

bool ql_bins_are_valid(size_t bins);

/* Returns whether bins and range belong together, without a look at the counts. */
bool ql_range_is_valid(const ql_histogram *h, size_t bins);

/* Returns h with bins and range for [min, max] as well; counts and zeros are as in h. */
ql_histogram ql_widened(const ql_histogram *h, float min, float max, size_t bins);

/* Gives h and its counts the bins of `wide`, which are as wide or wider and hold its own. scratch is [bins]. */
void ql_rebin(ql_histogram *h, int64_t *counts, const ql_histogram *wide, size_t bins, int64_t *scratch);

#endif
