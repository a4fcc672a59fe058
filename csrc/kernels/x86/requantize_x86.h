/* Tiles of int32 sums, a vector of columns at a time, whose parameters are loaded once for all rows. */
#include "kernels/x86/curve_x86.h"
#include "kernels/x86/fixed_point_x86.h"

void QL_KERNEL(ql_requantize_s32_x8)(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                     const float *multiplier, int32_t zero_point, int32_t qmin, int32_t qmax,
                                     uint8_t *codes, size_t codes_stride)
{
    const floats low = set_f32((float)(qmin - zero_point)), high = set_f32((float)(qmax - zero_point));
    const ints z = set_s32(zero_point);
    for (size_t j = 0; j < cols; j += LANES) {
        const size_t left = cols - j;
        const floats m = load_first_f32(multiplier + j, left);
        for (size_t i = 0; i < rows; i++) {
            floats r = to_f32(load_first_s32(acc + i * acc_stride + j, left)) * m;
            r = min_f32(max_f32(r, low), high);
            store_first_u8(codes + i * codes_stride + j, left, add_s32(to_s32(r), z));
        }
    }
}

/* The codes of curves: of a tile of a panel mostly, whose columns fill a vector or two. */
static inline __attribute__((always_inline)) void curve_tile(const int32_t *acc, size_t acc_stride, size_t rows,
                                                             size_t cols, const ql_epilogue *e, size_t first,
                                                             uint8_t *codes, size_t codes_stride, ql_curve curve)
{
    const floats low = set_f32((float)(e->qmin - e->zero_point)), high = set_f32((float)(e->qmax - e->zero_point));
    const floats factor = set_f32(e->factor);
    const ints z = set_s32(e->zero_point);
    for (size_t j = 0; j < cols; j += LANES) {
        const size_t left = cols - j;
        const floats multiplier = load_first_f32(e->multiplier + first + j, left);
        const floats below = curve == QL_CURVE_PRELU ? load_first_f32(e->below + first + j, left) : multiplier;
        for (size_t i = 0; i < rows; i++) {
            const ints sums = load_first_s32(acc + i * acc_stride + j, left);
            const floats r = min_f32(max_f32(curved(sums, multiplier, below, factor, curve), low), high);
            store_first_u8(codes + i * codes_stride + j, left, add_s32(to_s32(r), z));
        }
    }
}

void QL_KERNEL(ql_curve_s32_x8)(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                const ql_epilogue *epilogue, size_t first, uint8_t *codes, size_t codes_stride)
{
    switch (epilogue->curve) {
    case QL_CURVE_PRELU:
        curve_tile(acc, acc_stride, rows, cols, epilogue, first, codes, codes_stride, QL_CURVE_PRELU);
        break;
    case QL_CURVE_HARD_SWISH:
        curve_tile(acc, acc_stride, rows, cols, epilogue, first, codes, codes_stride, QL_CURVE_HARD_SWISH);
        break;
    default:
        curve_tile(acc, acc_stride, rows, cols, epilogue, first, codes, codes_stride, QL_CURVE_HARD_SIGMOID);
    }
}

/* A vector of columns by any exponents. Sums that a shift to the left would carry beyond int32 are clamped first. */
static inline void requantize_any(const int32_t *acc, size_t acc_stride, size_t rows, size_t left, ints q, ints e,
                                  ints z, ints low, ints high, uint8_t *codes, size_t codes_stride)
{
    const ints zero = set_s32(0), up = max_s32(e, zero), down = max_s32(sub_s32(zero, e), zero);
    const ints mask = sub_s32(shift_left_each_32(set_s32(1), down), set_s32(1)), odd_q = shift_right_64(q, 32);
    const ints most = shift_right_each_s32(set_s32(INT32_MAX), up), least = sub_s32(set_s32(-1), most);
    for (size_t i = 0; i < rows; i++) {
        ints v = min_s32(max_s32(load_first_s32(acc + i * acc_stride, left), least), most);
        v = shift_left_each_32(v, up);
        v = rounding_shift_right(doubling_high_multiply(v, q, odd_q), down, mask);
        store_first_u8(codes + i * codes_stride, left, add_s32(min_s32(max_s32(v, low), high), z));
    }
}

/* The same if every exponent is in [-22, 0], as nearly all are: clamped before the shift instead of after it, the
 * product leaves room to add half a step and the zero point in one go. */
static inline __attribute__((always_inline)) void requantize_down(const int32_t *acc, size_t acc_stride, size_t rows,
                                                                  size_t left, ints q, ints e, ints z, ints low,
                                                                  ints high, uint8_t *codes, size_t codes_stride)
{
    const ints one = set_s32(1), n = sub_s32(set_s32(0), e);
    const ints half = shift_right_32(shift_left_each_32(one, n), 1), odd_q = shift_right_64(q, 32);
    const ints up = add_s32(half, shift_left_each_32(z, n)), down = sub_s32(up, min_s32(half, one));
    low = shift_left_each_32(low, n), high = shift_left_each_32(high, n);
    for (size_t i = 0; i < rows; i++) {
        ints v = doubling_high_multiply(load_first_s32(acc + i * acc_stride, left), q, odd_q);
        v = min_s32(max_s32(v, low), high);
        v = add_s32(v, where_s32(negative_lanes(v), down, up));
        store_first_u8(codes + i * codes_stride, left, shift_right_each_s32(v, n));
    }
}

void QL_KERNEL(ql_requantize_fixed_s32_x8)(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                           const int32_t *mantissa, const int32_t *exponent, int32_t zero_point,
                                           int32_t qmin, int32_t qmax, uint8_t *codes, size_t codes_stride)
{
    const ints z = set_s32(zero_point), low = set_s32(qmin - zero_point), high = set_s32(qmax - zero_point);
    for (size_t j = 0; j < cols; j += LANES) {
        const size_t left = cols - j;
        const ints q = load_first_s32(mantissa + j, left), e = load_first_s32(exponent + j, left);
        if (any_above_u32(add_s32(e, set_s32(22)), 22))
            requantize_any(acc + j, acc_stride, rows, left, q, e, z, low, high, codes + j, codes_stride);
        else if (left >= LANES)
            requantize_down(acc + j, acc_stride, rows, LANES, q, e, z, low, high, codes + j, codes_stride);
        else
            requantize_down(acc + j, acc_stride, rows, left, q, e, z, low, high, codes + j, codes_stride);
    }
}

void QL_KERNEL(ql_scale_s32_f32)(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                 const float *row_scale, const float *scale, const float *offset, float low, float high,
                                 float *y, size_t y_stride)
{
    const floats least = set_f32(low), greatest = set_f32(high);
    for (size_t j = 0; j < cols; j += LANES) {
        const size_t left = cols - j;
        const floats s = load_first_f32(scale + j, left), o = load_first_f32(offset + j, left);
        for (size_t i = 0; i < rows; i++) {
            const floats v = to_f32(load_first_s32(acc + i * acc_stride + j, left)) * set_f32(row_scale[i]) * s + o;
            store_first_f32(y + i * y_stride + j, left, min_f32(greatest, max_f32(least, v)));
        }
    }
}

void QL_KERNEL(ql_add_residual_u8_s32)(int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                       const ql_residual *residual, size_t codes_stride)
{
    const uint8_t *codes = residual->codes;
    for (size_t j = 0; j < cols; j += LANES) {
        const size_t left = cols - j;
        const ints factor = load_first_s32(residual->factor + j, left);
        const ints shift = load_first_s32(residual->shift + j, left);
        for (size_t i = 0; i < rows; i++) {
            const ints own = load_first_u8(codes + i * codes_stride + j, left);
            int32_t *p = acc + i * acc_stride + j;
            store_first_s32(p, left, add_s32(load_first_s32(p, left), residual_terms(own, factor, shift)));
        }
    }
}

void QL_KERNEL(ql_add_outer_s32)(int32_t *acc, size_t acc_stride, size_t rows, size_t cols, const int32_t *row,
                                 const int32_t *col)
{
    for (size_t j = 0; j < cols; j += LANES) {
        const size_t left = cols - j;
        const ints c = load_first_s32(col + j, left);
        for (size_t i = 0; i < rows; i++) {
            int32_t *p = acc + i * acc_stride + j;
            store_first_s32(p, left, add_s32(load_first_s32(p, left), mul_s32(set_s32(row[i]), c)));
        }
    }
}
