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

/* Whether the bins are those that the range asks for: a state that came from outside must not lead out of counts. */
static bool state_is_valid(const ql_histogram *h, size_t bins)
{
    if (h->count == 0)
        return h->min > h->max;
    if (h->count < 0 || !(h->min >= -FLT_MAX && h->min <= h->max && h->max <= FLT_MAX))
        return false;
    return h->exponent == least_exponent(h->min, h->max, bins) && h->origin == bin_number(h->min, h->exponent);
}

void ql_histogram_clear(ql_histogram *h, int64_t *counts, size_t bins)
{
    *h = (ql_histogram){.min = INFINITY, .max = -INFINITY, .exponent = MIN_EXPONENT};
    memset(counts, 0, bins * sizeof *counts);
}

/* Adds the counts of `from` to `to`, whose bins are as wide or wider and reach at least as far. */
static void add_counts(const ql_histogram *from, const int64_t *from_counts, const ql_histogram *to, int64_t *to_counts,
                       size_t bins)
{
    int shift = to->exponent - from->exponent;
    shift = shift < 31 ? shift : 31;
    for (size_t b = 0; b < bins; b++) {
        if (from_counts[b])
            to_counts[((from->origin + (int32_t)b) >> shift) - to->origin] += from_counts[b];
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

static void count_value(ql_histogram *h, int64_t *counts, double inverse_width, float x)
{
    h->zeros += x == 0;
    counts[(int32_t)floor((double)x * inverse_width) - h->origin] += x != 0;
}

static void count_run(const float *x, ql_run run, ql_histogram *h, int64_t *counts, size_t bins)
{
    if (run.step == 0) {
        ql_histogram *own = h + run.channel;
        int64_t *own_counts = counts + run.channel * bins;
        double inverse_width = ldexp(1.0, -own->exponent);
        for (size_t i = 0; i < run.length; i++)
            count_value(own, own_counts, inverse_width, x[i]);
        own->count += (int64_t)run.length;
        return;
    }
    for (size_t i = 0; i < run.length; i++) {
        count_value(h + i, counts + i * bins, ldexp(1.0, -h[i].exponent), x[i]);
        h[i].count++;
    }
}

ql_status ql_histogram_update(const float *x, ql_layout layout, ql_histogram *h, int64_t *counts, size_t bins)
{
    if (!bins_are_valid(bins))
        return QL_EINVAL;
    for (size_t c = 0; c < layout.channels; c++) {
        if (!state_is_valid(h + c, bins))
            return QL_EINVAL;
    }
    if (ql_layout_size(layout) == 0)
        return QL_OK;
    ql_status status = QL_ENOMEM;
    bool has_nan;
    float *min = ql_alloc(layout.channels, sizeof *min), *max = ql_alloc(layout.channels, sizeof *max);
    int64_t *scratch = ql_alloc(bins, sizeof *scratch);
    if (!min || !max || !scratch)
        goto done;
    ql_minmax_f32(x, layout, min, max, &has_nan);
    status = has_nan ? QL_ENONFINITE : QL_OK;
    for (size_t c = 0; c < layout.channels; c++) {
        if (!(min[c] >= -FLT_MAX && max[c] <= FLT_MAX))
            status = QL_ENONFINITE;
    }
    if (status != QL_OK)
        goto done;
    for (size_t c = 0; c < layout.channels; c++) {
        ql_histogram wide = widened(h + c, min[c], max[c], bins);
        rebin(h + c, counts + c * bins, &wide, bins, scratch);
    }
    for (size_t i = 0; i < ql_run_count(layout); i++) {
        ql_run run = ql_run_at(layout, i);
        count_run(x + run.offset, run, h, counts, bins);
    }
done:
    free(scratch);
    free(max);
    free(min);
    return status;
}

ql_status ql_histogram_merge(ql_histogram *h, int64_t *counts, const ql_histogram *other, const int64_t *other_counts,
                             size_t bins)
{
    if (!bins_are_valid(bins) || !state_is_valid(h, bins) || !state_is_valid(other, bins))
        return QL_EINVAL;
    int64_t *scratch = ql_alloc(bins, sizeof *scratch);
    if (!scratch)
        return QL_ENOMEM;
    ql_histogram wide = widened(h, other->min, other->max, bins);
    rebin(h, counts, &wide, bins, scratch);
    add_counts(other, other_counts, h, counts, bins);
    h->count += other->count;
    h->zeros += other->zeros;
    free(scratch);
    return QL_OK;
}
