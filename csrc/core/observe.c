/* The streaming histogram: bins whose width is a power of two and whose edges are multiples of it.
 *
 * Why powers of two: floor(floor(x / w) / 2) == floor(x / 2w), so doubling the width adds neighbours and loses nothing,
 * and the state depends only on which values came, not on their order. The width is the least one at which the bins
 * reach from the least to the greatest value; it can only grow.
 * Why a movable first bin: a range such as [0, 6] or [100, 101] uses all bins, not the part above zero of a symmetric
 * range.
 * x / width is computed in double, where it is exact for every float and every width. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/histogram.h"
#include "core/layout.h"
#include "core/memory.h"

/* Bins no finer than 2^-24 of the greatest magnitude (floats are not finer) and never subnormal in width. */
enum { MANTISSA_BITS = 24, MIN_EXPONENT = -126 };

static int32_t bin_number(float x, int32_t exponent)
{
    return (int32_t)floor(ldexp((double)x, -exponent));
}

static int32_t least_exponent(float min, float max, size_t bins)
{
    float magnitude = -min > max ? -min : max;
    int32_t exponent = MIN_EXPONENT;
    if (magnitude > 0) {
        int e;
        frexp((double)magnitude, &e);
        exponent = e - MANTISSA_BITS > exponent ? e - MANTISSA_BITS : exponent;
    }
    while ((int64_t)bin_number(max, exponent) - bin_number(min, exponent) >= (int64_t)bins)
        exponent++;
    return exponent;
}

static bool bins_are_valid(size_t bins)
{
    return bins >= 128 && bins <= 65536 && (bins & (bins - 1)) == 0;
}

/* Whether bins and range belong together, without a look at the counts. */
static bool range_is_valid(const ql_histogram *h, size_t bins)
{
    if (h->count < 0 || h->zeros < 0)
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
    if (!bins_are_valid(bins))
        return false;
    for (size_t c = 0; c < channels; c++) {
        if (!range_is_valid(h + c, bins) || !counts_are_valid(h + c, counts + c * bins, bins))
            return false;
    }
    return true;
}

ql_status ql_histogram_clear(ql_histogram *h, int64_t *counts, size_t channels, size_t bins)
{
    if (!bins_are_valid(bins))
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

/* The bins for everything in h and in [min, max]; counts stay as they are. */
static ql_histogram widened(const ql_histogram *h, float min, float max, size_t bins)
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

static void rebin(ql_histogram *h, int64_t *counts, const ql_histogram *wide, size_t bins, int64_t *scratch)
{
    if (h->exponent != wide->exponent || h->origin != wide->origin) {
        memset(scratch, 0, bins * sizeof *scratch);
        add_counts(h, counts, wide, scratch, bins);
        memcpy(counts, scratch, bins * sizeof *counts);
    }
    *h = *wide;
}

/* A value can miss the bins only if it changed since its minimum and maximum were taken. */
static bool count_value(ql_histogram *h, int64_t *counts, size_t bins, double inverse_width, float x)
{
    double bin = floor((double)x * inverse_width) - (double)h->origin;
    if (!(bin >= 0 && bin < (double)bins))
        return false;
    h->count++;
    h->zeros += x == 0;
    counts[(size_t)bin] += x != 0;
    return true;
}

static bool count_run(const float *x, ql_run run, const double *inverse_width, ql_histogram *h, int64_t *counts,
                      size_t bins)
{
    bool all = true;
    for (size_t i = 0; i < run.length; i++) {
        size_t c = run.parameter + i / run.group;
        all &= count_value(h + c, counts + c * bins, bins, inverse_width[c], x[i]);
    }
    return all;
}

static ql_status take_ranges(const float *x, const ql_layout *layout, float *min, float *max)
{
    bool has_nan;
    ql_minmax_f32(x, layout, min, max, &has_nan);
    for (size_t c = 0; c < ql_layout_parameters(layout); c++) {
        if (has_nan || !(min[c] >= -FLT_MAX && max[c] <= FLT_MAX))
            return QL_ENONFINITE;
    }
    return QL_OK;
}

ql_status ql_histogram_update(const float *x, const ql_layout *layout, ql_histogram *h, int64_t *counts, size_t bins)
{
    if (!bins_are_valid(bins))
        return QL_EINVAL;
    if (ql_layout_size(layout) == 0)
        return QL_OK;
    const size_t channels = ql_layout_parameters(layout);
    const int64_t values = (int64_t)ql_layout_size(layout);
    for (size_t c = 0; c < channels; c++) {
        if (!range_is_valid(h + c, bins) || h[c].count > INT64_MAX - values)
            return QL_EINVAL;
    }
    ql_status status = QL_ENOMEM;
    float *min = ql_alloc(channels, sizeof *min), *max = ql_alloc(channels, sizeof *max);
    double *inverse_width = ql_alloc(channels, sizeof *inverse_width);
    int64_t *scratch = ql_alloc(bins, sizeof *scratch);
    if (!min || !max || !inverse_width || !scratch)
        goto done;
    status = take_ranges(x, layout, min, max);
    if (status != QL_OK)
        goto done;
    for (size_t c = 0; c < channels; c++) {
        ql_histogram wide = widened(h + c, min[c], max[c], bins);
        rebin(h + c, counts + c * bins, &wide, bins, scratch);
        inverse_width[c] = ldexp(1.0, -wide.exponent);
    }
    for (size_t i = 0; i < ql_run_count(layout); i++) {
        ql_run run = ql_run_at(layout, i);
        if (!count_run(x + run.offset, run, inverse_width, h, counts, bins))
            status = QL_EINVAL;
    }
done:
    free(scratch);
    free(inverse_width);
    free(max);
    free(min);
    return status;
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
        ql_histogram wide = widened(h + c, other[c].min, other[c].max, bins);
        rebin(h + c, counts + c * bins, &wide, bins, scratch);
        add_counts(other + c, other_counts + c * bins, h + c, counts + c * bins, bins);
        h[c].count += other[c].count;
        h[c].zeros += other[c].zeros;
    }
    free(scratch);
    return QL_OK;
}
