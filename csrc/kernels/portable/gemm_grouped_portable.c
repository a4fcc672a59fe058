/* The product with grouped weights, one row at a time, sixteen columns side by side. */
#include "kernels/portable/portable.h"

enum { NR = 16, KR = 8, HALF = NR * 4 };

/* The weights of column j for k = q and k = 4 + q. */
static inline void pair(ql_weight_form form, const uint8_t *codes, const int8_t *levels, size_t i, int32_t *low,
                        int32_t *high)
{
    if (form == QL_WEIGHTS_S8) {
        *low = (int8_t)codes[i];
        *high = (int8_t)codes[HALF + i];
    } else if (form == QL_WEIGHTS_TABLE) {
        *low = levels[codes[i] & 15];
        *high = levels[codes[i] >> 4];
    } else {
        *low = codes[i] & 15;
        *high = codes[i] >> 4;
    }
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
        uint32_t acc[NR] = {0};
        for (size_t p = 0; p < length; p += KR, row += KR, codes += step_bytes) {
            for (size_t i = 0; i < HALF; i++) {
                int32_t w0, w1;
                pair(form, codes, b->levels, i, &w0, &w1);
                acc[i / 4] += (uint32_t)(row[i % 4] * w0 + row[4 + i % 4] * w1);
            }
        }
        const float *scale = (const float *)codes;
        codes += NR * sizeof *scale;
        const int16_t *zero_point = (const int16_t *)codes;
        codes += b->has_zero_point ? NR * sizeof *zero_point : 0;
        for (size_t j = 0; j < NR; j++) {
            const uint32_t z = b->has_zero_point ? (uint32_t)zero_point[j] : 1;
            total[j] += (float)(int32_t)(acc[j] + z * (uint32_t)*term) * scale[j];
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
