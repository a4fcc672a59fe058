/* Functions of whole rows of floats: softmax, layer norm. Sums are in double, in eight partial sums, which fill the
 * widest vectors and are added up in one order for all. */
#include <math.h>
#include <string.h>

#include "kernels/exponential.h"
#include "kernels/portable/portable.h"

enum { LANES = 8 };

static inline double folded(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static inline double sum_of(const float *restrict x, size_t n)
{
    double sums[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++)
            sums[lane] += (double)x[i + lane];
    }
    for (size_t lane = 0; i + lane < n; lane++)
        sums[lane] += (double)x[i + lane];
    return folded(sums);
}

static inline double sum_of_squares(const float *restrict x, size_t n, double mean)
{
    double sums[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            const double v = (double)x[i + lane] - mean;
            sums[lane] += v * v;
        }
    }
    for (size_t lane = 0; i + lane < n; lane++) {
        const double v = (double)x[i + lane] - mean;
        sums[lane] += v * v;
    }
    return folded(sums);
}

/* Turns bits of floats into integers of the same order, and back. */
static inline int32_t in_order(int32_t bits)
{
    return bits ^ (bits >> 31 & INT32_MAX);
}

/* Greatest of n values; any of them if one is NaN. Looked for among integers, whose maximum compilers vectorize. */
static inline float greatest(const float *restrict x, size_t n)
{
    int32_t most = INT32_MIN;
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits = in_order(bits);
        most = bits > most ? bits : most;
    }
    most = in_order(most);
    float value;
    memcpy(&value, &most, sizeof value);
    return value;
}

void QL_KERNEL(ql_softmax_f32)(size_t n, float *restrict y)
{
    if (n == 0)
        return;
    const float most = greatest(y, n);
    for (size_t i = 0; i < n; i++)
        y[i] = ql_exp_f32(y[i] - most);
    const float factor = (float)(1 / sum_of(y, n));
    for (size_t i = 0; i < n; i++)
        y[i] *= factor;
}

void QL_KERNEL(ql_layer_norm_f32)(const float *restrict x, size_t n, const float *restrict gamma,
                                  const float *restrict beta, double epsilon, float *restrict y)
{
    const double mean = sum_of(x, n) / (double)n;
    const double factor = 1 / sqrt(sum_of_squares(x, n, mean) / (double)n + epsilon);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(((double)x[i] - mean) * factor) * gamma[i] + beta[i];
}
