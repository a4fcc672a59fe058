/* A row of a depthwise convolution of floats, a pixel and sixteen channels at a time. */
#include <math.h>

#include "kernels/portable/portable.h"

enum { BLOCK = 16 };

static inline void pixel(const ql_depthwise_row *r, const float *x, size_t c, size_t width, float *restrict y)
{
    float sum[BLOCK] = {0};
    for (size_t t = 0; t < r->taps; t++) {
        const float *restrict from = x + r->offset[t], *restrict w = r->w + t * r->channels + c;
#pragma GCC unroll 1
        for (size_t l = 0; l < width; l++)
            sum[l] = fmaf(from[l], w[l], sum[l]);
    }
    for (size_t l = 0; l < width; l++) {
        float v = sum[l] + r->bias[c + l];
        v = v < r->low ? r->low : v;
        y[l] = v > r->high ? r->high : v;
    }
}

void QL_KERNEL(ql_depthwise_row_f32)(const ql_depthwise_row *r)
{
    for (size_t i = 0; i < r->n; i++) {
        const float *x = r->x + i * r->x_step;
        float *y = r->y + i * r->channels;
        size_t c = 0;
        for (; c + BLOCK <= r->channels; c += BLOCK)
            pixel(r, x + c, c, BLOCK, y + c);
        for (; c + 4 <= r->channels; c += 4)
            pixel(r, x + c, c, 4, y + c);
        for (; c < r->channels; c++)
            pixel(r, x + c, c, 1, y + c);
    }
}
