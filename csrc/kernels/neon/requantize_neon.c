/* Tiles of int32 sums, eight columns at a time. A column's parameters are loaded once for all rows. The last columns of
 * a row go through a small buffer.
 *
 * Rule B is what the instructions were made for: vqrdmulh is srdhm (it saturates for -2^31 * -2^31 alone, and no
 * mantissa is negative), and vrshl by a negative count is a shift right that rounds half up, which becomes half away
 * from zero by one less for negative sums. */
#include <arm_neon.h>
#include <string.h>

#include "kernels/neon/neon.h"

enum { LANES = 4, BLOCK = 8 };

typedef struct sums {
    int32x4_t low, high;
} sums;

static inline sums load(const int32_t *p, size_t n)
{
    int32_t block[BLOCK] = {0};
    if (n < BLOCK) {
        memcpy(block, p, n * sizeof *p);
        p = block;
    }
    return (sums){vld1q_s32(p), vld1q_s32(p + LANES)};
}

static inline float32x4x2_t load_floats(const float *p, size_t n)
{
    float block[BLOCK] = {0};
    if (n < BLOCK) {
        memcpy(block, p, n * sizeof *p);
        p = block;
    }
    return (float32x4x2_t){{vld1q_f32(p), vld1q_f32(p + LANES)}};
}

static inline void store_bytes(uint8_t *codes, sums v, size_t n)
{
    uint16x8_t pairs = vreinterpretq_u16_s16(vuzp1q_s16(vreinterpretq_s16_s32(v.low), vreinterpretq_s16_s32(v.high)));
    uint8x8_t bytes = vmovn_u16(pairs);
    if (n == BLOCK) {
        vst1_u8(codes, bytes);
        return;
    }
    uint8_t block[BLOCK];
    vst1_u8(block, bytes);
    memcpy(codes, block, n);
}

/* The ends are integers: clamping before the conversion that rounds, half to even, is the same as after it. */
static inline int32x4_t scaled(int32x4_t acc, float32x4_t multiplier, float32x4_t low, float32x4_t high)
{
    float32x4_t r = vmulq_f32(vcvtq_f32_s32(acc), multiplier);
    return vcvtnq_s32_f32(vminq_f32(vmaxq_f32(r, low), high));
}

void ql_requantize_s32_x8__neon(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                const float *multiplier, int32_t zero_point, int32_t qmin, int32_t qmax, uint8_t *codes,
                                size_t codes_stride)
{
    const float32x4_t low = vdupq_n_f32((float)(qmin - zero_point)), high = vdupq_n_f32((float)(qmax - zero_point));
    const int32x4_t z = vdupq_n_s32(zero_point);
    for (size_t j = 0; j < cols; j += BLOCK) {
        size_t n = cols - j < BLOCK ? cols - j : BLOCK;
        float32x4x2_t m = load_floats(multiplier + j, n);
        for (size_t i = 0; i < rows; i++) {
            sums v = load(acc + i * acc_stride + j, n);
            v.low = vaddq_s32(scaled(v.low, m.val[0], low, high), z);
            v.high = vaddq_s32(scaled(v.high, m.val[1], low, high), z);
            store_bytes(codes + i * codes_stride + j, v, n);
        }
    }
}

/* The columns' parameters of rule B: right holds the count of the shift right, negated. */
typedef struct fixed_point {
    int32x4_t mantissa, left, right;
} fixed_point;

static inline fixed_point fixed_point_of(int32x4_t mantissa, int32x4_t exponent)
{
    const int32x4_t zero = vdupq_n_s32(0);
    return (fixed_point){mantissa, vmaxq_s32(exponent, zero), vminq_s32(exponent, zero)};
}

/* Of a negative sum and a shift of at least one, the AND keeps the sign: -1 after the arithmetic shift. */
static inline int32x4_t scaled_fixed(int32x4_t acc, const fixed_point *p, int32x4_t low, int32x4_t high)
{
    int32x4_t v = vqrdmulhq_s32(vqshlq_s32(acc, p->left), p->mantissa);
    v = vqaddq_s32(v, vshrq_n_s32(vandq_s32(v, p->right), 31));
    return vminq_s32(vmaxq_s32(vrshlq_s32(v, p->right), low), high);
}

void ql_requantize_fixed_s32_x8__neon(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                      const int32_t *mantissa, const int32_t *exponent, int32_t zero_point,
                                      int32_t qmin, int32_t qmax, uint8_t *codes, size_t codes_stride)
{
    const int32x4_t low = vdupq_n_s32(qmin - zero_point), high = vdupq_n_s32(qmax - zero_point);
    const int32x4_t z = vdupq_n_s32(zero_point);
    for (size_t j = 0; j < cols; j += BLOCK) {
        size_t n = cols - j < BLOCK ? cols - j : BLOCK;
        sums q = load(mantissa + j, n), e = load(exponent + j, n);
        fixed_point left_half = fixed_point_of(q.low, e.low), right_half = fixed_point_of(q.high, e.high);
        for (size_t i = 0; i < rows; i++) {
            sums v = load(acc + i * acc_stride + j, n);
            v.low = vaddq_s32(scaled_fixed(v.low, &left_half, low, high), z);
            v.high = vaddq_s32(scaled_fixed(v.high, &right_half, low, high), z);
            store_bytes(codes + i * codes_stride + j, v, n);
        }
    }
}
