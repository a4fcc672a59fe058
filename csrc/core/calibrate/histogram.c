/* The streaming histogram: bins whose width is a power of two and whose edges are multiples of it.
 *
 * Why powers of two: floor(floor(x / w) / 2) == floor(x / 2w), so doubling the width adds neighbours and loses nothing,
 * and the state depends only on which values came, not on their order. The width is the least one at which the bins
 * reach from the least to the greatest value; it can only grow.
 * Why a movable first bin: a range such as [0, 6] or [100, 101] uses all bins, not the part above zero of a symmetric
 * range.
 * Bin numbers are those of real numbers: x / width is exact in double, and the kernels take care in float32. */
#include "core/calibrate/histogram.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/memory.h"

/* Bins no finer than 2^-24 of the greatest magnitude (floats are not finer) and never subnormal in width. */
enum { MANTISSA_BITS = 24, MIN_EXPONENT = -126 };

static int32_t bin_number(float x, int32_t exponent)
{
    return (int32_t)floor(ldexp((double)x, -exponent));
}

/* 2^exponent * bins > max - min is necessary; the search begins one below that, for the difference is rounded. */
static int32_t least_exponent(float min, float max, size_t bins)
{
    int e;
    float magnitude = -min > max ? -min : max;
    int32_t exponent = MIN_EXPONENT;
    if (magnitude > 0) {
        frexp((double)magnitude, &e);
        exponent = e - MANTISSA_BITS > exponent ? e - MANTISSA_BITS : exponent;
    }
    if (max > min) {
        frexp(((double)max - (double)min) / (double)bins, &e);
        exponent = e - 1 > exponent ? e - 1 : exponent;
    }
    while ((int64_t)bin_number(max, exponent) - bin_number(min, exponent) >= (int64_t)bins)
        exponent++;
    return exponent;
}

bool ql_bins_are_valid(size_t bins)
{
    return bins >= 128 && bins <= 65536 && (bins & (bins - 1)) == 0;
}

bool ql_range_is_valid(const ql_histogram *h, size_t bins)
{
    if (h->zeros < 0 || h->zeros > h->count)
        return false;
    if (h->count == 0)
        return h->min > h->max && h->origin == 0 && h->exponent == MIN_EXPONENT;
    if (!(h->min >= -FLT_MAX && h->min <= h->max && h->max <= FLT_MAX))
        return false;
    return h->exponent == least_exponent(h->min, h->max, bins) && h->origin == bin_number(h->min, h->exponent);
}

static bool counts_are_valid(const ql_histogram *h, const int64_t *counts, size_t bins)
{
    int64_t sum = h->zeros, used = 0;
    for (size_t b = 0; b < bins; b++) {
        if (counts[b] < 0 || __builtin_add_overflow(sum, counts[b], &sum))
            return false;
        used = counts[b] ? (int64_t)b + 1 : used;
    }
    bool fits = used == 0 || used <= (int64_t)bin_number(h->max, h->exponent) - h->origin + 1;
    return sum == h->count && fits;
}

bool ql_histograms_are_valid(const ql_histogram *h, const int64_t *counts, size_t channels, size_t bins)
{
    if (!ql_bins_are_valid(bins))
        return false;
    for (size_t c = 0; c < channels; c++) {
        if (!ql_range_is_valid(h + c, bins) || !counts_are_valid(h + c, counts + c * bins, bins))
            return false;
    }
    return true;
}

ql_status ql_histogram_clear(ql_histogram *h, int64_t *counts, size_t channels, size_t bins)
{
    if (!ql_bins_are_valid(bins))
        return QL_EINVAL;
    for (size_t c = 0; c < channels; c++)
        h[c] = (ql_histogram){.min = INFINITY, .max = -INFINITY, .exponent = MIN_EXPONENT};
    memset(counts, 0, channels * bins * sizeof *counts);
    return QL_OK;
}

/* Adds the counts of `from` to `to`, whose bins are as wide or wider and reach at least as far. Counts that no value of
 * from's range can have led to are left out: they would lead out of to_counts. */
static void add_counts(const ql_histogram *from, const int64_t *from_counts, const ql_histogram *to, int64_t *to_counts,
                       size_t bins)
{
    int shift = to->exponent - from->exponent;
    shift = shift < 31 ? shift : 31;
    for (size_t b = 0; b < bins; b++) {
        int64_t bin = (int64_t)((from->origin + (int32_t)b) >> shift) - to->origin;
        if (from_counts[b] && bin >= 0 && bin < (int64_t)bins)
            to_counts[bin] += from_counts[b];
    }
}

ql_histogram ql_widened(const ql_histogram *h, float min, float max, size_t bins)
{
    ql_histogram wide = *h;
    wide.min = min < h->min ? min : h->min;
    wide.max = max > h->max ? max : h->max;
    if (wide.min <= wide.max) {
        wide.exponent = least_exponent(wide.min, wide.max, bins);
        wide.origin = bin_number(wide.min, wide.exponent);
    }
    return wide;
}

void ql_rebin(ql_histogram *h, int64_t *counts, const ql_histogram *wide, size_t bins, int64_t *scratch)
{
    if (h->exponent != wide->exponent || h->origin != wide->origin) {
        memset(scratch, 0, bins * sizeof *scratch);
        add_counts(h, counts, wide, scratch, bins);
        memcpy(counts, scratch, bins * sizeof *counts);
    }
    *h = *wide;
}

ql_status ql_histogram_merge(ql_histogram *h, int64_t *counts, const ql_histogram *other, const int64_t *other_counts,
                             size_t channels, size_t bins)
{
    if (!ql_histograms_are_valid(h, counts, channels, bins) ||
        !ql_histograms_are_valid(other, other_counts, channels, bins))
        return QL_EINVAL;
    for (size_t c = 0; c < channels; c++) {
        if (h[c].count > INT64_MAX - other[c].count)
            return QL_EINVAL;
    }
    int64_t *scratch = ql_alloc(bins, sizeof *scratch);
    if (!scratch)
        return QL_ENOMEM;
    for (size_t c = 0; c < channels; c++) {
        ql_histogram wide = ql_widened(h + c, other[c].min, other[c].max, bins);
        ql_rebin(h + c, counts + c * bins, &wide, bins, scratch);
        add_counts(other + c, other_counts + c * bins, h + c, counts + c * bins, bins);
        h[c].count += other[c].count;
        h[c].zeros += other[c].zeros;
    }
    free(scratch);
    return QL_OK;
}
