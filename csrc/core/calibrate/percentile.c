/* Ranges that cut off a share of the mass: each end moves in until as much lies beyond it as is allowed. */
#include "core/calibrate/percentile.h"

/* Ends of the range that are cut. */
typedef enum ends { BOTH, LOW, HIGH } ends;

/* Returns the mass at or below x, less a constant. */
static double mass_at(const ql_distribution *d, double x)
{
    ql_sums m;
    ql_distribution_at(d, &(double){ql_distribution_u(d, x)}, 1, &m);
    return m.m0;
}

/* Returns the mass that a range which reaches to t >= 0 cuts off. */
static double mass_beyond(const ql_distribution *d, double t, ends which)
{
    const double above = which == LOW ? 0 : d->above.m0 - mass_at(d, t);
    const double below = which == HIGH ? 0 : mass_at(d, -t) - d->below.m0;
    return above + below;
}

/* Returns the least t at which at most `allowed` is cut off, by bisection: finer than float32, to which it is rounded.
 */
static double percentile_end(const ql_distribution *d, double widest, ends which, double allowed)
{
    const double precision = 0x1p-40, nothing = 0x1p-150;
    double inside = nothing, outside = widest;
    if (mass_beyond(d, nothing, which) <= allowed)
        return 0;
    while (outside - inside > precision * outside) {
        const double t = 0.5 * (inside + outside);
        if (mass_beyond(d, t, which) <= allowed)
            outside = t;
        else
            inside = t;
    }
    return outside;
}

/* A codebook has one scale for both ends: cutting at one end alone would be lost on it. */
void ql_percentile_range(const ql_distribution *d, double mass, double percentile, const ql_grid *grid, float *low,
                         float *high)
{
    const double allowed = mass * (100 - percentile) / 100;
    const double least = ql_distribution_x(d, d->least), greatest = ql_distribution_x(d, d->greatest);
    double below = least < 0 ? -least : 0, above = greatest > 0 ? greatest : 0;
    if (grid->symmetric || grid->codebook) {
        const double widest = below > above ? below : above, cut = percentile_end(d, widest, BOTH, allowed);
        const double end = cut > 0 ? cut : widest;
        below = grid->symmetric || end < below ? end : below;
        above = grid->symmetric || end < above ? end : above;
    } else {
        const double cut_below = percentile_end(d, below, LOW, allowed);
        const double cut_above = percentile_end(d, above, HIGH, allowed);
        if (cut_below > 0 || cut_above > 0) {
            below = cut_below;
            above = cut_above;
        }
    }
    *low = (float)(0 - below);
    *high = (float)above;
}
