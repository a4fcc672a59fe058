/* A grid that is to be chosen, and the ranges and scales that belong to it. */
#ifndef QL_GRID_H
#define QL_GRID_H

#include "qlite.h"

/* The values that codes stand for, in units of the scale: `first`, first + 1, ... or the entries of a codebook. */
typedef struct ql_levels {
    size_t count;
    double first;
    const double *entries; /* NULL: equidistant */
} ql_levels;

/* The numbers among the entries, ascending, each once; returns how many. */
size_t ql_sorted_entries(const float *codebook, size_t entries, double *sorted);

/* The representable scale nearest to this one, and the greatest that no value can make overflow. */
float ql_nearest_scale(double scale, ql_scale_type type);

/* The least representable scale that is not below this one; if there is none infinity, but for float32 its greatest. */
float ql_scale_at_least(float scale, ql_scale_type type);

/* low and high of which ql_range_scale makes this scale again (to within two float32 roundings, or exactly for the
 * shorter types). */
void ql_scale_range(float scale, int32_t zero_point, const ql_grid *grid, float *low, float *high);

bool ql_grid_is_valid(const ql_grid *grid);

/* ql_ranges_qparams for one range. */
ql_status ql_range_scale(float low, float high, const ql_grid *grid, float *scale, int32_t *zero_point);

#endif
