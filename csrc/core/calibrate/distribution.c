/* A question costs O(1) (histogram) or O(log n) (samples) whatever was seen: moments are prefix sums.
 *
 * Why measured from the median: the moments of a small cell far from 0 would be the difference of two huge numbers.
 * Why blocks of samples: a sum per sample of a million is 24 MB to write. With one per 16 a codebook of them takes 2
 * ms, not 8. Few samples get a sum each. */
#include "core/calibrate/distribution.h"

#include <math.h>
#include <string.h>

#include "core/base/memory.h"

enum { BLOCK = 16, BLOCKS_FROM = 4096 };

/* Of a mass that lies evenly on [left, right]. */
static ql_moments evenly(double mass, double left, double right)
{
    return (ql_moments){mass, mass * 0.5 * (left + right),
                        mass * (left * left + left * right + right * right) * (1.0 / 3)};
}

bool ql_distribution_alloc(ql_distribution *d, size_t bins_or_samples)
{
    *d = (ql_distribution){.prefix = ql_alloc(bins_or_samples + 2, sizeof(ql_moments))};
    return d->prefix;
}

void ql_distribution_free(ql_distribution *d)
{
    free(d->prefix);
}

static void take_prefix(ql_distribution *d, size_t parts, ql_moments (*part)(const void *, size_t))
{
    ql_moments_prefix(d->prefix, parts, d->anchor, part, d);
    d->below = d->prefix[0];
    d->above = d->prefix[parts];
}

/* ---- histogram -------------------------------------------------------------------------------------- */

static ql_moments bin_moments(const void *of, size_t bin)
{
    const ql_distribution *d = of;
    if (d->counts[bin] == 0)
        return (ql_moments){0};
    return evenly((double)d->counts[bin], ql_distribution_left(d, bin), ql_distribution_right(d, bin));
}

static size_t median_bin(const ql_histogram *h, const int64_t *counts, size_t bins)
{
    int64_t half = (h->count - h->zeros) / 2;
    for (size_t b = 0; b < bins; b++) {
        half -= counts[b];
        if (half < 0)
            return b;
    }
    return 0;
}

/* A spike at bin edge `zero` belongs to what is at or below it. */
static void add_spike(ql_distribution *d, size_t parts, int64_t edge)
{
    const ql_moments spike = {d->zeros, d->zeros * d->zero, d->zeros * d->zero * d->zero};
    const bool below_anchor = edge <= (int64_t)d->anchor;
    for (size_t i = 0; i <= parts; i++) {
        const bool includes = (int64_t)i >= edge;
        if (includes && !below_anchor)
            d->prefix[i] = ql_moments_plus(d->prefix[i], spike);
        else if (!includes && below_anchor)
            d->prefix[i] = ql_moments_minus(d->prefix[i], spike);
    }
    if (below_anchor)
        d->below = ql_moments_minus(d->below, spike);
    else
        d->above = ql_moments_plus(d->above, spike);
}

void ql_distribution_of_histogram(ql_distribution *d, const ql_histogram *h, const int64_t *counts, size_t bins,
                                  bool with_zeros)
{
    d->counts = counts;
    d->unit = ldexp(1.0, h->exponent);
    d->anchor = median_bin(h, counts, bins);
    d->centre = (double)h->origin + (double)d->anchor;
    d->least = ql_distribution_u(d, h->min);
    d->greatest = ql_distribution_u(d, h->max);
    d->last = (size_t)(floor((double)h->max / d->unit) - (double)h->origin);
    take_prefix(d, d->last + 1, bin_moments);
    d->zeros = with_zeros ? (double)h->zeros : 0;
    d->zero = -d->centre;
    if (d->zeros > 0)
        add_spike(d, d->last + 1, -(int64_t)h->origin);
}

/* least <= t < greatest: the truncated bin number is never negative, but rounding can lift it to the next bin. */
static ql_moments histogram_at(const ql_distribution *d, double t)
{
    const size_t number = (size_t)(t + (double)d->anchor), bin = number < d->last ? number : d->last;
    const double left = ql_distribution_left(d, bin), width = ql_distribution_right(d, bin) - left;
    const double share = width > 0 ? (t - left) / width : 0;
    return ql_moments_plus(d->prefix[bin], evenly((double)d->counts[bin] * share, left, t));
}

/* ---- sorted samples ----------------------------------------------------------------------------------- */

static ql_moments sample_moments(const ql_distribution *d, size_t from, size_t to)
{
    ql_moments sum = {0};
    for (size_t i = from; i < to; i++) {
        const double u = (double)d->x[i] - d->centre, w = d->weights ? d->weights[i] * d->weight_unit : 1;
        sum = ql_moments_plus(sum, (ql_moments){w, w * u, w * u * u});
    }
    return sum;
}

static ql_moments block_moments(const void *of, size_t i)
{
    const ql_distribution *d = of;
    const size_t from = i * d->block;
    return sample_moments(d, from, from + d->block < d->n ? from + d->block : d->n);
}

void ql_distribution_of_sorted(ql_distribution *d, const float *x, const double *weights, size_t n)
{
    d->counts = NULL;
    d->zeros = 0;
    d->x = x;
    d->weights = weights;
    d->weight_unit = 1;
    if (weights) {
        double greatest = 0;
        int exponent;
        for (size_t i = 0; i < n; i++)
            greatest = weights[i] > greatest ? weights[i] : greatest;
        frexp(greatest, &exponent);
        d->weight_unit = ldexp(1.0, -exponent < 1023 ? -exponent : 1023);
    }
    d->n = n;
    d->block = n < BLOCKS_FROM ? 1 : BLOCK;
    d->anchor = n / 2 / d->block;
    d->unit = 1;
    d->centre = x[d->anchor * d->block];
    d->least = x[0] - d->centre;
    d->greatest = x[n - 1] - d->centre;
    take_prefix(d, (n + d->block - 1) / d->block, block_moments);
}

/* How many samples are at or below t, at least `from` of them. */
static size_t samples_below(const ql_distribution *d, double t, size_t from)
{
    size_t step = 1, left = from, right;
    while (left + step <= d->n && (double)d->x[left + step - 1] <= t) {
        left += step;
        step *= 2;
    }
    right = left + step <= d->n ? left + step - 1 : d->n;
    while (left < right) {
        const size_t middle = left + (right - left) / 2;
        const bool is_below = (double)d->x[middle] <= t;
        left = is_below ? middle + 1 : left;
        right = is_below ? right : middle;
    }
    return left;
}

static ql_moments samples_at(const ql_distribution *d, size_t count)
{
    const size_t block = count / d->block;
    return ql_moments_plus(d->prefix[block], sample_moments(d, block * d->block, count));
}

void ql_distribution_at(const ql_distribution *d, const double *thresholds, size_t n, ql_moments *moments)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const double t = thresholds[i];
        if (t < d->least) {
            moments[i] = d->below;
        } else if (t >= d->greatest) {
            moments[i] = d->above;
        } else if (d->counts) {
            moments[i] = histogram_at(d, t);
        } else {
            count = samples_below(d, t + d->centre, count);
            moments[i] = samples_at(d, count);
        }
    }
}
