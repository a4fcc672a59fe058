/* Sixteen values at a time, four vectors: as many as a vector of codes holds. A tail goes through the same instructions
 * in a small buffer, so that it cannot round differently.
 *
 * The clamps come before the rounding here: the ends are integers, so the order is the same, and vcvtn rounds half to
 * even and converts in one instruction. NaN passes vmax and vmin, and vcvtn makes it 0: the zero point's code. */
#include <arm_neon.h>
#include <float.h>
#include <string.h>

#include "kernels/neon/neon.h"

enum { LANES = 4, VECTORS = 4, BLOCK = LANES * VECTORS };

/* The parameters of a block. */
typedef struct grid {
    float32x4_t scale[VECTORS];
    int32x4_t zero_point[VECTORS];
} grid;

/* step is 1 where every value has its own, and 0 where all share one. */
static inline grid grid_at(const float *scale, const int32_t *zero_point, size_t step)
{
    grid g;
    for (int v = 0; v < VECTORS; v++) {
        g.scale[v] = step ? vld1q_f32(scale + v * LANES) : vdupq_n_f32(*scale);
        g.zero_point[v] = step ? vld1q_s32(zero_point + v * LANES) : vdupq_n_s32(*zero_point);
    }
    return g;
}

/* The same for fewer values than a block. Those past the end divide by 1. */
static inline grid tail_grid(const float *scale, const int32_t *zero_point, size_t step, size_t n)
{
    float scales[BLOCK];
    int32_t zero_points[BLOCK] = {0};
    for (size_t i = 0; i < BLOCK; i++)
        scales[i] = 1.0f;
    for (size_t i = 0; i < n; i++) {
        scales[i] = scale[i * step];
        zero_points[i] = zero_point[i * step];
    }
    return grid_at(scales, zero_points, 1);
}

typedef struct ends {
    int32x4_t qmin, qmax;
} ends;

/* All ones where this value and those before are finite. */
static inline uint32x4_t finite(float32x4_t x, uint32x4_t before)
{
    return vandq_u32(before, vcaleq_f32(x, vdupq_n_f32(FLT_MAX)));
}

/* Vector v of a block, without the zero point. */
static inline int32x4_t quantized(float32x4_t x, const grid *g, int v, ends e)
{
    float32x4_t low = vcvtq_f32_s32(vsubq_s32(e.qmin, g->zero_point[v]));
    float32x4_t high = vcvtq_f32_s32(vsubq_s32(e.qmax, g->zero_point[v]));
    return vcvtnq_s32_f32(vminq_f32(vmaxq_f32(vdivq_f32(x, g->scale[v]), low), high));
}

static inline uint32x4_t quantize_block(const float *x, const grid *g, ends e, uint32x4_t all_finite, uint8_t *codes)
{
    int32x4_t r[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        float32x4_t values = vld1q_f32(x + v * LANES);
        all_finite = finite(values, all_finite);
        r[v] = vaddq_s32(quantized(values, g, v, e), g->zero_point[v]);
    }
    int16x8_t low = vuzp1q_s16(vreinterpretq_s16_s32(r[0]), vreinterpretq_s16_s32(r[1]));
    int16x8_t high = vuzp1q_s16(vreinterpretq_s16_s32(r[2]), vreinterpretq_s16_s32(r[3]));
    vst1q_u8(codes, vuzp1q_u8(vreinterpretq_u8_s16(low), vreinterpretq_u8_s16(high)));
    return all_finite;
}

static inline bool quantize_run(const float *x, size_t n, const float *restrict scale,
                                const int32_t *restrict zero_point, size_t step, ends e, uint8_t *codes)
{
    uint32x4_t all_finite = vdupq_n_u32(UINT32_MAX);
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        grid g = grid_at(scale + i * step, zero_point + i * step, step);
        all_finite = quantize_block(x + i, &g, e, all_finite, codes + i);
    }
    if (i < n) {
        float values[BLOCK] = {0};
        uint8_t block[BLOCK];
        grid g = tail_grid(scale + i * step, zero_point + i * step, step, n - i);
        memcpy(values, x + i, (n - i) * sizeof *x);
        all_finite = quantize_block(values, &g, e, all_finite, block);
        memcpy(codes + i, block, n - i);
    }
    return vminvq_u32(all_finite) == 0;
}

bool ql_quantize_f32_x8__neon(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                              int32_t qmin, int32_t qmax, uint8_t *codes)
{
    const ends e = {vdupq_n_s32(qmin), vdupq_n_s32(qmax)};
    if (group == 1)
        return quantize_run(x, n, scale, zero_point, 1, e, codes);
    bool nonfinite = false;
    for (size_t i = 0; i < n; i += group)
        nonfinite |= quantize_run(x + i, n - i < group ? n - i : group, scale++, zero_point++, 0, e, codes + i);
    return nonfinite;
}

static inline uint32x4_t fake_quantize_block(const float *x, const grid *g, ends e, uint32x4_t all_finite, float *y)
{
    for (int v = 0; v < VECTORS; v++) {
        float32x4_t values = vld1q_f32(x + v * LANES);
        all_finite = finite(values, all_finite);
        vst1q_f32(y + v * LANES, vmulq_f32(vcvtq_f32_s32(quantized(values, g, v, e)), g->scale[v]));
    }
    return all_finite;
}

static inline bool fake_quantize_run(const float *x, size_t n, const float *restrict scale,
                                     const int32_t *restrict zero_point, size_t step, ends e, float *y)
{
    uint32x4_t all_finite = vdupq_n_u32(UINT32_MAX);
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        grid g = grid_at(scale + i * step, zero_point + i * step, step);
        all_finite = fake_quantize_block(x + i, &g, e, all_finite, y + i);
    }
    if (i < n) {
        float values[BLOCK] = {0};
        grid g = tail_grid(scale + i * step, zero_point + i * step, step, n - i);
        memcpy(values, x + i, (n - i) * sizeof *x);
        all_finite = fake_quantize_block(values, &g, e, all_finite, values);
        memcpy(y + i, values, (n - i) * sizeof *y);
    }
    return vminvq_u32(all_finite) == 0;
}

bool ql_fake_quantize_f32__neon(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                                int32_t qmin, int32_t qmax, float *y)
{
    const ends e = {vdupq_n_s32(qmin), vdupq_n_s32(qmax)};
    if (group == 1)
        return fake_quantize_run(x, n, scale, zero_point, 1, e, y);
    bool nonfinite = false;
    for (size_t i = 0; i < n; i += group)
        nonfinite |= fake_quantize_run(x + i, n - i < group ? n - i : group, scale++, zero_point++, 0, e, y + i);
    return nonfinite;
}

static inline void dequantize_block(const uint8_t *codes, bool is_signed, const grid *g, float *x)
{
    uint8x16_t bytes = vld1q_u8(codes);
    int8x16_t s8 = vreinterpretq_s8_u8(bytes);
    int16x8_t low = is_signed ? vmovl_s8(vget_low_s8(s8)) : vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes)));
    int16x8_t high = is_signed ? vmovl_high_s8(s8) : vreinterpretq_s16_u16(vmovl_high_u8(bytes));
    int32x4_t code[VECTORS] = {vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)),
                               vmovl_high_s16(high)};
    for (int v = 0; v < VECTORS; v++)
        vst1q_f32(x + v * LANES, vmulq_f32(vcvtq_f32_s32(vsubq_s32(code[v], g->zero_point[v])), g->scale[v]));
}

static inline void dequantize_run(const uint8_t *codes, size_t n, bool is_signed, const float *restrict scale,
                                  const int32_t *restrict zero_point, size_t step, float *x)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        grid g = grid_at(scale + i * step, zero_point + i * step, step);
        dequantize_block(codes + i, is_signed, &g, x + i);
    }
    if (i < n) {
        uint8_t block[BLOCK] = {0};
        float values[BLOCK];
        grid g = tail_grid(scale + i * step, zero_point + i * step, step, n - i);
        memcpy(block, codes + i, n - i);
        dequantize_block(block, is_signed, &g, values);
        memcpy(x + i, values, (n - i) * sizeof *x);
    }
}

void ql_dequantize_x8_f32__neon(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                const int32_t *zero_point, size_t group, float *x)
{
    if (group == 1) {
        dequantize_run(codes, n, is_signed, scale, zero_point, 1, x);
        return;
    }
    for (size_t i = 0; i < n; i += group)
        dequantize_run(codes + i, n - i < group ? n - i : group, is_signed, scale++, zero_point++, 0, x + i);
}

bool ql_quantize_rows_f32_x8__neon(const float *x, size_t rows, size_t n, const float *scale, const int32_t *zero_point,
                                   int32_t qmin, int32_t qmax, uint8_t *codes)
{
    bool nonfinite = false;
    for (size_t i = 0; i < rows; i++)
        nonfinite |= ql_quantize_f32_x8__neon(x + i * n, n, scale, zero_point, 1, qmin, qmax, codes + i * n);
    return nonfinite;
}

bool ql_fake_quantize_rows_f32__neon(const float *x, size_t rows, size_t n, const float *scale,
                                     const int32_t *zero_point, int32_t qmin, int32_t qmax, float *y)
{
    bool nonfinite = false;
    for (size_t i = 0; i < rows; i++)
        nonfinite |= ql_fake_quantize_f32__neon(x + i * n, n, scale, zero_point, 1, qmin, qmax, y + i * n);
    return nonfinite;
}
