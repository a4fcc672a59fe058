/* How values are distributed: mass, first and second moment below any threshold, from a streaming histogram or from
 * sorted samples. Everything that chooses a grid asks this and nothing else of the data. */
#ifndef QL_DISTRIBUTION_H
#define QL_DISTRIBUTION_H

#include "core/calibrate/prefix_sums.h"
#include "qlite.h"

/* Values are seen as u = x / unit - centre, the centre being about their median. */
typedef struct ql_distribution {
    double unit, centre;
    double least, greatest;  /* of the values, as u */
    ql_moments below, above; /* of all that is: at -inf and at +inf */

    ql_moments *prefix; /* at the left edge of every bin, or before every block of samples */
    size_t anchor;
    /* a histogram: */
    const int64_t *counts; /* NULL: samples */
    size_t last;           /* the bin of the greatest value */
    double zeros, zero;    /* mass of the spike of exact zeros, and where it stands */
    /* sorted samples: */
    const float *x;
    const double *weights; /* NULL: 1 each */
    double weight_unit;
    size_t n, block;
} ql_distribution;

bool ql_distribution_alloc(ql_distribution *d, size_t bins_or_samples);
void ql_distribution_free(ql_distribution *d);

/* Values lie evenly inside a bin; min and max cut the first and the last one. h is valid and not empty. */
void ql_distribution_of_histogram(ql_distribution *d, const ql_histogram *h, const int64_t *counts, size_t bins,
                                  bool with_zeros);

/* x ascending and finite, n >= 1; weights >= 0, finite and not all 0, or NULL. Both are kept by reference. */
void ql_distribution_of_sorted(ql_distribution *d, const float *x, const double *weights, size_t n);

/* The moments of all at or below each of n ascending thresholds, minus those below the centre or so: only differences
 * mean something, of these among themselves and with below and above. */
void ql_distribution_at(const ql_distribution *d, const double *thresholds, size_t n, ql_moments *moments);

static inline double ql_distribution_left(const ql_distribution *d, size_t bin)
{
    return bin == 0 ? d->least : (double)bin - (double)d->anchor;
}

static inline double ql_distribution_right(const ql_distribution *d, size_t bin)
{
    return bin == d->last ? d->greatest : (double)bin + 1 - (double)d->anchor;
}

static inline double ql_distribution_u(const ql_distribution *d, double x)
{
    return x / d->unit - d->centre;
}

static inline double ql_distribution_x(const ql_distribution *d, double u)
{
    return (u + d->centre) * d->unit;
}

#endif
