/* What becomes of int32 sums: the two requantization rules, float results, and the zero points' outer products. */
#include <math.h>

#include "kernels/portable/portable.h"

static int32_t clamped(int64_t value, int32_t qmin, int32_t qmax)
{
    return (int32_t)(value < qmin ? qmin : value > qmax ? qmax : value);
}

void QL_KERNEL(ql_requantize_s32_x8)(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                     const float *multiplier, int32_t zero_point, int32_t qmin, int32_t qmax,
                                     uint8_t *codes, size_t codes_stride)
{
    float low = (float)(qmin - zero_point), high = (float)(qmax - zero_point);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            float r = (float)acc[i * acc_stride + j] * multiplier[j];
            r = r > low ? r : low;
            r = r < high ? r : high;
            codes[i * codes_stride + j] = (uint8_t)((int32_t)rintf(r) + zero_point);
        }
    }
}

static inline float clamped_float(float r, float low, float high)
{
    r = r > low ? r : low;
    return r < high ? r : high;
}

void QL_KERNEL(ql_curve_s32_x8)(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                const ql_epilogue *epilogue, size_t first, uint8_t *codes, size_t codes_stride)
{
    const int32_t zero_point = epilogue->zero_point;
    const float low = (float)(epilogue->qmin - zero_point), high = (float)(epilogue->qmax - zero_point);
    const float *multiplier = epilogue->multiplier + first, factor = epilogue->factor;
    const bool is_swish = epilogue->curve == QL_CURVE_HARD_SWISH;
    for (size_t i = 0; i < rows; i++, acc += acc_stride, codes += codes_stride) {
        for (size_t j = 0; j < cols; j++) {
            const float v = (float)acc[j] * multiplier[j];
            float r;
            if (epilogue->curve == QL_CURVE_PRELU) {
                r = acc[j] < 0 ? (float)acc[j] * epilogue->below[first + j] : v;
            } else {
                const float gate = clamped_float(v + 3, 0, 6);
                r = (is_swish ? v * gate : gate) * factor;
            }
            codes[j] = (uint8_t)((int32_t)rintf(clamped_float(r, low, high)) + zero_point);
        }
    }
}

/* The shift to the left saturates: gemmlowp's overflows there, which C leaves undefined. */
static int32_t requantized_fixed(int32_t acc, int32_t mantissa, int32_t exponent)
{
    int left = exponent > 0 ? exponent : 0, right = exponent < 0 ? -exponent : 0;
    int64_t product = (int64_t)clamped(acc * ((int64_t)1 << left), INT32_MIN, INT32_MAX) * mantissa;
    int32_t high = (int32_t)((product + (1 << 30)) >> 31);
    int64_t mask = ((int64_t)1 << right) - 1, remainder = high & mask, threshold = (mask >> 1) + (high < 0);
    return (int32_t)(((int64_t)high >> right) + (remainder > threshold));
}

void QL_KERNEL(ql_requantize_fixed_s32_x8)(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                           const int32_t *mantissa, const int32_t *exponent, int32_t zero_point,
                                           int32_t qmin, int32_t qmax, uint8_t *codes, size_t codes_stride)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            int64_t r = requantized_fixed(acc[i * acc_stride + j], mantissa[j], exponent[j]);
            codes[i * codes_stride + j] = (uint8_t)clamped(r + zero_point, qmin, qmax);
        }
    }
}

void QL_KERNEL(ql_scale_s32_f32)(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                 const float *row_scale, const float *scale, const float *offset, float low, float high,
                                 float *y, size_t y_stride)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            float v = (float)acc[i * acc_stride + j] * row_scale[i];
            v = v * scale[j];
            v = v + offset[j];
            v = v < low ? low : v;
            y[i * y_stride + j] = v > high ? high : v;
        }
    }
}

void QL_KERNEL(ql_add_residual_u8_s32)(int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                       const ql_residual *residual, size_t codes_stride)
{
    const int32_t *factor = residual->factor, *shift = residual->shift;
    for (size_t i = 0; i < rows; i++) {
        const uint8_t *codes = residual->codes + i * codes_stride;
        for (size_t j = 0; j < cols; j++) {
            const uint32_t term = (uint32_t)(codes[j] * factor[j] >> shift[j]);
            acc[i * acc_stride + j] = (int32_t)((uint32_t)acc[i * acc_stride + j] + term);
        }
    }
}

void QL_KERNEL(ql_add_outer_s32)(int32_t *acc, size_t acc_stride, size_t rows, size_t cols, const int32_t *row,
                                 const int32_t *col)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            uint32_t sum = (uint32_t)acc[i * acc_stride + j] + (uint32_t)row[i] * (uint32_t)col[j];
            acc[i * acc_stride + j] = (int32_t)sum;
        }
    }
}
