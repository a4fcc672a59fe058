/* What calibration asks of data: extremes, moments, slots of histograms. */
#include <float.h>
#include <math.h>

#include "harness.h"

static results minmax(const ql_kernels *kernels, size_t n, size_t group)
{
    static const float scale[] = {1.0f};
    const size_t count = parameter_count(n, group);
    float *x = any_values(2, n, scale, n + 1);
    float *ends = array(RESULT, 2 * count * sizeof *ends), *min = ends, *max = min + count;
    for (size_t i = 0; i < n && bits() % 2; i++)
        x[i] = fabsf(x[i]) < FLT_MAX ? x[i] : 1.0f;
    for (size_t i = 0; i < count; i++) {
        min[i] = INFINITY;
        max[i] = -INFINITY;
    }
    bool has_nan = kernels->minmax_f32(x, n, group, min, max);
    for (size_t i = 0; i < 2 * count; i++)
        ends[i] += 0.0f; /* the sign of a zero is not defined */
    return floats(ends, 2 * count, has_nan);
}

static results minmax_rows(const ql_kernels *kernels, size_t n, size_t rows)
{
    static const float scale[] = {1.0f};
    float *x = any_values(2, rows * n, scale, rows * n + 1);
    float *ends = array(RESULT, 2 * n * sizeof *ends), *min = ends, *max = min + n;
    for (size_t i = 0; i < rows * n && bits() % 2; i++)
        x[i] = fabsf(x[i]) < FLT_MAX ? x[i] : 1.0f;
    for (size_t j = 0; j < n; j++) {
        min[j] = j % 3 ? INFINITY : -2.0f;
        max[j] = j % 3 ? -INFINITY : 2.0f;
    }
    bool has_nan = kernels->minmax_rows_f32(x, rows, n, min, max);
    for (size_t j = 0; j < 2 * n; j++)
        ends[j] += 0.0f; /* the sign of a zero is not defined */
    return floats(ends, 2 * n, has_nan);
}

static results moments(const ql_kernels *kernels, size_t n, size_t group)
{
    static const float scale[] = {1.0f};
    const size_t count = parameter_count(n, group);
    float *x = any_values(2, n, scale, n + 1);
    double *sums = array(RESULT, 3 * count * sizeof *sums);
    for (size_t i = 0; i < n; i++)
        x[i] = fabsf(x[i]) <= FLT_MAX ? x[i] : 1.0f; /* which NaN comes of two is not defined */
    for (size_t i = 0; i < 3 * count; i++)
        sums[i] = (double)i;
    kernels->add_moments_f32(x, n, group, sums, sums + count, sums + 2 * count);
    return (results){sums, 3 * count * sizeof *sums, false};
}

static results histogram_slots(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t count = parameter_count(n, group);
    float *inverse_width = array(0, count * sizeof *inverse_width), *scale = array(1, count * sizeof *scale);
    int32_t *origin = array(2, count * sizeof *origin);
    uint32_t bins = 128u << bits() % 10, *slots = array(RESULT, n * sizeof *slots);
    for (size_t i = 0; i < count; i++) {
        int32_t exponent = between(-120, 120);
        inverse_width[i] = ldexpf(1.0f, exponent);
        scale[i] = ldexpf(1.0f, -exponent);
        origin[i] = bits() % 8 ? between(-(int32_t)bins, 0) : between(-(1 << 24), 1 << 24);
    }
    float *x = any_values(3, n, scale, group);
    kernels->histogram_slots_f32(x, n, inverse_width, origin, group, bins, slots);
    return (results){slots, n * sizeof *slots, false};
}

const subject calibrate_subjects[] = {
    {"minmax_f32", minmax},
    {"minmax_rows_f32", minmax_rows},
    {"add_moments_f32", moments},
    {"histogram_slots_f32", histogram_slots},
    {0},
};
