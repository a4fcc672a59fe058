/* Clipping ranges from a histogram: percentile, least squared error, least divergence.
 *
 * mse and entropy score a grid by what it would do to the values at the middle of their bins (inside a bin the error
 * has the same variance for every candidate). Candidates are a geometric ladder of fractions of the full range, refined
 * by golden sections between the best one's neighbours; without symmetry the two ends take turns. */
#include <math.h>
#include <stdlib.h>

#include "core/histogram.h"
#include "core/memory.h"

typedef struct search {
    const ql_histogram *h;
    const int64_t *counts;
    size_t bins;
    double width;
    int32_t qmin, qmax;
    bool symmetric;
    double *scratch;                                                          /* [bins], entropy only */
    double (*score)(const struct search *s, float scale, int32_t zero_point); /* NULL: percentile */
} search;

static double middle(const search *s, size_t bin)
{
    return ((double)s->h->origin + (double)bin + 0.5) * s->width;
}

/* Round half to even for |v| < 2^51; the caller has clamped v. Unlike rint() it is no call and vectorizes. */
static double round_even(double v)
{
    const double magic = 0x1.8p52;
    return (v + magic) - magic;
}

static double clamped_code(double value, double low, double high)
{
    value = value > low ? value : low;
    value = value < high ? value : high;
    return round_even(value);
}

static double squared_error(const search *s, float scale, int32_t zero_point)
{
    const double low = s->qmin - zero_point, high = s->qmax - zero_point, inverse = 1.0 / (double)scale;
    double sum = 0;
    for (size_t b = 0; b < s->bins; b++) {
        double x = middle(s, b), error = x - clamped_code(x * inverse, low, high) * (double)scale;
        sum += (double)s->counts[b] * error * error;
    }
    return sum;
}

/* Kullback-Leibler divergence of the quantized histogram q from the data's p (Migacz, "8-bit inference with TensorRT",
 * 2017). p: counts, the clipped ones moved to the outermost bins of the range. q: the counts of each level spread
 * evenly over the level's bins that are not empty. Exact zeros are in neither. A range of fewer bins than codes is out
 * of the question: everything clipped to one bin would have no divergence at all. */
static double divergence(const search *s, float scale, int32_t zero_point)
{
    const double least_share = 1e-9;
    const double low = s->qmin - zero_point, high = s->qmax - zero_point, inverse = 1.0 / (double)scale;
    double *p = s->scratch, total = (double)(s->h->count - s->h->zeros), inside = 0, below = 0, above = 0;
    size_t first = s->bins, last = 0;
    for (size_t b = 0; b < s->bins; b++) {
        double v = middle(s, b) * inverse, count = (double)s->counts[b];
        p[b] = 0;
        if (v < low - 0.5) {
            below += count;
        } else if (v > high + 0.5) {
            above += count;
        } else {
            p[b] = count;
            inside += count;
            first = b < first ? b : first;
            last = b;
        }
    }
    if (!(inside > 0) || last - first < (size_t)(s->qmax - s->qmin))
        return INFINITY;
    double sum = 0;
    for (size_t b = first; b <= last;) {
        double code = clamped_code(middle(s, b) * inverse, low, high), level = 0, filled = 0;
        size_t end = b;
        for (; end <= last && clamped_code(middle(s, end) * inverse, low, high) == code; end++) {
            double clipped = (end == first ? below : 0) + (end == last ? above : 0);
            level += p[end];
            filled += p[end] + clipped > 0;
        }
        for (; b < end; b++) {
            double clipped = (b == first ? below : 0) + (b == last ? above : 0);
            double share = (p[b] + clipped) / total, quantized = filled > 0 ? level / filled / inside : 0;
            if (share > 0)
                sum += share * log(share / (quantized > least_share ? quantized : least_share));
        }
    }
    return sum;
}

static double score_range(const search *s, double low, double high)
{
    float scale;
    int32_t zero_point;
    ql_range_qparams((float)low, (float)high, s->qmin, s->qmax, s->symmetric, &scale, &zero_point);
    return s->score(s, scale, zero_point);
}

/* Which ends of [low, high] a fraction shrinks. */
typedef enum shrink { BOTH, LOW, HIGH } shrink;

static double score_fraction(const search *s, double low, double high, shrink which, double f)
{
    return score_range(s, which == HIGH ? low : low * f, which == LOW ? high : high * f);
}

static double best_fraction(const search *s, double low, double high, shrink which)
{
    enum { PER_OCTAVE = 8, OCTAVES = 12, SECTIONS = 16 };
    const double golden = 0.6180339887498949;
    int best = 0;
    double best_score = INFINITY;
    for (int i = 0; i <= PER_OCTAVE * OCTAVES; i++) {
        double score = score_fraction(s, low, high, which, exp2(-(double)i / PER_OCTAVE));
        if (score < best_score) {
            best_score = score;
            best = i;
        }
    }
    double left = exp2(-(double)(best + 1) / PER_OCTAVE), right = exp2(-(double)(best - 1) / PER_OCTAVE);
    double fraction = exp2(-(double)best / PER_OCTAVE);
    right = right < 1 ? right : 1;
    double a = right - golden * (right - left), b = left + golden * (right - left);
    double score_a = score_fraction(s, low, high, which, a), score_b = score_fraction(s, low, high, which, b);
    for (int i = 0; i < SECTIONS; i++) {
        const bool a_wins = score_a < score_b;
        if ((a_wins ? score_a : score_b) < best_score) {
            best_score = a_wins ? score_a : score_b;
            fraction = a_wins ? a : b;
        }
        if (a_wins) {
            right = b;
            b = a;
            score_b = score_a;
            a = right - golden * (right - left);
            score_a = score_fraction(s, low, high, which, a);
        } else {
            left = a;
            a = b;
            score_a = score_b;
            b = left + golden * (right - left);
            score_b = score_fraction(s, low, high, which, b);
        }
    }
    return fraction;
}

static void search_range(const search *s, double *low, double *high)
{
    enum { ROUNDS = 2 };
    double f = best_fraction(s, *low, *high, BOTH);
    double widest_low = *low, widest_high = *high;
    *low *= f;
    *high *= f;
    if (s->symmetric || widest_low == 0 || widest_high == 0)
        return;
    for (int i = 0; i < ROUNDS; i++) {
        *high = widest_high * best_fraction(s, *low, widest_high, HIGH);
        *low = widest_low * best_fraction(s, widest_low, *high, LOW);
    }
}

/* How many values lie above t, as if each bin's were spread evenly over it. */
static double count_above(const search *s, double t)
{
    double sum = t < 0 ? (double)s->h->zeros : 0;
    for (size_t b = 0; b < s->bins; b++) {
        double share = (middle(s, b) + 0.5 * s->width - t) / s->width;
        sum += (double)s->counts[b] * (share < 0 ? 0 : share > 1 ? 1 : share);
    }
    return sum;
}

/* How many values a range of size t >= 0 cuts off. */
static double count_beyond(const search *s, double t, shrink which)
{
    double above = which == LOW ? 0 : count_above(s, t);
    double below = which == HIGH ? 0 : (double)s->h->count - count_above(s, -t);
    return above + below;
}

/* The least t at which at most `allowed` values are cut off, by bisection. */
static double percentile_end(const search *s, double widest, shrink which, double allowed)
{
    enum { STEPS = 40 };
    double inside = 0, outside = widest;
    if (count_beyond(s, 0, which) <= allowed)
        return 0;
    for (int i = 0; i < STEPS; i++) {
        double t = 0.5 * (inside + outside);
        if (count_beyond(s, t, which) <= allowed)
            outside = t;
        else
            inside = t;
    }
    return outside;
}

static void percentile_range(const search *s, double percentile, double *low, double *high)
{
    const double allowed = (double)s->h->count * (100 - percentile) / 100;
    double cut_low, cut_high;
    if (s->symmetric) {
        cut_high = percentile_end(s, *high, BOTH, allowed);
        cut_low = -cut_high;
    } else {
        cut_low = -percentile_end(s, -*low, LOW, allowed);
        cut_high = percentile_end(s, *high, HIGH, allowed);
    }
    if (cut_low < cut_high) {
        *low = cut_low;
        *high = cut_high;
    }
}

static void channel_range(const search *s, double percentile, float *low, float *high)
{
    const ql_histogram *h = s->h;
    double least = h->min < 0 ? h->min : 0, greatest = h->max > 0 ? h->max : 0;
    if (s->symmetric) {
        greatest = -least > greatest ? -least : greatest;
        least = -greatest;
    }
    if (h->min == h->max) {
        least = h->min;
        greatest = h->max;
    } else if (s->score) {
        search_range(s, &least, &greatest);
    } else {
        percentile_range(s, percentile, &least, &greatest);
    }
    *low = (float)least;
    *high = (float)greatest;
}

ql_status ql_histogram_range(const ql_histogram *h, const int64_t *counts, size_t channels, size_t bins,
                             ql_range_method method, int32_t qmin, int32_t qmax, bool symmetric, double percentile,
                             float *low, float *high)
{
    if (!(percentile > 50 && percentile <= 100) || qmin >= qmax || !ql_histograms_are_valid(h, counts, channels, bins))
        return QL_EINVAL;
    for (size_t c = 0; c < channels; c++) {
        if (h[c].count == 0)
            return QL_EINVAL;
    }
    double *scratch = ql_alloc(bins, sizeof *scratch);
    if (!scratch)
        return QL_ENOMEM;
    search s = {.bins = bins, .qmin = qmin, .qmax = qmax, .symmetric = symmetric, .scratch = scratch};
    s.score = method == QL_RANGE_MSE ? squared_error : method == QL_RANGE_ENTROPY ? divergence : NULL;
    for (size_t c = 0; c < channels; c++) {
        s.h = h + c;
        s.counts = counts + c * bins;
        s.width = ldexp(1.0, h[c].exponent);
        channel_range(&s, percentile, low + c, high + c);
    }
    free(scratch);
    return QL_OK;
}
