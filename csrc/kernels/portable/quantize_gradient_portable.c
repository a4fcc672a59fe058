/* What passes back through a grid. Sums go down the columns, so that neighbours fill a vector and the order in which
 * they are added is the same at every width. */
#include <math.h>

#include "kernels/portable/portable.h"

typedef struct passed {
    float gradient, scale_gradient;
} passed;

/* Both results of an element that is t steps from zero. What may trap is computed before the choice: GCC would not
 * vectorize it behind one. */
static inline passed pass(float t, float gradient, float low, float high, bool moves_inside)
{
    const float r = rintf(t), within = moves_inside ? r - t : 0.0f;
    const bool inside = (r >= low) & (r <= high);
    float end = r > low ? r : low;
    end = end < high ? end : high;
    return (passed){inside ? gradient : 0.0f, gradient * (inside ? within : end)};
}

static inline void quantize_row(const float *restrict x, size_t n, const float *restrict scale,
                                const int32_t *restrict zero_point, int32_t qmin, int32_t qmax, bool moves_inside,
                                float *restrict gradient, float *restrict scale_gradient)
{
    for (size_t j = 0; j < n; j++) {
        const float low = (float)(qmin - zero_point[j]), high = (float)(qmax - zero_point[j]);
        const passed p = pass(x[j] / scale[j], gradient[j], low, high, moves_inside);
        gradient[j] = p.gradient;
        scale_gradient[j] += p.scale_gradient;
    }
}

void QL_KERNEL(ql_quantize_gradient_f32)(const float *x, size_t rows, size_t cols, const float *scale,
                                         const int32_t *zero_point, int32_t qmin, int32_t qmax, bool moves_inside,
                                         float *gradient, float *scale_gradient)
{
    for (size_t i = 0; i < rows; i++)
        quantize_row(x + i * cols, cols, scale, zero_point, qmin, qmax, moves_inside, gradient + i * cols,
                     scale_gradient);
}

static inline void requantize_row(const int32_t *restrict sums, size_t n, const float *restrict multiplier,
                                  const ql_steps_range *range, bool moves_inside, float *restrict gradient,
                                  float *restrict column_sum, float *restrict scale_gradient)
{
    const float low = range->low, high = range->high, floor = range->floor, ceiling = range->ceiling;
    for (size_t j = 0; j < n; j++) {
        const float steps = (float)sums[j] * multiplier[j];
        float t = steps > floor ? steps : floor;
        t = t < ceiling ? t : ceiling;
        const passed p = pass(t, gradient[j], low, high, moves_inside);
        const float through = (steps > floor) & (steps < ceiling) ? p.gradient : 0.0f;
        gradient[j] = through;
        column_sum[j] += through;
        scale_gradient[j] += p.scale_gradient;
    }
}

void QL_KERNEL(ql_requantize_gradient_s32)(const int32_t *sums, size_t rows, size_t cols, const float *multiplier,
                                           const ql_steps_range *range, bool moves_inside, float *gradient,
                                           float *column_sum, float *scale_gradient)
{
    for (size_t i = 0; i < rows; i++)
        requantize_row(sums + i * cols, cols, multiplier, range, moves_inside, gradient + i * cols, column_sum,
                       scale_gradient);
}
