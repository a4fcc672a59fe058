/* The squared error of a scale: of anything by its moments, of few samples one by one.
 *
 * With levels v_k and thresholds t_k half way between, the error is sum_k (M2_k - 2 v_k M1_k + v_k^2 M0_k) over the
 * cells. Summed by parts this is a constant of the outermost levels minus 2 sum_k (v_{k+1} - v_k) (t_k m0(t_k) -
 * m1(t_k)): two moments per threshold, and every term is as small as the mass between threshold and median allows.
 * Where steps are finer than the bins, or than a few thousand levels, the error inside is step^2 / 12 instead.
 * Few samples are simply rounded one by one, and scored at the best scale for what they round to: 2 us for a row of 32
 * at 4 bits, where thresholds and golden sections took 28. */
#include "core/calibrate/mse_score.h"

#include <math.h>

#include "core/base/sizes.h"

enum {
    CHUNK = 64,          /* thresholds asked for at a time */
    EXACT_LEVELS = 4096, /* more are scored as step^2 / 12: 12 bits would lose 0.02 dB, 0.4 dB beside outliers */
    FEW_SAMPLES = 512,   /* samples that are rounded one by one; with 256 a search is 0.01 dB better and takes 1.3 times
                            as long, with 1024 it is 0.02 dB worse and takes 0.6 */
};

static double level(const ql_levels *l, size_t k)
{
    return l->entries ? l->entries[k] : l->first + (double)k;
}

/* M2 - 2 v M1 + v^2 M0 of everything between two thresholds. */
static double spread(const ql_sums *from, const ql_sums *to, double v)
{
    return (to->m2 - from->m2) - 2 * v * (to->m1 - from->m1) + v * v * (to->m0 - from->m0);
}

static double by_parts(const ql_distribution *d, const ql_levels *l, double step)
{
    const double first = level(l, 0) * step - d->centre, last = level(l, l->count - 1) * step - d->centre;
    double sum = (d->above.m2 - 2 * last * d->above.m1 + last * last * d->above.m0) -
                 (d->below.m2 - 2 * first * d->below.m1 + first * first * d->below.m0);
    double left = first, gain = 0, threshold[CHUNK], gap[CHUNK];
    ql_sums at[CHUNK];
    for (size_t k = 1; k < l->count; k += CHUNK) {
        const size_t n = ql_least(l->count - k, CHUNK);
        for (size_t i = 0; i < n; i++) {
            const double right = level(l, k + i) * step - d->centre;
            threshold[i] = 0.5 * (left + right);
            gap[i] = right - left;
            left = right;
        }
        ql_distribution_at(d, threshold, n, at);
        for (size_t i = 0; i < n; i++)
            gain += gap[i] * (threshold[i] * at[i].m0 - at[i].m1);
    }
    sum -= 2 * gain;
    return sum > 0 ? sum : 0;
}

/* Even steps, too fine to be looked at one by one. */
static double fine_steps(const ql_distribution *d, const ql_levels *l, double step)
{
    const double first = level(l, 0) * step - d->centre, last = level(l, l->count - 1) * step - d->centre;
    ql_sums at[2];
    ql_distribution_at(d, (double[]){first - 0.5 * step, last + 0.5 * step}, 2, at);
    const double inside = (at[1].m0 - at[0].m0) * step * step * (1.0 / 12);
    const double clipped = spread(&d->below, &at[0], first) + spread(&at[1], &d->above, last);
    return clipped > 0 ? inside + clipped : inside;
}

double ql_clipped_error(const ql_distribution *d, const ql_levels *l, double scale)
{
    const double step = scale / d->unit;
    const double first = level(l, 0) * step - d->centre, last = level(l, l->count - 1) * step - d->centre;
    ql_sums at[2];
    ql_distribution_at(d, (double[]){first, last}, 2, at);
    return spread(&d->below, &at[0], first) + spread(&at[1], &d->above, last);
}

double ql_squared_error(const ql_distribution *d, const ql_levels *levels, double scale)
{
    const double step = scale / d->unit;
    const bool finer_than_bins = d->counts && step < 1;
    if (!levels->entries && (levels->count > EXACT_LEVELS || finer_than_bins))
        return fine_steps(d, levels, step);
    return by_parts(d, levels, step);
}

double ql_fine_score(const ql_distribution *d, const ql_levels *levels, double scale)
{
    return fine_steps(d, levels, scale / d->unit);
}

double ql_fitted_scale(const ql_distribution *d, const ql_levels *l, double scale)
{
    const double step = scale / d->unit;
    double product = 0, square = 0, threshold[CHUNK];
    ql_sums from = d->below, at[CHUNK];
    for (size_t k = 0; k < l->count; k += CHUNK) {
        const size_t n = ql_least(l->count - k, CHUNK);
        for (size_t i = 0; i < n; i++) {
            const bool is_last = k + i + 1 == l->count;
            threshold[i] = is_last ? INFINITY : 0.5 * (level(l, k + i) + level(l, k + i + 1)) * step - d->centre;
        }
        ql_distribution_at(d, threshold, n, at);
        for (size_t i = 0; i < n; i++) {
            const double v = level(l, k + i), mass = at[i].m0 - from.m0;
            product += v * (at[i].m1 - from.m1 + d->centre * mass);
            square += v * v * mass;
            from = at[i];
        }
    }
    return square > 0 ? product / square * d->unit : 0;
}

/* ---- few samples, one by one --------------------------------------------------------------------------- */

/* Half to even for |v| < 2^51; unlike rint() it is no call and vectorizes. */
static double round_even(double v)
{
    const double magic = 0x1.8p52;
    return (v + magic) - magic;
}

static double nearest_step(double scaled, double low, double high)
{
    const double above = scaled > low ? scaled : low;
    return round_even(above < high ? above : high);
}

/* Sums of the samples i mod 8 apart, then one after the other. */
static ql_fit fit_steps(const float *x, size_t n, const ql_levels *l, double scale)
{
    enum { LANES = 8 };
    const double low = l->first, high = low + (double)(l->count - 1), inverse = 1 / scale;
    double product[LANES] = {0}, square[LANES] = {0};
    ql_fit sum = {0};
    for (; n >= LANES; n -= LANES, x += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            const double step = nearest_step(x[j] * inverse, low, high);
            product[j] += step * x[j];
            square[j] += step * step;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const double step = nearest_step(x[i] * inverse, low, high);
        sum.product += step * x[i];
        sum.square += step * step;
    }
    for (size_t j = 0; j < LANES; j++) {
        sum.product += product[j];
        sum.square += square[j];
    }
    return sum;
}

static ql_fit fit_entries(const float *x, size_t n, const ql_levels *l, double scale)
{
    ql_fit sum = {0};
    size_t i = 0;
    for (size_t k = 0; k < l->count; k++) {
        const bool is_last = k + 1 == l->count;
        const double end = is_last ? INFINITY : 0.5 * (l->entries[k] + l->entries[k + 1]) * scale;
        double values = 0;
        const size_t from = i;
        for (; i < n && x[i] <= end; i++)
            values += x[i];
        sum.product += l->entries[k] * values;
        sum.square += l->entries[k] * l->entries[k] * (double)(i - from);
    }
    return sum;
}

ql_fit ql_fit_samples(const ql_distribution *d, const ql_levels *l, double scale)
{
    return (l->entries ? fit_entries : fit_steps)(d->x, d->n, l, scale);
}

static double sum_of_squares(const ql_distribution *d)
{
    const ql_sums m = ql_sums_minus(d->above, d->below);
    return m.m2 + 2 * d->centre * m.m1 + d->centre * d->centre * m.m0;
}

double ql_few_score(const ql_distribution *d, const ql_levels *l, double scale)
{
    const ql_fit f = ql_fit_samples(d, l, scale);
    return sum_of_squares(d) - 2 * scale * f.product + scale * scale * f.square;
}

double ql_fitted_score(const ql_distribution *d, const ql_levels *l, double scale)
{
    const ql_fit f = ql_fit_samples(d, l, scale);
    return sum_of_squares(d) - (f.square > 0 ? f.product * f.product / f.square : 0);
}

double ql_few_clipped(const ql_distribution *d, const ql_levels *l, double scale)
{
    const double first = level(l, 0) * scale, last = level(l, l->count - 1) * scale;
    double sum = 0;
    for (size_t i = 0; i < d->n && d->x[i] < first; i++)
        sum += (d->x[i] - first) * (d->x[i] - first);
    for (size_t i = d->n; i-- > 0 && d->x[i] > last;)
        sum += (d->x[i] - last) * (d->x[i] - last);
    return sum;
}

bool ql_is_few(const ql_distribution *d)
{
    return !d->counts && !d->weights && d->n <= FEW_SAMPLES;
}
