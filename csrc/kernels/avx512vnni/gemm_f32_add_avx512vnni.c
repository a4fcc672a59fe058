/* A product of floats on top of what is there. Tile 8 x 32: 16 accumulators, enough chains to hide the instruction's
 * latency; one row has two. */
#include <immintrin.h>

#include "kernels/avx512vnni/avx512vnni.h"

enum { NR = 32, VECTORS = NR / 16, MAX_MR = 8 };

static inline __attribute__((always_inline)) void gemm(const int mr, size_t k, const float *x, size_t x_stride,
                                                       const float *w, size_t w_stride, float *y, size_t y_stride)
{
    __m512 sum[MAX_MR][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = _mm512_loadu_ps(y + (size_t)i * y_stride + 16 * v);
    }
    for (size_t p = 0; p < k; p++, w += w_stride) {
        __m512 weight[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            weight[v] = _mm512_loadu_ps(w + 16 * v);
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++) {
            const __m512 xi = _mm512_set1_ps(x[(size_t)i * x_stride + p]);
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sum[i][v] = _mm512_fmadd_ps(xi, weight[v], sum[i][v]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            _mm512_storeu_ps(y + (size_t)i * y_stride + 16 * v, sum[i][v]);
    }
}

#define TILE(MR)                                                                                                   \
    static void ql_gemm_f32f32f32_##MR##x32__avx512vnni(size_t k, const float *x, size_t x_stride, const float *w, \
                                                        size_t w_stride, float *y, size_t y_stride)                \
    {                                                                                                              \
        gemm(MR, k, x, x_stride, w, w_stride, y, y_stride);                                                        \
    }

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)
TILE(8)

static ql_gemm_f32_add_ukernel *const ukernels[] = {
    NULL,
    ql_gemm_f32f32f32_1x32__avx512vnni,
    ql_gemm_f32f32f32_2x32__avx512vnni,
    ql_gemm_f32f32f32_3x32__avx512vnni,
    ql_gemm_f32f32f32_4x32__avx512vnni,
    ql_gemm_f32f32f32_5x32__avx512vnni,
    ql_gemm_f32f32f32_6x32__avx512vnni,
    ql_gemm_f32f32f32_7x32__avx512vnni,
    ql_gemm_f32f32f32_8x32__avx512vnni,
};

const ql_gemm_f32_add_kernels ql_gemm_f32f32f32__avx512vnni = {.mr = MAX_MR, .nr = NR, .ukernel = ukernels};
