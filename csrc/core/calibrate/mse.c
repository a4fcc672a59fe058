/* Least squared error: the search. The scores are in mse_score.c.
 *
 * For every zero point a ladder of scales downwards from twice that of min-max, until what is clipped alone is worse
 * than the best; golden sections around the best local minima; then, for few levels, steps to the best scale for the
 * codes as they are (Lloyd's step for a grid of one parameter), which end exactly in a minimum where the error is
 * jagged.
 *
 * Why not all (scale, zero point) exactly: 5 ms for 8 bits instead of 0.5 ms, and nothing gained. Above 32 levels the
 * ladders use the step^2 / 12 form, which costs O(1); the exact form decides among the minima that they find. */
#include "core/calibrate/mse.h"

#include <float.h>
#include <math.h>

#include "core/calibrate/line_search.h"
#include "core/calibrate/mse_score.h"

/* Tuned on rows of 2 to 20000 samples and on histograms of 200000 (normal, Laplacian, skewed, bimodal, with outliers)
 * at 1 to 12 bits and on codebooks, on AMD Zen 3. All are flat; mean error and time with half and with twice as many:
 *     FEW_LEVELS  -0.0001 dB, 0.97    0.0008 dB, 1.04
 *     ZERO_POINTS  0.0009 dB, 0.97   -0.0006 dB, 1.00
 *     SCAN         0.0021 dB, 0.88   -0.0015 dB, 1.14
 *     NEIGHBOURS   0.0041 dB, 0.91   -0.0027 dB, 1.09
 *     MINIMA       0.0022 dB, 0.86   -0.0011 dB, 1.10 */
enum {
    FEW_LEVELS = 32,        /* up to here every zero point has a ladder of exact errors */
    ZERO_POINTS = 256,      /* ladders at most */
    LADDER = 24 * QL_RUNGS, /* rungs: an outlier may lie 2^24 times as far out as the best range ends */
    SCAN = 24,              /* scales looked at first, where many levels make a jagged error */
    NEIGHBOURS = 2,         /* zero points on either side, for few samples and many levels */
    MINIMA = 6,             /* minima that are refined */
    LLOYD_STEPS = 50,       /* enough to converge: 200 change nothing, 12 cost 0.001 dB */
};

typedef struct search {
    const ql_distribution *d;
    const ql_grid *grid;
    ql_levels levels; /* at the zero point at hand */
    double error;     /* least one so far */
    float scale;
    int32_t zero_point;
} search;

typedef double scorer(const ql_distribution *d, const ql_levels *levels, double scale);

static void set_zero_point(search *s, int32_t zero_point)
{
    if (!s->levels.entries)
        s->levels.first = (double)s->grid->qmin - zero_point;
}

/* Local minimum of a ladder. */
typedef struct minimum {
    double error;
    double scale;
    int32_t zero_point;
} minimum;

typedef struct minima {
    size_t count;
    minimum best[MINIMA]; /* ascending */
} minima;

static void keep(minima *m, minimum found)
{
    size_t at = m->count < MINIMA ? m->count++ : MINIMA;
    if (at == MINIMA && m->best[--at].error <= found.error)
        return;
    for (; at > 0 && m->best[at - 1].error > found.error; at--)
        m->best[at] = m->best[at - 1];
    m->best[at] = found;
}

/* Keeps the local minima of the ladder from `top` downwards, every stride-th rung of it, at this zero point. The bound
 * of few samples leaves this ladder's minima out: their score is that of a fitted scale, which may clip less. */
static void climb_down(search *s, scorer *score, double top, int32_t zero_point, int stride, minima *m)
{
    const bool is_few = ql_is_few(s->d);
    scorer *clipped = is_few ? ql_few_clipped : ql_clipped_error;
    double least = m->count ? m->best[0].error : INFINITY;
    minimum last = {.error = INFINITY};
    bool falls = true;
    set_zero_point(s, zero_point);
    for (int i = 0; i < LADDER; i += stride) {
        const double wanted = ql_rung(i) * top;
        float scale = ql_scale_at_least((float)wanted, s->grid->scale_type); /* the first one reaches min-max's ends */
        if (i > 0 || scale > FLT_MAX)
            scale = ql_nearest_scale(wanted, s->grid->scale_type);
        if (scale == last.scale)
            continue;
        const double error = score(s->d, &s->levels, scale);
        if (falls && last.error <= error)
            keep(m, last);
        falls = error < last.error;
        last = (minimum){error, scale, zero_point};
        if (!is_few && m->count)
            least = m->best[0].error;
        if (clipped(s->d, &s->levels, scale) > (least < error ? least : error))
            break;
    }
    if (falls)
        keep(m, last);
}

static void consider(search *s, scorer *score, double scale, int32_t zero_point)
{
    const float rounded = ql_nearest_scale(scale, s->grid->scale_type);
    const double error = score(s->d, &s->levels, rounded);
    if (error < s->error) {
        s->error = error;
        s->scale = rounded;
        s->zero_point = zero_point;
    }
}

static double squared_error(const void *of, double scale)
{
    const search *s = of;
    return ql_squared_error(s->d, &s->levels, scale);
}

/* Looks for the least error between a minimum's neighbours on its ladder. */
static void refine(search *s, minimum from, int stride)
{
    set_zero_point(s, from.zero_point);
    consider(s, ql_squared_error, from.scale, from.zero_point);
    if (s->grid->scale_type == QL_SCALE_E8M0)
        return;
    double left = from.scale * ql_rung(stride), right = from.scale / ql_rung(stride);
    if (s->levels.count > FEW_LEVELS) {
        const double step = (right - left) / SCAN;
        ql_point best = {from.scale, squared_error(s, from.scale)};
        for (int i = 1; i < SCAN; i++) {
            const double scale = left + i * step, error = squared_error(s, scale);
            if (error < best.value)
                best = (ql_point){scale, error};
        }
        left = best.x - step;
        right = best.x + step;
    }
    consider(s, ql_squared_error, ql_golden_section(squared_error, s, left, right).x, from.zero_point);
}

/* Goes from a minimum of few samples to a scale that is the best one for what it rounds to. */
static void refine_few(search *s, minimum from)
{
    set_zero_point(s, from.zero_point);
    double scale = from.scale;
    for (int i = 0; i < LLOYD_STEPS && s->grid->scale_type != QL_SCALE_E8M0; i++) {
        const ql_fit f = ql_fit_samples(s->d, &s->levels, scale);
        const double fitted = f.square > 0 ? f.product / f.square : 0;
        if (!(fitted > 0) || fitted == scale)
            break;
        scale = fitted;
    }
    consider(s, ql_few_score, scale, from.zero_point);
}

static void polish(search *s)
{
    set_zero_point(s, s->zero_point);
    if (s->levels.count > QL_MAX_ENTRIES || s->grid->scale_type != QL_SCALE_F32)
        return;
    for (int i = 0; i < LLOYD_STEPS; i++) {
        const float before = s->scale;
        consider(s, ql_squared_error, ql_fitted_scale(s->d, &s->levels, s->scale), s->zero_point);
        if (s->scale == before)
            break;
    }
}

/* Looks at the zero points from..to; natural is min-max's, and s->scale its scale. */
static void search_zero_points(search *s, int32_t natural, int32_t from, int32_t to)
{
    const bool is_few = ql_is_few(s->d), has_many_levels = s->levels.count > FEW_LEVELS;
    const bool is_coarse = has_many_levels && from < to && !is_few;
    scorer *score = is_coarse                             ? ql_fine_score
                    : !is_few                             ? ql_squared_error
                    : s->grid->scale_type == QL_SCALE_F32 ? ql_fitted_score
                                                          : ql_few_score;
    /* Every second rung is enough: half the time for 2 bits, and for 8 bits at most 0.2 dB in groups of 32. */
    const int stride = has_many_levels || (is_few && s->levels.count <= 4) ? 2 : 1;
    double reach = 2;
    if (is_few && has_many_levels && !s->levels.entries) { /* neighbours differ by chance: a few throws are enough */
        reach = 1 / ql_rung(QL_RUNGS / 4);
        from = from < natural - NEIGHBOURS ? natural - NEIGHBOURS : from;
        to = to > natural + NEIGHBOURS ? natural + NEIGHBOURS : to;
    }
    const double top = s->scale < FLT_MAX / 2 ? reach * s->scale : s->scale;
    minima found = {0}, exact = {0};
    for (int32_t away = 0; natural - away >= from || natural + away <= to; away += (to - from) / ZERO_POINTS + 1) {
        if (natural - away >= from)
            climb_down(s, score, top, natural - away, stride, &found);
        if (away > 0 && natural + away <= to)
            climb_down(s, score, top, natural + away, stride, &found);
    }
    if (is_coarse) /* min-max may be exactly right for values that stand on a grid themselves */
        climb_down(s, ql_squared_error, top, natural, stride, &exact);
    for (size_t i = 0; i < found.count; i++) {
        if (is_few)
            refine_few(s, found.best[i]);
        else
            refine(s, found.best[i], stride);
    }
    for (size_t i = 0; i < exact.count; i++)
        refine(s, exact.best[i], stride);
    if (!is_few)
        polish(s);
}

void ql_mse_range(const ql_distribution *d, const ql_grid *grid, const ql_levels *levels, float *low, float *high)
{
    search s = {.d = d, .grid = grid, .levels = *levels, .error = INFINITY};
    const double least = ql_distribution_x(d, d->least), greatest = ql_distribution_x(d, d->greatest);
    /* The scale itself is searched for in the grid's type; float32 only says where to begin. */
    ql_grid plain = *grid;
    plain.scale_type = QL_SCALE_F32;
    (void)ql_range_scale((float)least, (float)greatest, &plain, &s.scale, &s.zero_point);
    const bool is_free = !grid->symmetric && !grid->codebook && least < 0 && greatest > 0;
    search_zero_points(&s, s.zero_point, is_free ? grid->qmin : s.zero_point, is_free ? grid->qmax : s.zero_point);
    ql_scale_range(s.scale, s.zero_point, grid, low, high);
}
