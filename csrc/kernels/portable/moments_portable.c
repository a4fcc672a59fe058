/* Sums of values, of their squares and of their magnitudes: eight partial sums fill the widest vectors, and the order
 * in which they are added up is the same for all. */
#include <math.h>

#include "kernels/portable/portable.h"

enum { LANES = 8 };

static inline double folded(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static void add_shared(const float *restrict x, size_t n, double *restrict sum, double *restrict square,
                       double *restrict magnitude)
{
    double sums[LANES] = {0}, squares[LANES] = {0}, magnitudes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            const double v = x[i + lane];
            sums[lane] += v;
            squares[lane] += v * v;
            magnitudes[lane] += fabs(v);
        }
    }
    for (size_t lane = 0; i + lane < n; lane++) {
        const double v = x[i + lane];
        sums[lane] += v;
        squares[lane] += v * v;
        magnitudes[lane] += fabs(v);
    }
    *sum += folded(sums);
    *square += folded(squares);
    *magnitude += folded(magnitudes);
}

static void add_own(const float *restrict x, size_t n, double *restrict sum, double *restrict square,
                    double *restrict magnitude)
{
    for (size_t i = 0; i < n; i++) {
        const double v = x[i];
        sum[i] += v;
        square[i] += v * v;
        magnitude[i] += fabs(v);
    }
}

void QL_KERNEL(ql_add_moments_f32)(const float *x, size_t n, size_t group, double *sum, double *square,
                                   double *magnitude)
{
    if (group == 1) {
        add_own(x, n, sum, square, magnitude);
        return;
    }
    for (size_t i = 0; i < n; i += group)
        add_shared(x + i, n - i < group ? n - i : group, sum++, square++, magnitude++);
}
