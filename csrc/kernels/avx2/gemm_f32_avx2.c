/* The weight-only product: 8-bit weights become floats in registers, one fused multiply-add per k, in order.
 *
 * The order of the sum is part of the contract, so a single row cannot split k over several accumulators: the panel is
 * 32 columns wide instead, which gives one row four independent chains. Tile 3 x 32: 12 accumulators. */
#include <immintrin.h>

#include "kernels/avx2/avx2.h"

enum { NR = 32, VECTORS = NR / 8 };

static inline __attribute__((always_inline)) void gemm_f32(const int mr, size_t k, const float *x, size_t x_stride,
                                                           const int8_t *b, const int32_t *zero_point,
                                                           const float *scale, const float *offset, float low, float *y,
                                                           size_t y_stride)
{
    __m256 sum[3][VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
#pragma GCC unroll 3
        for (int i = 0; i < mr; i++)
            sum[i][v] = _mm256_setzero_ps();
    }
    for (size_t p = 0; p < k; p++, b += NR) {
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            __m256i code = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(b + 8 * v)));
            __m256 weight =
                _mm256_cvtepi32_ps(_mm256_sub_epi32(code, _mm256_loadu_si256((const __m256i *)(zero_point + 8 * v))));
#pragma GCC unroll 3
            for (int i = 0; i < mr; i++)
                sum[i][v] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + (size_t)i * x_stride + p), weight, sum[i][v]);
        }
    }
    const __m256 floor = _mm256_set1_ps(low);
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
        __m256 s = _mm256_loadu_ps(scale + 8 * v), o = _mm256_loadu_ps(offset + 8 * v);
#pragma GCC unroll 3
        for (int i = 0; i < mr; i++) {
            __m256 r = _mm256_add_ps(_mm256_mul_ps(sum[i][v], s), o);
            _mm256_storeu_ps(y + (size_t)i * y_stride + 8 * v, _mm256_max_ps(floor, r));
        }
    }
}

#define TILE(MR)                                                                                                     \
    static void ql_gemm_f32s8f32_##MR##x32__avx2(size_t k, const float *x, size_t x_stride, const int8_t *b,         \
                                                 const int32_t *zero_point, const float *scale, const float *offset, \
                                                 float low, float *y, size_t y_stride)                               \
    {                                                                                                                \
        gemm_f32(MR, k, x, x_stride, b, zero_point, scale, offset, low, y, y_stride);                                \
    }

TILE(1)
TILE(2)
TILE(3)

static ql_gemm_f32_ukernel *const ukernels[] = {
    NULL,
    ql_gemm_f32s8f32_1x32__avx2,
    ql_gemm_f32s8f32_2x32__avx2,
    ql_gemm_f32s8f32_3x32__avx2,
};

const ql_gemm_f32_kernels ql_gemm_f32s8f32__avx2 = {.mr = 3, .nr = NR, .ukernel = ukernels};
