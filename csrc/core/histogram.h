/* The streaming histogram, seen from inside the core. */
#ifndef QL_HISTOGRAM_H
#define QL_HISTOGRAM_H

#include "qlite.h"

/* Whether values could have led to these states: what came from outside must not lead out of the counts. */
bool ql_histograms_are_valid(const ql_histogram *h, const int64_t *counts, size_t channels, size_t bins);

#endif
