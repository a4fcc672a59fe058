/* Codebooks of up to sixteen entries, sixteen values at a time; larger ones are left to the scalar kernels.
 *
 * The way to the nearest: a value's rank is the number of thresholds that it reaches, in whatever order they stand, so
 * the tree is not walked: all fifteen, a register each, are compared with, and every mask, -1 in the lanes that reach
 * it, is subtracted. One byte lookup turns sixteen ranks into codes.
 * The way back: four tables hold a byte each of the sixteen floats, and zips put the bytes together. */
#include <arm_neon.h>
#include <float.h>
#include <string.h>

#include "kernels/neon/neon.h"
#include "kernels/scalar/scalar.h"

enum { LANES = 4, VECTORS = 4, BLOCK = LANES * VECTORS, LEVELS = 4, ENTRIES = 1 << LEVELS };

typedef struct thresholds {
    float32x4_t value[ENTRIES]; /* [0] unused, as in the tree */
    uint8x16_t code;            /* of each rank */
} thresholds;

static inline thresholds thresholds_of(const ql_codebook_tree *tree)
{
    thresholds t;
    uint8_t codes[ENTRIES];
    for (int i = 0; i < ENTRIES; i++) {
        t.value[i] = vdupq_n_f32(tree->threshold[i]);
        codes[i] = (uint8_t)tree->code[i];
    }
    t.code = vld1q_u8(codes);
    return t;
}

/* step is 1 where every value has its own scale, and 0 where all share one. */
static inline float32x4_t scale_at(const float *scale, size_t step, int v)
{
    return step ? vld1q_f32(scale + v * LANES) : vdupq_n_f32(*scale);
}

/* Returns all ones where these values and those before are finite. */
static inline uint32x4_t quantize_block(const float *x, const float *scale, size_t step, const thresholds *t,
                                        uint32x4_t finite, uint8_t *codes)
{
    float32x4_t value[VECTORS];
    uint32x4_t rank[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        float32x4_t values = vld1q_f32(x + v * LANES), quotient = vdivq_f32(values, scale_at(scale, step, v));
        finite = vandq_u32(finite, vcaleq_f32(values, vdupq_n_f32(FLT_MAX)));
        uint32x4_t is_number = vceqq_f32(quotient, quotient);
        value[v] = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(quotient), is_number));
        rank[v] = vdupq_n_u32(0);
    }
    for (int i = 1; i < ENTRIES; i++) {
        for (int v = 0; v < VECTORS; v++)
            rank[v] = vsubq_u32(rank[v], vcgeq_f32(value[v], t->value[i]));
    }
    uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(rank[0]), vreinterpretq_u16_u32(rank[1]));
    uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(rank[2]), vreinterpretq_u16_u32(rank[3]));
    uint8x16_t ranks = vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
    vst1q_u8(codes, vqtbl1q_u8(t->code, ranks));
    return finite;
}

/* The scales of a tail; values past the end have scale 1. */
static inline void copy_scales(const float *scale, size_t step, size_t n, float *scales)
{
    for (size_t i = 0; i < BLOCK; i++)
        scales[i] = i < n ? scale[i * step] : 1.0f;
}

static inline bool quantize_run(const float *x, size_t n, const float *restrict scale, size_t step, const thresholds *t,
                                uint8_t *codes)
{
    uint32x4_t finite = vdupq_n_u32(UINT32_MAX);
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        finite = quantize_block(x + i, scale + i * step, step, t, finite, codes + i);
    if (i < n) {
        float values[BLOCK] = {0}, scales[BLOCK];
        uint8_t block[BLOCK];
        memcpy(values, x + i, (n - i) * sizeof *x);
        copy_scales(scale + i * step, step, n - i, scales);
        finite = quantize_block(values, scales, 1, t, finite, block);
        memcpy(codes + i, block, n - i);
    }
    return vminvq_u32(finite) == 0;
}

bool ql_quantize_codebook_f32_u8__neon(const float *x, size_t n, const float *scale, size_t group,
                                       const ql_codebook_tree *tree, uint8_t *codes)
{
    if (tree->levels > LEVELS)
        return ql_quantize_codebook_f32_u8__scalar(x, n, scale, group, tree, codes);
    const thresholds t = thresholds_of(tree);
    if (group == 1)
        return quantize_run(x, n, scale, 1, &t, codes);
    bool nonfinite = false;
    for (size_t i = 0; i < n; i += group)
        nonfinite |= quantize_run(x + i, n - i < group ? n - i : group, scale++, 0, &t, codes + i);
    return nonfinite;
}

/* Byte b of each of the sixteen values. */
typedef struct planes {
    uint8x16_t byte[sizeof(float)];
} planes;

static inline planes planes_of(const float *values)
{
    uint8x16x4_t bytes = vld4q_u8((const uint8_t *)values);
    return (planes){{bytes.val[0], bytes.val[1], bytes.val[2], bytes.val[3]}};
}

static inline void dequantize_block(const uint8_t *codes, const float *scale, size_t step, const planes *p, float *x)
{
    const uint8x16_t code = vld1q_u8(codes);
    uint8x16_t byte[sizeof(float)];
    for (size_t b = 0; b < sizeof(float); b++)
        byte[b] = vqtbl1q_u8(p->byte[b], code);
    const uint16x8_t lower[] = {vreinterpretq_u16_u8(vzip1q_u8(byte[0], byte[1])),
                                vreinterpretq_u16_u8(vzip2q_u8(byte[0], byte[1]))};
    const uint16x8_t upper[] = {vreinterpretq_u16_u8(vzip1q_u8(byte[2], byte[3])),
                                vreinterpretq_u16_u8(vzip2q_u8(byte[2], byte[3]))};
    for (int v = 0; v < VECTORS; v++) {
        uint16x8_t bits = v % 2 ? vzip2q_u16(lower[v / 2], upper[v / 2]) : vzip1q_u16(lower[v / 2], upper[v / 2]);
        vst1q_f32(x + v * LANES, vmulq_f32(scale_at(scale, step, v), vreinterpretq_f32_u16(bits)));
    }
}

static inline void dequantize_run(const uint8_t *codes, size_t n, const float *restrict scale, size_t step,
                                  const planes *p, float *x)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        dequantize_block(codes + i, scale + i * step, step, p, x + i);
    if (i < n) {
        uint8_t block[BLOCK] = {0};
        float values[BLOCK], scales[BLOCK];
        memcpy(block, codes + i, n - i);
        copy_scales(scale + i * step, step, n - i, scales);
        dequantize_block(block, scales, 1, p, values);
        memcpy(x + i, values, (n - i) * sizeof *x);
    }
}

void ql_dequantize_codebook_u8_f32__neon(const uint8_t *codes, size_t n, const float *scale, size_t group,
                                         const float *values, int levels, float *x)
{
    if (levels > LEVELS) {
        ql_dequantize_codebook_u8_f32__scalar(codes, n, scale, group, values, levels, x);
        return;
    }
    const planes p = planes_of(values);
    if (group == 1) {
        dequantize_run(codes, n, scale, 1, &p, x);
        return;
    }
    for (size_t i = 0; i < n; i += group)
        dequantize_run(codes + i, n - i < group ? n - i : group, scale++, 0, &p, x + i);
}
