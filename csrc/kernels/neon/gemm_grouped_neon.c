/* The product with grouped weights, with what every ARMv8 has: products of bytes in 16 bits.
 *
 * A vector of weights is four columns of four k; its halves, two columns each, meet a row's four codes twice over. Of
 * codes of 4 bits the sixteen products of 64 k fit 16 bits (15 * 128 * 16 = 30,720), of table entries and bytes two do
 * (128 * 127 * 2 = 32,512); then they go on in 32 bits. Tile 4 x 8: 16 registers of sums. */
#include <arm_neon.h>
#include <string.h>

#include "kernels/neon/neon.h"
#include "kernels/tiles.h"

enum { NR = 8, KR = 8, MAX_MR = 4, VECTORS = NR / 4, STEPS = 8 /* of KR, that 16 bits hold of codes of 4 bits */ };

/* Four columns of eight k: the weights of the first and of the last four. */
typedef struct weights {
    int8x16_t low, high;
} weights;

static inline weights load_weights(ql_weight_form form, const uint8_t *codes, int8x16_t table)
{
    const uint8x16_t w = vld1q_u8(codes);
    if (form == QL_WEIGHTS_S8)
        return (weights){vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(vld1q_u8(codes + 4 * NR))};
    const uint8x16_t low = vandq_u8(w, vdupq_n_u8(15)), high = vshrq_n_u8(w, 4);
    if (form == QL_WEIGHTS_TABLE)
        return (weights){vqtbl1q_s8(table, low), vqtbl1q_s8(table, high)};
    return (weights){vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(high)};
}

/* A row's next four codes, twice. */
static inline int8x8_t four_codes(const int8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return vreinterpret_s8_s32(vdup_n_s32(four));
}

/* sum + what `steps` times eight k give, so many that 16 bits hold them. */
static inline __attribute__((always_inline)) void add_steps(const int mr, const ql_weight_form form, size_t steps,
                                                            const uint8_t *codes, int8x16_t table, const int8_t *row,
                                                            size_t stride, int32x4_t sum[MAX_MR][VECTORS])
{
    int16x8_t first[MAX_MR][VECTORS], last[MAX_MR][VECTORS]; /* two columns each */
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            first[i][v] = last[i][v] = vdupq_n_s16(0);
    }
    for (size_t t = 0; t < steps; t++, codes += (form == QL_WEIGHTS_S8 ? 8 : 4) * NR, row += KR) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            const weights w = load_weights(form, codes + 16 * v, table);
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++) {
                const int8x8_t a = four_codes(row + (size_t)i * stride), b = four_codes(row + (size_t)i * stride + 4);
                first[i][v] = vmlal_s8(vmlal_s8(first[i][v], vget_low_s8(w.low), a), vget_low_s8(w.high), b);
                last[i][v] = vmlal_s8(vmlal_s8(last[i][v], vget_high_s8(w.low), a), vget_high_s8(w.high), b);
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            const int32x4_t pairs = vpaddq_s32(vpaddlq_s16(first[i][v]), vpaddlq_s16(last[i][v]));
            sum[i][v] = vaddq_s32(sum[i][v], pairs);
        }
    }
}

/* What the sums of a group begin with. */
static inline int32x4_t start(const ql_grouped_panel *b, const int16_t *zero_point, const int32_t *first, size_t offset)
{
    const int32x4_t term = vdupq_n_s32(*(const int32_t *)((const char *)first + offset));
    return b->has_zero_point ? vmulq_s32(vmovl_s16(vld1_s16(zero_point)), term) : term;
}

static inline void store(const ql_grouped_result *c, size_t i, int v, float row_scale, float32x4_t total)
{
    const float32x4_t low = vdupq_n_f32(c->low), high = vdupq_n_f32(c->high);
    float32x4_t y = vaddq_f32(vmulq_f32(total, vdupq_n_f32(row_scale)), vld1q_f32(c->offset + 4 * v));
    y = vbslq_f32(vcltq_f32(y, low), low, y);
    vst1q_f32(c->y + i * c->y_stride + 4 * v, vbslq_f32(vcgtq_f32(y, high), high, y));
}

static inline __attribute__((always_inline)) void gemm(const int mr, const ql_weight_form form,
                                                       const ql_grouped_panel *b, const ql_grouped_rows *a,
                                                       const ql_grouped_result *c)
{
    const size_t step_bytes = form == QL_WEIGHTS_S8 ? 8 * NR : 4 * NR, most = form == QL_WEIGHTS_U4 ? STEPS : 1;
    const int8x16_t table = vld1q_s8(b->table);
    float32x4_t total[MAX_MR][VECTORS];
    for (int i = 0; i < mr; i++) {
        for (int v = 0; v < VECTORS; v++)
            total[i][v] = vdupq_n_f32(0.0f);
    }
    const uint8_t *codes = b->data;
    const int8_t *row = a->codes;
    const int32_t *term = a->term;
    for (size_t left = b->k; left > 0; term++) {
        const size_t steps = (left < b->group ? left : b->group) / KR;
        left -= steps * KR;
        const float *scale = (const float *)(codes + steps * step_bytes);
        const int16_t *zero_point = (const int16_t *)(scale + NR);
        int32x4_t sum[MAX_MR][VECTORS];
        for (int i = 0; i < mr; i++) {
            for (int v = 0; v < VECTORS; v++)
                sum[i][v] = start(b, zero_point + 4 * v, term, (size_t)i * a->stride);
        }
        for (size_t t = 0; t < steps; t += most)
            add_steps(mr, form, steps - t < most ? steps - t : most, codes + t * step_bytes, table, row + t * KR,
                      a->stride, sum);
        row += steps * KR;
        codes = (const uint8_t *)(scale + NR) + (b->has_zero_point ? NR * sizeof *zero_point : 0);
        for (int v = 0; v < VECTORS; v++) {
            const float32x4_t s = vld1q_f32(scale + 4 * v);
            for (int i = 0; i < mr; i++)
                total[i][v] = vaddq_f32(total[i][v], vmulq_f32(vcvtq_f32_s32(sum[i][v]), s));
        }
    }
    for (int i = 0; i < mr; i++) {
        for (int v = 0; v < VECTORS; v++)
            store(c, (size_t)i, v, a->scale[i], total[i][v]);
    }
}

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x8c8__neon
#define TILE(MR, TYPES, FORM)                                                                                    \
    static void NAME(MR, TYPES)(const ql_grouped_panel *b, const ql_grouped_rows *a, const ql_grouped_result *c) \
    {                                                                                                            \
        gemm(MR, FORM, b, a, c);                                                                                 \
    }
#define ENTRY(MR, TYPES) NAME(MR, TYPES),

QL_ROWS_4(TILE, s8u4f32, QL_WEIGHTS_U4)
QL_ROWS_4(TILE, s8t4f32, QL_WEIGHTS_TABLE)
QL_ROWS_4(TILE, s8s8f32, QL_WEIGHTS_S8)

static ql_gemm_grouped_ukernel *const s8u4f32[] = {NULL, QL_ROWS_4(ENTRY, s8u4f32)};
static ql_gemm_grouped_ukernel *const s8t4f32[] = {NULL, QL_ROWS_4(ENTRY, s8t4f32)};
static ql_gemm_grouped_ukernel *const s8s8f32[] = {NULL, QL_ROWS_4(ENTRY, s8s8f32)};

const ql_gemm_grouped_kernels ql_gemm_s8s4f32__neon = {.mr = MAX_MR, .nr = NR, .ukernel = {s8u4f32, s8t4f32, s8s8f32}};
