/* The integer product on vpdpbusd: four u8 x s8 products per 32-bit lane, summed exactly (no 16-bit stage).
 *
 * Tile 12 x 32: 24 accumulators, 2 registers of b, 1 of a. One to three rows have too few chains to hide the
 * instruction's latency, so they split k over several sets of accumulators and add those up at the end: the sums are
 * modulo 2^32, the order does not matter.
 * a is read in place; the 1 to 3 bytes past the last group of four are fetched one by one, never beyond the row.
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

static inline uint32_t last_group(const uint8_t *a, size_t n)
{
    uint32_t group = a[0];
    group |= n > 1 ? (uint32_t)a[1] << 8 : 0;
    group |= n > 2 ? (uint32_t)a[2] << 16 : 0;
    return group;
}

/* split: over how many sets of accumulators k is dealt out. */
static inline __attribute__((always_inline)) void gemm(const int mr, const int split, size_t k, const uint8_t *a,
                                                       size_t a_stride, const int8_t *b, const int32_t *init,
                                                       int32_t *c, size_t c_stride)
{
    __m512i sum[MAX_MR][MAX_SPLIT][2];
    const __m512i init0 = _mm512_loadu_si512(init), init1 = _mm512_loadu_si512(init + 16);
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int s = 0; s < split; s++) {
            sum[i][s][0] = s ? _mm512_setzero_si512() : init0;
            sum[i][s][1] = s ? _mm512_setzero_si512() : init1;
        }
    }
    size_t whole = k / KR, group = 0;
    for (; group + (size_t)split <= whole; group += (size_t)split) {
#pragma GCC unroll 4
        for (int s = 0; s < split; s++, b += NR * KR) {
            __m512i b0 = _mm512_load_si512(b), b1 = _mm512_load_si512(b + 64);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) {
                int32_t four;
                memcpy(&four, a + (size_t)i * a_stride + (group + (size_t)s) * KR, sizeof four);
                __m512i a_four = _mm512_set1_epi32(four);
                sum[i][s][0] = dot4(sum[i][s][0], a_four, b0);
                sum[i][s][1] = dot4(sum[i][s][1], a_four, b1);
            }
        }
    }
    for (; group * KR < k; group++, b += NR * KR) {
        __m512i b0 = _mm512_load_si512(b), b1 = _mm512_load_si512(b + 64);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            const uint8_t *p = a + (size_t)i * a_stride + group * KR;
            uint32_t four;
            if (group < whole)
                memcpy(&four, p, sizeof four);
            else
                four = last_group(p, k - group * KR);
            __m512i a_four = _mm512_set1_epi32((int32_t)four);
            sum[i][0][0] = dot4(sum[i][0][0], a_four, b0);
            sum[i][0][1] = dot4(sum[i][0][1], a_four, b1);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int s = 1; s < split; s++) {
            sum[i][0][0] = _mm512_add_epi32(sum[i][0][0], sum[i][s][0]);
            sum[i][0][1] = _mm512_add_epi32(sum[i][0][1], sum[i][s][1]);
        }
        _mm512_storeu_si512(c + (size_t)i * c_stride, sum[i][0][0]);
        _mm512_storeu_si512(c + (size_t)i * c_stride + 16, sum[i][0][1]);
    }
}

#define TILE(MR, SPLIT)                                                                                            \
    static void ql_gemm_u8s8s32_##MR##x32c4__avx512vnni(size_t k, const void *a, size_t a_stride, const int8_t *b, \
                                                        const int32_t *init, int32_t *c, size_t c_stride)          \
    {                                                                                                              \
        gemm(MR, SPLIT, k, a, a_stride, b, init, c, c_stride);                                                     \
    }

TILE(1, 4)
TILE(2, 2)
TILE(3, 2)
TILE(4, 1)
TILE(5, 1)
TILE(6, 1)
TILE(7, 1)
TILE(8, 1)
TILE(9, 1)
TILE(10, 1)
TILE(11, 1)
TILE(12, 1)

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

const ql_gemm_kernels ql_gemm_u8s8s32__avx512vnni = {
    .mr = MAX_MR, .nr = NR, .kr = KR, .a_size = 1, .ukernel = ukernels};
