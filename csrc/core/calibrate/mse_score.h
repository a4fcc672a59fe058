/* Squared error of rounding to ascending levels times a scale, in squares of the distribution's unit. */
#ifndef QL_MSE_SCORE_H
#define QL_MSE_SCORE_H

#include "core/calibrate/distribution.h"
#include "core/calibrate/range.h"

/* Squared error: exact where steps are not too fine for that, else with step^2 / 12 inside; the second always so. */
double ql_squared_error(const ql_distribution *d, const ql_levels *l, double scale);
double ql_fine_score(const ql_distribution *d, const ql_levels *l, double scale);

/* Error of all values beyond the outermost levels: a lower bound of the squared error at this and any smaller scale. */
double ql_clipped_error(const ql_distribution *d, const ql_levels *l, double scale);

/* Best scale while every value keeps its level: sum of level x / sum of level^2; 0 if all levels in use are 0. */
double ql_fitted_scale(const ql_distribution *d, const ql_levels *l, double scale);

/* Returns whether these are samples of weight 1, and few enough to be rounded one by one. The functions below are for
 * such samples, in squares of their own unit. */
bool ql_is_few(const ql_distribution *d);

/* Sums of l x and of l^2 where each x rounds to level l. The error is sum x^2 - 2 s product + s^2 square at any scale s
 * that rounds alike, least at s = product / square. */
typedef struct ql_fit {
    double product, square;
} ql_fit;

ql_fit ql_fit_samples(const ql_distribution *d, const ql_levels *l, double scale);

/* Error at this scale, and at the best scale for what rounds as at this one. */
double ql_few_score(const ql_distribution *d, const ql_levels *l, double scale);
double ql_fitted_score(const ql_distribution *d, const ql_levels *l, double scale);

/* Error of all values beyond the outermost levels. */
double ql_few_clipped(const ql_distribution *d, const ql_levels *l, double scale);

#endif
