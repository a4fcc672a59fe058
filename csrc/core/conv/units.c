/* Convolutions with few results for a pixel. A tile's columns would stand idle, so neighbouring pixels become one unit:
 * its windows together are one wider window, and the weights of each pixel have zeros where the others' windows are.
 *
 *     pixel 0   w0 w1 w2  0  0
 *     pixel 1    0 w0 w1 w2  0
 *     pixel 2    0  0 w0 w1 w2
 *
 * A map of 256 x 256 pixels from 8 channels by 3 x 3 windows takes 0.3 ms instead of 1.1 (AVX2, Zen 3). */
#include <string.h>

#include "core/conv/conv.h"

/* About what a tile costs beside its products, as products of so many elements of depth. */
enum { FINISHING = 24 };

/* About what a pixel costs, in columns by elements of depth. */
static double cost_of_pixel(const ql_gemm_kernels *gemm, const size_t shape[4], size_t stride, size_t unit)
{
    const size_t columns = unit * shape[3], width = shape[1] + (unit - 1) * stride;
    const size_t lanes = gemm->half_ukernel && columns <= gemm->nr / 2 ? gemm->nr / 2 : gemm->nr;
    const size_t depth = shape[0] * ql_round_up(width * shape[2], gemm->kr) + FINISHING;
    return (double)(lanes * depth) / (double)unit;
}

size_t ql_unit_of(const ql_gemm_kernels *gemm, const size_t shape[4], const ql_window *window)
{
    size_t best = 1;
    for (size_t unit = 2; unit * shape[3] <= gemm->nr; unit++) {
        if (window->out[1] % unit == 0 && window->stride[1] <= shape[1] &&
            cost_of_pixel(gemm, shape, window->stride[1], unit) < cost_of_pixel(gemm, shape, window->stride[1], best))
            best = unit;
    }
    return best;
}

/* Fills in codes that stand for 0, then each pixel's weights, a row of its windows at a time. */
static void spread(const uint8_t *w, const size_t shape[4], const int32_t *zero_point, size_t stride, size_t unit,
                   uint8_t *to)
{
    const size_t out = shape[3], columns = unit * out, taps = shape[1] * shape[2];
    const size_t wide_taps = (shape[1] + (unit - 1) * stride) * shape[2];
    for (size_t i = 0; i < shape[0] * wide_taps; i++) {
        for (size_t j = 0; j < columns; j++)
            to[i * columns + j] = zero_point ? (uint8_t)zero_point[j] : 0;
    }
    for (size_t u = 0; u < shape[0]; u++) {
        for (size_t pixel = 0; pixel < unit; pixel++) {
            uint8_t *first = to + (u * wide_taps + pixel * stride * shape[2]) * columns + pixel * out;
            for (size_t i = 0; i < taps; i++)
                memcpy(first + i * columns, w + (u * taps + i) * out, out);
        }
    }
}

void ql_repeat_s32(const int32_t *values, size_t n, size_t times, int32_t *repeated)
{
    for (size_t i = 0; i < times; i++)
        memcpy(repeated + i * n, values, n * sizeof *values);
}

ql_status ql_filter_pack_unit(const uint8_t *w, bool is_signed, const size_t shape[4], const int32_t *zero_point,
                              size_t stride, size_t unit, ql_filter **filter)
{
    const size_t wide[4] = {shape[0], shape[1] + (unit - 1) * stride, shape[2], unit * shape[3]};
    uint8_t *codes = ql_alloc(wide[0] * wide[1] * wide[2], wide[3]);
    int32_t *zero_points = ql_alloc(wide[3], sizeof *zero_points);
    ql_status status = QL_ENOMEM;
    if (codes && zero_points) {
        if (zero_point)
            ql_repeat_s32(zero_point, shape[3], unit, zero_points);
        spread(w, shape, zero_point ? zero_points : NULL, stride, unit, codes);
        status = ql_filter_pack(codes, is_signed, wide, zero_point ? zero_points : NULL, 1, false, filter);
    }
    free(codes);
    free(zero_points);
    return status;
}
