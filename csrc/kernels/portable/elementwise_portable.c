/* Quantize, dequantize, fake-quantize: the specification, one value at a time.
 *
 * Clamping comes before the conversion to an integer, in float, where the ends are exact: no value is out of an
 * integer's range when it is converted. The order of the two comparisons sends NaN to the lower end, so NaN is
 * decided before them. */
#include <math.h>

#include "kernels/portable/portable.h"

static int32_t quantized(float x, float scale, int32_t zero_point, int32_t qmin, int32_t qmax)
{
    float low = (float)(qmin - zero_point), high = (float)(qmax - zero_point);
    float r = rintf(x / scale);
    if (isnan(r))
        return 0;
    r = r > low ? r : low;
    r = r < high ? r : high;
    return (int32_t)r;
}

bool QL_KERNEL(ql_quantize_f32_x8)(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                   size_t group, int32_t qmin, int32_t qmax, uint8_t *codes)
{
    bool nonfinite = false;
    for (size_t i = 0; i < n; i++) {
        int32_t z = zero_point[i / group];
        codes[i] = (uint8_t)(quantized(x[i], scale[i / group], z, qmin, qmax) + z);
        nonfinite |= !isfinite(x[i]);
    }
    return nonfinite;
}

void QL_KERNEL(ql_dequantize_x8_f32)(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                     const int32_t *zero_point, size_t group, float *x)
{
    for (size_t i = 0; i < n; i++) {
        int32_t code = is_signed ? (int8_t)codes[i] : codes[i];
        x[i] = (float)(code - zero_point[i / group]) * scale[i / group];
    }
}

bool QL_KERNEL(ql_fake_quantize_f32)(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                     size_t group, int32_t qmin, int32_t qmax, float *y)
{
    bool nonfinite = false;
    for (size_t i = 0; i < n; i++) {
        nonfinite |= !isfinite(x[i]);
        y[i] = (float)quantized(x[i], scale[i / group], zero_point[i / group], qmin, qmax) * scale[i / group];
    }
    return nonfinite;
}

bool QL_KERNEL(ql_quantize_rows_f32_x8)(const float *x, size_t rows, size_t n, const float *scale,
                                        const int32_t *zero_point, int32_t qmin, int32_t qmax, uint8_t *codes)
{
    bool nonfinite = false;
    for (size_t i = 0; i < rows; i++)
        nonfinite |= QL_KERNEL(ql_quantize_f32_x8)(x + i * n, n, scale, zero_point, 1, qmin, qmax, codes + i * n);
    return nonfinite;
}

bool QL_KERNEL(ql_fake_quantize_rows_f32)(const float *x, size_t rows, size_t n, const float *scale,
                                          const int32_t *zero_point, int32_t qmin, int32_t qmax, float *y)
{
    bool nonfinite = false;
    for (size_t i = 0; i < rows; i++)
        nonfinite |= QL_KERNEL(ql_fake_quantize_f32)(x + i * n, n, scale, zero_point, 1, qmin, qmax, y + i * n);
    return nonfinite;
}
