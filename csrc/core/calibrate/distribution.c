/* Prefix sums answer a question in O(1) (histogram) or O(log n) (samples).
 *
 * Why measured from the median: the sums over a small cell far from 0 would be the difference of two huge numbers.
 * Why blocks of samples: a sum per sample of a million is 24 MB to write. With one per 16 a codebook of them takes
 * 3.7 ms, not 9. Up to some thousand samples a sum each is better: 8 bits for 600 take 0.27 ms, not 0.36. */
#include "core/calibrate/distribution.h"

#include <math.h>
#include <string.h>

#include "core/base/memory.h"

enum { BLOCK = 16 /* as good as 64 */, BLOCKS_FROM = 4096 /* even from 2000 on for 4 bits, for 8 bits later */ };

/* Returns the sums of a mass that lies evenly on [left, right]. */
static ql_sums evenly(double mass, double left, double right)
{
    return (ql_sums){mass, mass * 0.5 * (left + right),
                     mass * (left * left + left * right + right * right) * (1.0 / 3)};
}

bool ql_distribution_alloc(ql_distribution *d, size_t bins_or_samples)
{
    *d = (ql_distribution){.prefix = ql_alloc(bins_or_samples + 2, sizeof(ql_sums))};
    return d->prefix;
}

void ql_distribution_free(ql_distribution *d)
{
    free(d->prefix);
}

static void take_prefix(ql_distribution *d, size_t parts, ql_sums (*part)(const void *, size_t))
{
    ql_prefix_sums(d->prefix, parts, d->anchor, part, d);
    d->below = d->prefix[0];
    d->above = d->prefix[parts];
}

/* ---- histogram -------------------------------------------------------------------------------------- */

static ql_sums bin_sums(const void *of, size_t bin)
{
    const ql_distribution *d = of;
    if (d->counts[bin] == 0)
        return (ql_sums){0};
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

/* Adds the spike of zeros, which stands at a bin's left edge and counts as at or below it. */
static void add_spike(ql_distribution *d, size_t parts, int64_t edge)
{
    const ql_sums spike = {d->zeros, d->zeros * d->zero, d->zeros * d->zero * d->zero};
    const bool below_anchor = edge <= (int64_t)d->anchor;
    for (size_t i = 0; i <= parts; i++) {
        const bool includes = (int64_t)i >= edge;
        if (includes && !below_anchor)
            d->prefix[i] = ql_sums_plus(d->prefix[i], spike);
        else if (!includes && below_anchor)
            d->prefix[i] = ql_sums_minus(d->prefix[i], spike);
    }
    if (below_anchor)
        d->below = ql_sums_minus(d->below, spike);
    else
        d->above = ql_sums_plus(d->above, spike);
}

static void place_bins(ql_distribution *d, const ql_histogram *h, const int64_t *counts, size_t bins)
{
    d->counts = counts;
    d->unit = ldexp(1.0, h->exponent);
    d->anchor = median_bin(h, counts, bins);
    d->centre = (double)h->origin + (double)d->anchor;
    d->least = ql_distribution_u(d, h->min);
    d->greatest = ql_distribution_u(d, h->max);
    d->last = (size_t)(floor((double)h->max / d->unit) - (double)h->origin);
}

void ql_distribution_of_histogram(ql_distribution *d, const ql_histogram *h, const int64_t *counts, size_t bins,
                                  bool with_zeros)
{
    place_bins(d, h, counts, bins);
    take_prefix(d, d->last + 1, bin_sums);
    d->zeros = with_zeros ? (double)h->zeros : 0;
    d->zero = -d->centre;
    if (d->zeros > 0)
        add_spike(d, d->last + 1, -(int64_t)h->origin);
}

/* Counts are integers, whose sums are exact. */
void ql_distribution_of_masses(ql_distribution *d, const ql_histogram *h, const int64_t *counts, size_t bins)
{
    place_bins(d, h, counts, bins);
    d->zeros = 0;
    int64_t mass = 0;
    for (size_t b = 0; b < d->anchor; b++)
        mass -= counts[b];
    for (size_t b = 0; b <= d->last; b++) {
        d->prefix[b] = (ql_sums){.m0 = (double)mass};
        mass += counts[b];
    }
    d->prefix[d->last + 1] = (ql_sums){.m0 = (double)mass};
    d->below = d->prefix[0];
    d->above = d->prefix[d->last + 1];
}

/* least <= t < greatest: the truncated bin number is never negative, but rounding can lift it to the next bin. */
static ql_sums histogram_at(const ql_distribution *d, double t)
{
    const size_t number = (size_t)(t + (double)d->anchor), bin = number < d->last ? number : d->last;
    const double left = ql_distribution_left(d, bin), width = ql_distribution_right(d, bin) - left;
    const double share = width > 0 ? (t - left) / width : 0;
    return ql_sums_plus(d->prefix[bin], evenly((double)d->counts[bin] * share, left, t));
}

/* ---- sorted samples ----------------------------------------------------------------------------------- */

static ql_sums sample_sums(const ql_distribution *d, size_t from, size_t to)
{
    ql_sums sum = {0};
    for (size_t i = from; i < to; i++) {
        const double u = (double)d->x[i] - d->centre, w = d->weights ? d->weights[i] * d->weight_unit : 1;
        sum = ql_sums_plus(sum, (ql_sums){w, w * u, w * u * u});
    }
    return sum;
}

static ql_sums block_sums(const void *of, size_t i)
{
    const ql_distribution *d = of;
    const size_t from = i * d->block;
    return sample_sums(d, from, ql_least(from + d->block, d->n));
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
    take_prefix(d, ql_divided_up(n, d->block), block_sums);
}

/* Returns how many samples are at or below t, where the first `from` are known to be. */
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

static ql_sums samples_at(const ql_distribution *d, size_t count)
{
    const size_t block = count / d->block;
    return ql_sums_plus(d->prefix[block], sample_sums(d, block * d->block, count));
}

void ql_distribution_at(const ql_distribution *d, const double *thresholds, size_t n, ql_sums *sums)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const double t = thresholds[i];
        if (t < d->least) {
            sums[i] = d->below;
        } else if (t >= d->greatest) {
            sums[i] = d->above;
        } else if (d->counts) {
            sums[i] = histogram_at(d, t);
        } else {
            count = samples_below(d, t + d->centre, count);
            sums[i] = samples_at(d, count);
        }
    }
}
