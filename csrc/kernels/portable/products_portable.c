/* Products channel by channel, one fused multiply-add each: fmaf() rounds once on every CPU, in hardware or in
 * software. */
#include <math.h>

#include "kernels/portable/portable.h"

enum { BLOCK = 32 };

void QL_KERNEL(ql_add_products_f32)(const float *x, size_t x_step, const float *w, size_t n, size_t channels, float *y,
                                    size_t y_step)
{
    for (size_t i = 0; i < n; i++) {
        const float *restrict from = x + i * x_step;
        float *restrict to = y + i * y_step;
        for (size_t c = 0; c < channels; c++)
            to[c] = fmaf(from[c], w[c], to[c]);
    }
}

void QL_KERNEL(ql_add_bias_f32)(const float *x, size_t x_stride, size_t rows, size_t cols, const float *bias, float low,
                                float high, float *y, size_t y_stride)
{
    for (size_t i = 0; i < rows; i++) {
        const float *restrict from = x + i * x_stride;
        float *restrict to = y + i * y_stride;
        for (size_t j = 0; j < cols; j++) {
            float v = from[j] + bias[j];
            v = v < low ? low : v;
            to[j] = v > high ? high : v;
        }
    }
}

static inline void add_dots(const float *x, size_t x_step, const float *y, size_t y_step, size_t n, size_t width,
                            float *restrict sums)
{
    float sum[BLOCK];
    for (size_t c = 0; c < width; c++)
        sum[c] = sums[c];
    for (size_t i = 0; i < n; i++, x += x_step, y += y_step) {
#pragma GCC unroll 1
        for (size_t c = 0; c < width; c++)
            sum[c] = fmaf(x[c], y[c], sum[c]);
    }
    for (size_t c = 0; c < width; c++)
        sums[c] = sum[c];
}

void QL_KERNEL(ql_add_dots_f32)(const float *x, size_t x_step, const float *y, size_t n, size_t channels, float *sums)
{
    size_t c = 0;
    for (; c + BLOCK <= channels; c += BLOCK)
        add_dots(x + c, x_step, y + c, channels, n, BLOCK, sums + c);
    for (; c + 8 <= channels; c += 8)
        add_dots(x + c, x_step, y + c, channels, n, 8, sums + c);
    for (; c < channels; c++)
        add_dots(x + c, x_step, y + c, channels, n, 1, sums + c);
}
