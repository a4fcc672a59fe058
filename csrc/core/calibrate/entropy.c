/* Kullback-Leibler divergence of the quantized histogram q from the data's p (Migacz, "8-bit inference with TensorRT",
 * 2017). p: counts, the clipped ones moved to the outermost bins of the range. q: the counts of each level spread
 * evenly over the level's bins that are not empty. Exact zeros are in neither: after a relu they would decide alone. A
 * range of fewer bins than codes is out of the question: everything clipped to one bin would have no divergence at all.
 *
 * sum p log(p / q) = (sum c log c - C log T) / T - sum over levels of their share * log(their q), so prefix sums of c,
 * c log c and of the filled bins make a candidate cost O(levels), not O(bins).
 *
 * Candidates are a geometric ladder of thresholds for both ends, refined by golden sections between the best one's
 * neighbours. Without symmetry the two ends then take turns to come in, but may cut off no more each than the threshold
 * did: clipped counts that come to a bin which is full anyway cost next to nothing, and a whole side would go. */
#include "core/calibrate/entropy.h"

#include <math.h>

#include "core/base/logarithm.h"
#include "core/calibrate/line_search.h"

typedef struct search {
    const ql_histogram *h;
    const int64_t *counts;
    size_t bins;
    double width;
    const ql_grid *grid;
    const ql_entropy_sums *sums;
    double most_clipped; /* that an end may cut off */
} search;

static double times_log(double x)
{
    return x > 0 ? x * ql_log(x) : 0;
}

/* Number of the first bin whose middle rounds, half to even, to more than k steps; perhaps outside of the bins. */
static double bin_after(const search *s, double steps_per_bin, double k)
{
    const double edge = (k + 0.5) / steps_per_bin - (double)s->h->origin - 0.5, bin = ceil(edge);
    const bool k_is_even = fmod(k, 2) == 0;
    return bin == edge && k_is_even ? bin + 1 : bin;
}

static size_t clamped_bin(double bin, size_t bins)
{
    return bin <= 0 ? 0 : bin >= (double)bins ? bins : (size_t)bin;
}

/* Growth of count * log(count) when clipped counts come to a bin. */
static double log_gain(const search *s, size_t bin, double clipped)
{
    const double count = (double)s->counts[bin];
    return times_log(count + clipped) - times_log(count);
}

/* First bin that a range of steps does not clip, and the one after the last. Values half a step beyond the ends round
 * to the ends. */
static void find_inside(const search *s, double steps_per_bin, double low, double high, size_t *first, size_t *end)
{
    *first = clamped_bin(ceil((low - 0.5) / steps_per_bin - (double)s->h->origin - 0.5), s->bins);
    *end = clamped_bin(floor((high + 0.5) / steps_per_bin - (double)s->h->origin - 0.5) + 1, s->bins);
}

static double divergence(const search *s, float scale, int32_t zero_point)
{
    const double least_share = 1e-9, steps_per_bin = s->width / (double)scale;
    const double low = (double)s->grid->qmin - zero_point, high = (double)s->grid->qmax - zero_point;
    const double total = s->sums[s->bins].count;
    size_t first, end;
    find_inside(s, steps_per_bin, low, high, &first, &end);
    if (end <= first || end - first <= (size_t)(s->grid->qmax - s->grid->qmin))
        return INFINITY;
    const double inside = s->sums[end].count - s->sums[first].count;
    const double below = s->sums[first].count, above = total - s->sums[end].count;
    if (!(inside > 0) || below > s->most_clipped || above > s->most_clipped)
        return INFINITY;
    double logs = s->sums[end].count_log - s->sums[first].count_log;
    logs += log_gain(s, first, below) + log_gain(s, end - 1, above);
    double sum = (logs - total * ql_log(total)) / total;
    size_t from = first;
    for (double k = low; k <= high && from < end; k++) {
        size_t to = k < high ? clamped_bin(bin_after(s, steps_per_bin, k), s->bins) : end;
        to = to < end ? to : end;
        if (to <= from)
            continue;
        const double level = s->sums[to].count - s->sums[from].count;
        double filled = s->sums[to].filled - s->sums[from].filled, clipped = 0;
        if (from == first) {
            clipped += below;
            filled += below > 0 && s->counts[first] == 0;
        }
        if (to == end) {
            clipped += above;
            filled += above > 0 && s->counts[end - 1] == 0;
        }
        if (filled > 0) {
            const double share = level / filled / inside;
            sum -= (level + clipped) / total * ql_log(share > least_share ? share : least_share);
        }
        from = to;
    }
    return sum;
}

/* Ends of the range that a fraction brings in: both to one threshold, or one by itself. */
typedef enum shrink { BOTH, LOW, HIGH } shrink;

static void bring_in(double *low, double *high, shrink which, double fraction)
{
    const double threshold = fraction * fmax(-*low, *high);
    if (which != HIGH)
        *low = which == BOTH ? fmax(*low, 0 - threshold) : *low * fraction;
    if (which != LOW)
        *high = which == BOTH ? fmin(*high, threshold) : *high * fraction;
}

/* Range that is brought in from [low, high]. */
typedef struct trial {
    const search *s;
    double low, high;
    shrink which;
} trial;

static double score(const void *of, double fraction)
{
    const trial *t = of;
    double low = t->low, high = t->high;
    float scale;
    int32_t zero_point;
    bring_in(&low, &high, t->which, fraction);
    if (ql_range_scale((float)low, (float)high, t->s->grid, &scale, &zero_point) != QL_OK)
        return INFINITY;
    return divergence(t->s, scale, zero_point);
}

static double clipped(const search *s, double low, double high)
{
    float scale;
    int32_t zero_point;
    size_t first, end;
    if (ql_range_scale((float)low, (float)high, s->grid, &scale, &zero_point) != QL_OK)
        return 0;
    find_inside(s, s->width / (double)scale, (double)s->grid->qmin - zero_point, (double)s->grid->qmax - zero_point,
                &first, &end);
    return s->sums[s->bins].count - (s->sums[end].count - s->sums[first].count);
}

static double best_fraction(const search *s, double low, double high, shrink which)
{
    enum { STRIDE = QL_RUNGS / 8, END = 12 * QL_RUNGS };
    const trial t = {s, low, high, which};
    int at = 0;
    ql_point best = {1, INFINITY};
    for (int i = 0; i <= END; i += STRIDE) {
        const double value = score(&t, ql_rung(i));
        if (value < best.value) {
            best = (ql_point){ql_rung(i), value};
            at = i;
        }
    }
    const double left = ql_rung(at + STRIDE), right = ql_rung(at > 0 ? at - STRIDE : 0);
    const ql_point found = ql_golden_section(score, &t, left, right);
    return found.value < best.value ? found.x : best.x;
}

static void take_sums(const int64_t *counts, size_t bins, ql_entropy_sums *sums)
{
    ql_entropy_sums sum = {0};
    for (size_t b = 0; b < bins; b++) {
        sums[b] = sum;
        sum.count += (double)counts[b];
        sum.count_log += times_log((double)counts[b]);
        sum.filled += counts[b] > 0;
    }
    sums[bins] = sum;
}

void ql_entropy_range(const ql_histogram *h, const int64_t *counts, size_t bins, const ql_grid *grid,
                      ql_entropy_sums *sums, float *low, float *high)
{
    enum { ROUNDS = 2 };
    search s = {h, counts, bins, ldexp(1.0, h->exponent), grid, sums, INFINITY};
    double least = h->min < 0 ? h->min : 0, greatest = h->max > 0 ? h->max : 0;
    take_sums(counts, bins, sums);
    if (grid->symmetric) {
        greatest = -least > greatest ? -least : greatest;
        least = -greatest;
    }
    bring_in(&least, &greatest, BOTH, best_fraction(&s, least, greatest, BOTH));
    if (!grid->symmetric && least < 0 && greatest > 0) {
        s.most_clipped = clipped(&s, least, greatest);
        double best_low = least, best_high = greatest;
        for (int i = 0; i < ROUNDS; i++) {
            best_high = greatest * best_fraction(&s, best_low, greatest, HIGH);
            best_low = least * best_fraction(&s, least, best_high, LOW);
        }
        least = best_low;
        greatest = best_high;
    }
    *low = (float)least;
    *high = (float)greatest;
}
