/* The product with grouped weights, one row at a time, sixteen columns side by side. */
#include <string.h>

#include "kernels/portable/portable.h"

enum { NR = 16, KR = 8, HALF = NR * 4 };

/* Four neighbours of the row as often as there are columns. */
static inline void spread(const int8_t *restrict row, int16_t *restrict out)
{
    const int16_t four[4] = {row[0], row[1], row[2], row[3]};
    for (size_t j = 0; j < NR; j++)
        memcpy(out + 4 * j, four, sizeof four);
}

/* The weights for k = q, [NR][4], and those for k = 4 + q. */
static inline void unpack(ql_weight_form form, const uint8_t *restrict codes, const int8_t *restrict table,
                          int16_t *restrict low, int16_t *restrict high)
{
    for (size_t i = 0; i < HALF; i++) {
        if (form == QL_WEIGHTS_S8) {
            low[i] = (int8_t)codes[i];
            high[i] = (int8_t)codes[HALF + i];
        } else if (form == QL_WEIGHTS_TABLE) {
            low[i] = table[codes[i] & 15];
            high[i] = table[codes[i] >> 4];
        } else {
            low[i] = codes[i] & 15;
            high[i] = codes[i] >> 4;
        }
    }
}

/* Two products fit 16 bits: 2 * 127 * 128. */
static inline void add_products(const int16_t *restrict a0, const int16_t *restrict w0, const int16_t *restrict a1,
                                const int16_t *restrict w1, uint32_t *restrict acc)
{
    for (size_t i = 0; i < HALF; i++)
        acc[i] += (uint32_t)(int16_t)(a0[i] * w0[i] + a1[i] * w1[i]);
}

static inline void gemm(ql_weight_form form, const ql_grouped_panel *b, const ql_grouped_rows *a,
                        const ql_grouped_result *c)
{
    const size_t step_bytes = form == QL_WEIGHTS_S8 ? 2 * HALF : HALF;
    const uint8_t *codes = b->data;
    const int8_t *row = a->codes;
    const int32_t *term = a->term;
    float total[NR] = {0};
    for (size_t first = 0; first < b->k; first += b->group, term++) {
        const size_t length = b->k - first < b->group ? b->k - first : b->group;
        uint32_t acc[HALF] = {0};
        for (size_t p = 0; p < length; p += KR, row += KR, codes += step_bytes) {
            int16_t a0[HALF], a1[HALF], w0[HALF], w1[HALF];
            spread(row, a0);
            spread(row + 4, a1);
            unpack(form, codes, b->table, w0, w1);
            add_products(a0, w0, a1, w1, acc);
        }
        const float *scale = (const float *)codes;
        codes += NR * sizeof *scale;
        const int16_t *zero_point = (const int16_t *)codes;
        codes += b->has_zero_point ? NR * sizeof *zero_point : 0;
        for (size_t j = 0; j < NR; j++) {
            const uint32_t z = b->has_zero_point ? (uint32_t)zero_point[j] : 1;
            const uint32_t sum = acc[4 * j] + acc[4 * j + 1] + acc[4 * j + 2] + acc[4 * j + 3];
            total[j] += (float)(int32_t)(sum + z * (uint32_t)*term) * scale[j];
        }
    }
    for (size_t j = 0; j < NR; j++) {
        float v = total[j] * *a->scale;
        v = v + c->offset[j];
        v = v < c->low ? c->low : v;
        c->y[j] = v > c->high ? c->high : v;
    }
}

#define TILE(TYPES, FORM)                                                                                \
    static void QL_KERNEL(ql_gemm_##TYPES##_1x16c8)(const ql_grouped_panel *b, const ql_grouped_rows *a, \
                                                    const ql_grouped_result *c)                          \
    {                                                                                                    \
        gemm(FORM, b, a, c);                                                                             \
    }                                                                                                    \
    static ql_gemm_grouped_ukernel *const TYPES[] = {NULL, QL_KERNEL(ql_gemm_##TYPES##_1x16c8)};

TILE(s8u4f32, QL_WEIGHTS_U4)
TILE(s8t4f32, QL_WEIGHTS_TABLE)
TILE(s8s8f32, QL_WEIGHTS_S8)

const ql_gemm_grouped_kernels QL_KERNEL(ql_gemm_s8s4f32) = {.mr = 1, .nr = NR, .ukernel = {s8u4f32, s8t4f32, s8s8f32}};
