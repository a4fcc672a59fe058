/* The integer product on vpdpbusd: four u8 x s8 products per 32-bit lane, summed exactly (no 16-bit stage).
 *
 * Tile 12 x 32: 24 accumulators, 2 registers of b, 1 of a; 12 x 16 for the last columns of a narrow b, from the same
 * panel. A few rows have too few chains to hide the instruction's latency, so they split k over several sets of
 * accumulators and add those up at the end: the sums are modulo 2^32, the order does not matter. a is read in place;
 * the 1 to 3 bytes past the last group of four are fetched one by one, never beyond the row.
 *
 * Why the instruction is written in assembly: after the intrinsic, gcc 12 copies the accumulator and spills as soon as
 * the accumulators are used after the loop, which halves the speed. */
#include <immintrin.h>
#include <string.h>

#include "kernels/avx512vnni/avx512vnni.h"

enum { NR = 32, KR = 4, MAX_MR = 12, MAX_SPLIT = 4 };

static inline __attribute__((always_inline)) __m512i dot4(__m512i sum, __m512i a_u8, __m512i b_s8)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a_u8), "v"(b_s8));
    return sum;
}

/* The next four bytes of a row, or the one to three that are left of it with zeros behind. */
static inline int32_t group_of(const uint8_t *a, size_t left)
{
    uint32_t group;
    if (left >= KR) {
        memcpy(&group, a, sizeof group);
    } else {
        group = a[0];
        group |= left > 1 ? (uint32_t)a[1] << 8 : 0;
        group |= left > 2 ? (uint32_t)a[2] << 16 : 0;
    }
    return (int32_t)group;
}

/* vectors: 2 for whole panels, 1 for their first 16 columns. split: over how many sets of accumulators k is dealt out.
 */
static inline __attribute__((always_inline)) void gemm(const int mr, const int vectors, const int split, size_t k,
                                                       const uint8_t *a, size_t a_stride, const int8_t *b,
                                                       const int32_t *init, int32_t *c, size_t c_stride)
{
    __m512i sum[MAX_MR][MAX_SPLIT][2];
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int s = 0; s < split; s++) {
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[i][s][v] = s ? _mm512_setzero_si512() : _mm512_loadu_si512(init + 16 * v);
        }
    }
    size_t whole = k / KR, group = 0;
    for (; group + (size_t)split <= whole; group += (size_t)split) {
#pragma GCC unroll 4
        for (int s = 0; s < split; s++, b += NR * KR) {
            __m512i columns[2];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                columns[v] = _mm512_load_si512(b + 64 * v);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) {
                int32_t four;
                memcpy(&four, a + (size_t)i * a_stride + (group + (size_t)s) * KR, sizeof four);
                __m512i a_four = _mm512_set1_epi32(four);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++)
                    sum[i][s][v] = dot4(sum[i][s][v], a_four, columns[v]);
            }
        }
    }
    for (; group * KR < k; group++, b += NR * KR) {
        size_t left = k - group * KR;
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            __m512i a_four = _mm512_set1_epi32(group_of(a + (size_t)i * a_stride + group * KR, left));
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[i][0][v] = dot4(sum[i][0][v], a_four, _mm512_load_si512(b + 64 * v));
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
#pragma GCC unroll 4
            for (int s = 1; s < split; s++)
                sum[i][0][v] = _mm512_add_epi32(sum[i][0][v], sum[i][s][v]);
            _mm512_storeu_si512(c + (size_t)i * c_stride + 16 * v, sum[i][0][v]);
        }
    }
}

#define TILE(MR, SPLIT, HALF_SPLIT)                                                                                \
    static void ql_gemm_u8s8s32_##MR##x32c4__avx512vnni(size_t k, const void *a, size_t a_stride, const int8_t *b, \
                                                        const int32_t *init, int32_t *c, size_t c_stride)          \
    {                                                                                                              \
        gemm(MR, 2, SPLIT, k, a, a_stride, b, init, c, c_stride);                                                  \
    }                                                                                                              \
    static void ql_gemm_u8s8s32_##MR##x16c4__avx512vnni(size_t k, const void *a, size_t a_stride, const int8_t *b, \
                                                        const int32_t *init, int32_t *c, size_t c_stride)          \
    {                                                                                                              \
        gemm(MR, 1, HALF_SPLIT, k, a, a_stride, b, init, c, c_stride);                                             \
    }

TILE(1, 4, 4)
TILE(2, 2, 4)
TILE(3, 2, 4)
TILE(4, 1, 2)
TILE(5, 1, 2)
TILE(6, 1, 2)
TILE(7, 1, 1)
TILE(8, 1, 1)
TILE(9, 1, 1)
TILE(10, 1, 1)
TILE(11, 1, 1)
TILE(12, 1, 1)

static ql_gemm_ukernel *const ukernels[] = {
    NULL,
    ql_gemm_u8s8s32_1x32c4__avx512vnni,
    ql_gemm_u8s8s32_2x32c4__avx512vnni,
    ql_gemm_u8s8s32_3x32c4__avx512vnni,
    ql_gemm_u8s8s32_4x32c4__avx512vnni,
    ql_gemm_u8s8s32_5x32c4__avx512vnni,
    ql_gemm_u8s8s32_6x32c4__avx512vnni,
    ql_gemm_u8s8s32_7x32c4__avx512vnni,
    ql_gemm_u8s8s32_8x32c4__avx512vnni,
    ql_gemm_u8s8s32_9x32c4__avx512vnni,
    ql_gemm_u8s8s32_10x32c4__avx512vnni,
    ql_gemm_u8s8s32_11x32c4__avx512vnni,
    ql_gemm_u8s8s32_12x32c4__avx512vnni,
};

static ql_gemm_ukernel *const half_ukernels[] = {
    NULL,
    ql_gemm_u8s8s32_1x16c4__avx512vnni,
    ql_gemm_u8s8s32_2x16c4__avx512vnni,
    ql_gemm_u8s8s32_3x16c4__avx512vnni,
    ql_gemm_u8s8s32_4x16c4__avx512vnni,
    ql_gemm_u8s8s32_5x16c4__avx512vnni,
    ql_gemm_u8s8s32_6x16c4__avx512vnni,
    ql_gemm_u8s8s32_7x16c4__avx512vnni,
    ql_gemm_u8s8s32_8x16c4__avx512vnni,
    ql_gemm_u8s8s32_9x16c4__avx512vnni,
    ql_gemm_u8s8s32_10x16c4__avx512vnni,
    ql_gemm_u8s8s32_11x16c4__avx512vnni,
    ql_gemm_u8s8s32_12x16c4__avx512vnni,
};

const ql_gemm_kernels ql_gemm_u8s8s32__avx512vnni = {
    .mr = MAX_MR, .nr = NR, .kr = KR, .a_size = 1, .ukernel = ukernels, .half_ukernel = half_ukernels};
