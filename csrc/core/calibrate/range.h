/* Grids: their levels, and how ranges and scales belong together. */
#ifndef QL_RANGE_H
#define QL_RANGE_H

#include "qlite.h"

/* Levels of a grid: the values that its codes stand for, in units of the scale, ascending. They are first, first + 1,
 * ... or the entries of a codebook. */
typedef struct ql_levels {
    size_t count;
    double first;
    const double *entries; /* NULL: uniform */
} ql_levels;

/* Sorts the finite entries, each once; returns how many there are. */
size_t ql_sorted_entries(const float *codebook, size_t entries, double *sorted);

/* Returns the type's scale that is nearest to this one. */
float ql_nearest_scale(double scale, ql_scale_type type);

/* Returns the type's least scale that is not below this one. Where there is none: infinity, or for float32 its greatest
 * number. */
float ql_scale_at_least(float scale, ql_scale_type type);

/* Finds the range of which ql_range_scale makes this scale again: to within two float32 roundings, or exactly for the
 * shorter types. */
void ql_scale_range(float scale, int32_t zero_point, const ql_grid *grid, float *low, float *high);

bool ql_grid_is_valid(const ql_grid *grid);

/* Does ql_ranges_qparams for one range, whose ends are finite and in order, and a valid grid. */
ql_status ql_range_scale(float low, float high, const ql_grid *grid, float *scale, int32_t *zero_point);

#endif
