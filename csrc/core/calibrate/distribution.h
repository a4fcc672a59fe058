/* Distribution of values: mass, first and second moment below any threshold, from a streaming histogram or from
 * sorted samples. Everything that chooses a grid asks this and nothing else of the data. */
#ifndef QL_DISTRIBUTION_H
#define QL_DISTRIBUTION_H

#include "core/calibrate/prefix_sums.h"
#include "qlite.h"

/* Values x are measured as u = x / unit - centre, where centre is about their median. */
typedef struct ql_distribution {
    double unit, centre;
    double least, greatest; /* least and greatest value, as u */
    ql_sums below, above;   /* sums at -inf and at +inf */

    ql_sums *prefix; /* sums at the left edge of every bin, or before every block of samples */
    size_t anchor;   /* bin or block from which they run outwards */

    /* of a histogram: */
    const int64_t *counts; /* NULL: samples */
    size_t last;           /* bin of the greatest value */
    double zeros, zero;    /* spike of exact zeros: its mass, and its place as u */

    /* of sorted samples: */
    const float *x;
    const double *weights; /* NULL: 1 each */
    double weight_unit;
    size_t n, block; /* samples, and how many make a block */
} ql_distribution;

/* Makes room for a histogram of so many bins, or so many samples. False: memory is short; free it all the same. */
bool ql_distribution_alloc(ql_distribution *d, size_t bins_or_samples);
void ql_distribution_free(ql_distribution *d);

/* Takes a histogram, valid and not empty, whose values lie evenly inside a bin; min and max cut the first and the last
 * bin. counts are kept by reference. */
void ql_distribution_of_histogram(ql_distribution *d, const ql_histogram *h, const int64_t *counts, size_t bins,
                                  bool with_zeros);

/* The same without the zeros, for masses alone, m0 of sums: 0.1 of the time. */
void ql_distribution_of_masses(ql_distribution *d, const ql_histogram *h, const int64_t *counts, size_t bins);

/* Takes samples: x ascending and finite, n >= 1; weights >= 0, finite and not all 0, or NULL. Both are kept by
 * reference. */
void ql_distribution_of_sorted(ql_distribution *d, const float *x, const double *weights, size_t n);

/* Sums over all values at or below each of n ascending thresholds, less a constant: only their differences mean
 * something, among themselves and from below and above. */
void ql_distribution_at(const ql_distribution *d, const double *thresholds, size_t n, ql_sums *sums);

/* Edges of a bin, as u. */
static inline double ql_distribution_left(const ql_distribution *d, size_t bin)
{
    return bin == 0 ? d->least : (double)bin - (double)d->anchor;
}

static inline double ql_distribution_right(const ql_distribution *d, size_t bin)
{
    return bin == d->last ? d->greatest : (double)bin + 1 - (double)d->anchor;
}

/* Value x as u, and back. */
static inline double ql_distribution_u(const ql_distribution *d, double x)
{
    return x / d->unit - d->centre;
}

static inline double ql_distribution_x(const ql_distribution *d, double u)
{
    return (u + d->centre) * d->unit;
}

#endif
