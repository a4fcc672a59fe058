/* A product of floats on top of what is there. Tile 6 x 16: 12 accumulators, enough chains to hide the instruction's
 * latency; one row has two. */
#include <immintrin.h>

#include "kernels/avx2/avx2.h"

enum { NR = 16, VECTORS = NR / 8, MAX_MR = 6 };

static inline __attribute__((always_inline)) void gemm(const int mr, size_t k, const float *x, size_t x_stride,
                                                       const float *w, size_t w_stride, float *y, size_t y_stride)
{
    __m256 sum[MAX_MR][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = _mm256_loadu_ps(y + (size_t)i * y_stride + 8 * v);
    }
    for (size_t p = 0; p < k; p++, w += w_stride) {
        __m256 weight[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            weight[v] = _mm256_loadu_ps(w + 8 * v);
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
            const __m256 xi = _mm256_set1_ps(x[(size_t)i * x_stride + p]);
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sum[i][v] = _mm256_fmadd_ps(xi, weight[v], sum[i][v]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            _mm256_storeu_ps(y + (size_t)i * y_stride + 8 * v, sum[i][v]);
    }
}

#define TILE(MR)                                                                                             \
    static void ql_gemm_f32f32f32_##MR##x16__avx2(size_t k, const float *x, size_t x_stride, const float *w, \
                                                  size_t w_stride, float *y, size_t y_stride)                \
    {                                                                                                        \
        gemm(MR, k, x, x_stride, w, w_stride, y, y_stride);                                                  \
    }

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

static ql_gemm_f32_add_ukernel *const ukernels[] = {
    NULL,
    ql_gemm_f32f32f32_1x16__avx2,
    ql_gemm_f32f32f32_2x16__avx2,
    ql_gemm_f32f32f32_3x16__avx2,
    ql_gemm_f32f32f32_4x16__avx2,
    ql_gemm_f32f32f32_5x16__avx2,
    ql_gemm_f32f32f32_6x16__avx2,
};

const ql_gemm_f32_add_kernels ql_gemm_f32f32f32__avx2 = {.mr = MAX_MR, .nr = NR, .ukernel = ukernels};
