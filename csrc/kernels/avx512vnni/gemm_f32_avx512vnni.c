/* The weight-only product; the AVX2 file says why the panel is wide. Tile 6 x 64: 24 accumulators, 4 chains for one
 * row. */
#include <immintrin.h>

#include "kernels/avx512vnni/avx512vnni.h"

enum { NR = 64, VECTORS = NR / 16, MAX_MR = 6 };

static inline __attribute__((always_inline)) void gemm_f32(const int mr, size_t k, const float *x, size_t x_stride,
                                                           const int8_t *b, const int32_t *zero_point,
                                                           const float *scale, const float *offset, float low, float *y,
                                                           size_t y_stride)
{
    __m512 sum[MAX_MR][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = _mm512_setzero_ps();
    }
    for (size_t p = 0; p < k; p++, b += NR) {
        __m512 weight[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            __m512i code = _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)(b + 16 * v)));
            weight[v] = _mm512_cvtepi32_ps(_mm512_sub_epi32(code, _mm512_loadu_si512(zero_point + 16 * v)));
        }
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
            __m512 xi = _mm512_set1_ps(x[(size_t)i * x_stride + p]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                sum[i][v] = _mm512_fmadd_ps(xi, weight[v], sum[i][v]);
        }
    }
    const __m512 floor = _mm512_set1_ps(low);
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
        __m512 s = _mm512_loadu_ps(scale + 16 * v), o = _mm512_loadu_ps(offset + 16 * v);
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
            __m512 r = _mm512_add_ps(_mm512_mul_ps(sum[i][v], s), o);
            _mm512_storeu_ps(y + (size_t)i * y_stride + 16 * v, _mm512_max_ps(floor, r));
        }
    }
}

#define TILE(MR)                                                                                                   \
    static void ql_gemm_f32s8f32_##MR##x64__avx512vnni(size_t k, const float *x, size_t x_stride, const int8_t *b, \
                                                       const int32_t *zero_point, const float *scale,              \
                                                       const float *offset, float low, float *y, size_t y_stride)  \
    {                                                                                                              \
        gemm_f32(MR, k, x, x_stride, b, zero_point, scale, offset, low, y, y_stride);                              \
    }

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

static ql_gemm_f32_ukernel *const ukernels[] = {
    NULL,
    ql_gemm_f32s8f32_1x64__avx512vnni,
    ql_gemm_f32s8f32_2x64__avx512vnni,
    ql_gemm_f32s8f32_3x64__avx512vnni,
    ql_gemm_f32s8f32_4x64__avx512vnni,
    ql_gemm_f32s8f32_5x64__avx512vnni,
    ql_gemm_f32s8f32_6x64__avx512vnni,
};

const ql_gemm_f32_kernels ql_gemm_f32s8f32__avx512vnni = {.mr = MAX_MR, .nr = NR, .ukernel = ukernels};
