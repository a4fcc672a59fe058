/* Least squared error: the search. The scores are in mse_score.c.
 *
 * For every zero point a ladder of scales downwards, until what is clipped alone is worse than the best; golden
 * sections around the best local minima; then, for few levels, steps to the best scale for the codes as they are
 * (Lloyd's step for a grid of one parameter), which end exactly in a minimum where the error is jagged.
 *
 * Why not all (scale, zero point) exactly: 5 ms for 8 bits instead of 0.5 ms, and nothing gained. Above 32 levels the
 * ladders use the step^2 / 12 form, which costs O(1); the exact form decides among the minima that they find. */
#include "core/calibrate/mse.h"

#include <float.h>
#include <math.h>

#include "core/calibrate/mse_score.h"

enum {
    FEW_LEVELS = 32,   /* every zero point exactly */
    ZERO_POINTS = 256, /* ladders at most; more zero points are found by halving the stride */
    MAX_OCTAVES = 24,  /* of the ladder */
    MAX_STEPS = 16 * MAX_OCTAVES,
    SECTIONS = 16,
    SCAN = 24,      /* scales tried first, where many levels make many shallow minima */
    NEIGHBOURS = 2, /* zero points on either side, for few samples and many levels */
    MINIMA = 6,     /* that are refined */
    POLISH = 12,    /* Lloyd steps at most */
};

typedef struct search {
    const ql_distribution *d;
    const ql_grid *grid;
    ql_levels levels; /* for the zero point at hand */
    double best;      /* least error so far */
    float scale;
    int32_t zero_point;
} search;

typedef double (*scorer)(const ql_distribution *d, const ql_levels *levels, double scale);

static void set_zero_point(search *s, int32_t zero_point)
{
    if (!s->levels.entries)
        s->levels.first = (double)s->grid->qmin - zero_point;
}

/* A local minimum that the ladders found. */
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

/* 2^(-i / 16) */
static const double sixteenths[16] = {
    1.0,
    0.9576032806985737,
    0.9170040432046712,
    0.8781260801866497,
    0.8408964152537145,
    0.805245165974627,
    0.7711054127039704,
    0.7384130729697497,
    0.7071067811865476,
    0.6771277734684463,
    0.6484197773255048,
    0.620928906036742,
    0.5946035575013605,
    0.5693943173783458,
    0.5452538663326288,
    0.5221368912137069,
};

/* The ladder's local minima at this zero point, from `top` downwards; stride 1 or 2 of its sixteen steps an octave. */
static void climb_down(const search *s, scorer score, double top, int32_t zero_point, int stride, minima *m)
{
    const scorer clipped = ql_is_few(s->d) ? ql_few_clipped : ql_clipped_error;
    double error[MAX_STEPS], scale[MAX_STEPS];
    int count = 0;
    float before = 0;
    for (int i = 0; i < MAX_STEPS; i += stride) {
        const double wanted = ldexp(sixteenths[i % 16], -(i / 16)) * top;
        float rounded = ql_scale_at_least((float)wanted, s->grid->scale_type); /* from that of minmax on */
        if (i > 0 || rounded > FLT_MAX)
            rounded = ql_nearest_scale(wanted, s->grid->scale_type);
        if (rounded == before)
            continue;
        before = rounded;
        scale[count] = rounded;
        error[count] = score(s->d, &s->levels, rounded);
        count++;
        const double least = m->count ? m->best[0].error : INFINITY;
        const double bound = least < error[count - 1] ? least : error[count - 1];
        if (clipped(s->d, &s->levels, rounded) > bound)
            break;
    }
    for (int i = 0; i < count; i++) {
        if ((i == 0 || error[i] < error[i - 1]) && (i == count - 1 || error[i] <= error[i + 1]))
            keep(m, (minimum){error[i], scale[i], zero_point});
    }
}

static void consider(search *s, scorer score, double scale, int32_t zero_point)
{
    const float rounded = ql_nearest_scale(scale, s->grid->scale_type);
    const double error = score(s->d, &s->levels, rounded);
    if (error < s->best) {
        s->best = error;
        s->scale = rounded;
        s->zero_point = zero_point;
    }
}

/* Golden sections of [left, right]. */
static void narrow_down(search *s, scorer score, double left, double right, int32_t zero_point)
{
    const double golden = 0.6180339887498949;
    double a = right - golden * (right - left), b = left + golden * (right - left);
    double error_a = score(s->d, &s->levels, a), error_b = score(s->d, &s->levels, b);
    for (int i = 0; i < SECTIONS; i++) {
        if (error_a < error_b) {
            right = b;
            b = a;
            error_b = error_a;
            a = right - golden * (right - left);
            error_a = score(s->d, &s->levels, a);
        } else {
            left = a;
            a = b;
            error_a = error_b;
            b = left + golden * (right - left);
            error_b = score(s->d, &s->levels, b);
        }
    }
    consider(s, score, error_a < error_b ? a : b, zero_point);
}

static void refine(search *s, scorer score, minimum from, double ratio)
{
    set_zero_point(s, from.zero_point);
    consider(s, score, from.scale, from.zero_point);
    if (s->grid->scale_type == QL_SCALE_E8M0)
        return;
    double left = from.scale * ratio, right = from.scale / ratio;
    if (s->levels.count > FEW_LEVELS && score == ql_squared_error) {
        const double step = (right - left) / SCAN;
        double best = from.scale, least = score(s->d, &s->levels, best);
        for (int i = 1; i < SCAN; i++) {
            const double error = score(s->d, &s->levels, left + i * step);
            if (error < least) {
                least = error;
                best = left + i * step;
            }
        }
        left = best - step;
        right = best + step;
    }
    narrow_down(s, score, left, right, from.zero_point);
}

/* Few samples: to a scale that is the best one for what it rounds to. */
static void refine_few(search *s, minimum from)
{
    set_zero_point(s, from.zero_point);
    double scale = from.scale;
    for (int i = 0; i < POLISH && s->grid->scale_type != QL_SCALE_E8M0; i++) {
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
    for (int i = 0; i < POLISH; i++) {
        const float before = s->scale;
        consider(s, ql_squared_error, ql_fitted_scale(s->d, &s->levels, s->scale), s->zero_point);
        if (s->scale == before)
            break;
    }
}

/* Far from too many zero points: the coarse best one's neighbours at half the stride, and so on down to 1. */
static void halve_stride(search *s, minima *m, int32_t stride, int32_t from, int32_t to, double ratio)
{
    s->best = INFINITY;
    refine(s, ql_fine_score, m->best[0], ratio);
    for (stride /= 2; stride > 0; stride /= 2) {
        const int32_t middle = s->zero_point;
        for (int side = -1; side <= 1; side += 2) {
            const int32_t z = middle + side * stride;
            if (z >= from && z <= to)
                refine(s, ql_fine_score, (minimum){.scale = s->scale, .zero_point = z}, ratio);
        }
    }
    m->count = 0;
    keep(m, (minimum){s->best, s->scale, s->zero_point});
}

static void search_zero_points(search *s, double top, int32_t natural, int32_t from, int32_t to)
{
    const bool has_few = ql_is_few(s->d), is_coarse = s->levels.count > FEW_LEVELS && from < to && !has_few;
    const scorer score = is_coarse                             ? ql_fine_score
                         : !has_few                            ? ql_squared_error
                         : s->grid->scale_type == QL_SCALE_F32 ? ql_fitted_score
                                                               : ql_few_score;
    const int step = s->levels.count > FEW_LEVELS || (has_few && s->levels.count <= 4) ? 2 : 1;
    const double ratio = sixteenths[step];
    if (has_few && s->levels.count > FEW_LEVELS) { /* neighbours differ by chance alone: a few throws are enough */
        from = from < natural - NEIGHBOURS ? natural - NEIGHBOURS : from;
        to = to > natural + NEIGHBOURS ? natural + NEIGHBOURS : to;
    }
    const int32_t stride = (to - from) / ZERO_POINTS + 1;
    minima coarse = {0}, exact = {0};
    for (int32_t away = 0; natural - away >= from || natural + away <= to; away += stride) {
        for (int side = -1; side <= (away ? 1 : -1); side += 2) {
            const int32_t z = natural + side * away;
            if (z < from || z > to)
                continue;
            set_zero_point(s, z);
            climb_down(s, score, top, z, step, &coarse);
        }
    }
    if (stride > 1)
        halve_stride(s, &coarse, stride, from, to, ratio);
    if (is_coarse) { /* min-max may be exactly right for values that stand on a grid themselves */
        set_zero_point(s, natural);
        climb_down(s, ql_squared_error, top, natural, step, &exact);
    }
    s->best = INFINITY;
    if (has_few) {
        for (size_t i = 0; i < coarse.count; i++)
            refine_few(s, coarse.best[i]);
        return;
    }
    for (size_t i = 0; i < coarse.count; i++)
        refine(s, ql_squared_error, coarse.best[i], ratio);
    for (size_t i = 0; i < exact.count; i++)
        refine(s, ql_squared_error, exact.best[i], ratio);
    polish(s);
}

void ql_mse_range(const ql_distribution *d, const ql_grid *grid, const ql_levels *codebook, float *low, float *high)
{
    search s = {.d = d, .grid = grid, .best = INFINITY};
    const double least = ql_distribution_x(d, d->least), greatest = ql_distribution_x(d, d->greatest);
    int32_t natural;
    /* The scale itself is searched for in the grid's type; the widest one only says where to begin. */
    const ql_grid plain = {.qmin = grid->qmin,
                           .qmax = grid->qmax,
                           .symmetric = grid->symmetric,
                           .codebook = grid->codebook,
                           .entries = grid->entries};
    (void)ql_range_scale((float)least, (float)greatest, &plain, &s.scale, &natural);
    s.zero_point = natural;
    if (codebook)
        s.levels = *codebook;
    else
        s.levels.count = (size_t)(grid->qmax - grid->qmin) + 1;
    int32_t from = natural, to = natural;
    if (!grid->symmetric && !codebook && least < 0 && greatest > 0) {
        from = grid->qmin;
        to = grid->qmax;
    }
    /* Coarse grids, and those of floating codes, can gain by reaching further than min-max. */
    const double beyond = codebook || s.levels.count <= FEW_LEVELS ? 2 : 1 / sixteenths[4];
    const double top = s.scale < FLT_MAX / 2 ? beyond * s.scale : s.scale;
    search_zero_points(&s, top, natural, from, to);
    ql_scale_range(s.scale, s.zero_point, grid, low, high);
}
