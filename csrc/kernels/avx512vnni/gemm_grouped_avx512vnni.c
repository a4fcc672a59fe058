/* The product with grouped weights on vpdpbusd: unsigned weights by signed codes of rows, which is exact.
 *
 * Tile 6 x 32: 12 integer and 12 float accumulators, four registers of weights. The low and the high nibbles of one
 * load meet four codes each, so a row's next eight codes are two broadcasts, each into a register: taken from memory in
 * the multiplication itself they would bind the load ports (690 instead of 860 GOPS).
 *
 * Weights are unsigned for the instruction: signed ones have 128 added, and to their zero points too. */
#include <string.h>

#include "kernels/avx512vnni/lanes_avx512vnni.h"

enum { NR = 32, KR = 8, MAX_MR = 6, VECTORS = NR / 16 };

typedef int32_t __attribute__((may_alias)) four_codes;

/* Sixteen columns of eight k. Loaded once: from the intrinsic alone gcc makes a load for each use. */
static inline __attribute__((always_inline)) __m512i load(const uint8_t *codes)
{
    __m512i w = _mm512_load_si512(codes);
    __asm__("" : "+v"(w));
    return w;
}

/* Their weights for the first four k, and for the last. */
static inline __attribute__((always_inline)) __m512i low_of(const ql_weight_form form, __m512i w, __m512i table)
{
    if (form == QL_WEIGHTS_S8)
        return _mm512_xor_si512(w, _mm512_set1_epi8(-128));
    w = _mm512_and_si512(w, _mm512_set1_epi8(15));
    return form == QL_WEIGHTS_TABLE ? _mm512_shuffle_epi8(table, w) : w;
}

static inline __attribute__((always_inline)) __m512i high_of(const ql_weight_form form, __m512i w, const uint8_t *codes,
                                                             __m512i table)
{
    if (form == QL_WEIGHTS_S8)
        return low_of(form, load(codes + 4 * NR), table);
    return low_of(form, _mm512_srli_epi16(w, 4), table);
}

static inline const int32_t *term_of(const int32_t *first, int row, size_t stride)
{
    return (const int32_t *)((const char *)first + (size_t)row * stride);
}

/* Four k of weights by four codes of each row. */
static inline __attribute__((always_inline)) void multiply(const int mr, __m512i sum[MAX_MR][VECTORS],
                                                           const __m512i w[VECTORS], const int8_t *row, size_t stride)
{
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
        const __m512i four = _mm512_set1_epi32(*(const four_codes *)(row + (size_t)i * stride));
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = dot4(sum[i][v], w[v], four);
    }
}

static inline __attribute__((always_inline)) void gemm(const int mr, const ql_weight_form form,
                                                       const ql_grouped_panel *b, const ql_grouped_rows *a,
                                                       const ql_grouped_result *c)
{
    const size_t step_bytes = form == QL_WEIGHTS_S8 ? 8 * NR : 4 * NR;
    __m512i table = _mm512_setzero_si512();
    if (form == QL_WEIGHTS_TABLE)
        table = _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)b->table)),
                                 _mm512_set1_epi8(-128));
    __m512 total[MAX_MR][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            total[i][v] = _mm512_setzero_ps();
    }
    const uint8_t *codes = b->data;
    const int8_t *row = a->codes;
    const int32_t *term = a->term;
    for (size_t left = b->k; left > 0; term++) {
        const size_t length = left < b->group ? left : b->group;
        left -= length;
        const float *scale = (const float *)(codes + length / KR * step_bytes);
        const int16_t *zero_point = (const int16_t *)(scale + NR);
        __m512i sum[MAX_MR][VECTORS];
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
            const __m512i t = _mm512_set1_epi32(*term_of(term, i, a->stride));
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sum[i][v] = t;
        }
        if (b->has_zero_point) {
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) {
                const __m512i z = _mm512_cvtepi16_epi32(_mm256_load_si256((const __m256i *)(zero_point + 16 * v)));
#pragma GCC unroll 6
                for (int i = 0; i < mr; i++)
                    sum[i][v] = _mm512_mullo_epi32(z, sum[i][v]);
            }
        }
        for (const uint8_t *end = (const uint8_t *)scale; codes != end; codes += step_bytes, row += KR) {
            __m512i w[VECTORS], half[VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) {
                w[v] = load(codes + 64 * v);
                half[v] = low_of(form, w[v], table);
            }
            multiply(mr, sum, half, row, a->stride);
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                half[v] = high_of(form, w[v], codes + 64 * v, table);
            multiply(mr, sum, half, row + 4, a->stride);
        }
        codes += NR * (sizeof *scale + (b->has_zero_point ? sizeof *zero_point : 0));
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            const __m512 s = _mm512_load_ps(scale + 16 * v);
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++)
                total[i][v] = _mm512_add_ps(total[i][v], _mm512_mul_ps(_mm512_cvtepi32_ps(sum[i][v]), s));
        }
    }
    const __m512 low = _mm512_set1_ps(c->low), high = _mm512_set1_ps(c->high);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            __m512 r = _mm512_mul_ps(total[i][v], _mm512_set1_ps(a->scale[i]));
            r = _mm512_add_ps(r, _mm512_loadu_ps(c->offset + 16 * v));
            _mm512_storeu_ps(c->y + (size_t)i * c->y_stride + 16 * v, _mm512_min_ps(high, _mm512_max_ps(low, r)));
        }
    }
}

#define TILE(TYPES, FORM, MR)                                                                                  \
    static void ql_gemm_##TYPES##_##MR##x32c8__avx512vnni(const ql_grouped_panel *b, const ql_grouped_rows *a, \
                                                          const ql_grouped_result *c)                          \
    {                                                                                                          \
        gemm(MR, FORM, b, a, c);                                                                               \
    }

#define TILES(TYPES, FORM)                            \
    TILE(TYPES, FORM, 1)                              \
    TILE(TYPES, FORM, 2)                              \
    TILE(TYPES, FORM, 3)                              \
    TILE(TYPES, FORM, 4)                              \
    TILE(TYPES, FORM, 5)                              \
    TILE(TYPES, FORM, 6)                              \
    static ql_gemm_grouped_ukernel *const TYPES[] = { \
        NULL,                                         \
        ql_gemm_##TYPES##_1x32c8__avx512vnni,         \
        ql_gemm_##TYPES##_2x32c8__avx512vnni,         \
        ql_gemm_##TYPES##_3x32c8__avx512vnni,         \
        ql_gemm_##TYPES##_4x32c8__avx512vnni,         \
        ql_gemm_##TYPES##_5x32c8__avx512vnni,         \
        ql_gemm_##TYPES##_6x32c8__avx512vnni,         \
    };

TILES(s8u4f32, QL_WEIGHTS_U4)
TILES(s8t4f32, QL_WEIGHTS_TABLE)
TILES(s8s8f32, QL_WEIGHTS_S8)

const ql_gemm_grouped_kernels ql_gemm_s8s4f32__avx512vnni = {
    .mr = MAX_MR, .nr = NR, .shift = {0, 128, 128}, .ukernel = {s8u4f32, s8t4f32, s8s8f32}};
