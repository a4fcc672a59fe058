/* The squared error of rounding to ascending levels times a scale, in squares of the distribution's unit. */
#ifndef QL_MSE_SCORE_H
#define QL_MSE_SCORE_H

#include "core/calibrate/distribution.h"
#include "core/calibrate/range.h"

/* The error: exactly, or as step^2 / 12 inside where steps are too fine for that; and always as step^2 / 12. */
double ql_squared_error(const ql_distribution *d, const ql_levels *l, double scale);
double ql_fine_score(const ql_distribution *d, const ql_levels *l, double scale);

/* What lies beyond the outermost levels costs at least this, whatever stands between. */
double ql_clipped_error(const ql_distribution *d, const ql_levels *l, double scale);

/* The best scale while every value keeps its level: sum of level x / sum of level^2; 0 if all levels in use are 0. */
double ql_fitted_scale(const ql_distribution *d, const ql_levels *l, double scale);

/* Samples of weight 1, and few enough to be rounded one by one. What follows is for these, in squares of
 * their own unit. */
bool ql_is_few(const ql_distribution *d);

/* With x rounded to level l at this scale: sum of l x and of l^2. The error is then sum x^2 - 2 s product + s^2 square
 * at any scale s that rounds alike, least at s = product / square. */
typedef struct ql_fit {
    double product, square;
} ql_fit;

ql_fit ql_fit_samples(const ql_distribution *d, const ql_levels *l, double scale);

/* The error at this scale, and at the best scale that rounds as this one does. */
double ql_few_score(const ql_distribution *d, const ql_levels *l, double scale);
double ql_fitted_score(const ql_distribution *d, const ql_levels *l, double scale);

/* What lies beyond the outermost levels. */
double ql_few_clipped(const ql_distribution *d, const ql_levels *l, double scale);

#endif
