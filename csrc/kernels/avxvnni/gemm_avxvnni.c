/* The integer product on vpdpbusd in registers of 256 bits: four u8 x s8 products per 32-bit lane, summed exactly (no
 * 16-bit stage).
 *
 * Tile 6 x 16: 12 accumulators, 2 registers of b, 1 of a.
 *
 * Why the instruction is written in assembly: after the intrinsic, gcc 12 copies the accumulator and spills as soon as
 * the accumulators are used after the loop. {vex}: the processors that this is for lack the other encoding. */
#include "kernels/avx2/quads_avx2.h"
#include "kernels/avxvnni/avxvnni.h"

static inline __attribute__((always_inline)) __m256i dot4(__m256i sum, __m256i a_u8, const int8_t *b)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a_u8), "x"(_mm256_load_si256((const __m256i *)b)));
    return sum;
}

#define TILE(MR, NAME, VECTORS, SPLIT)                                                                             \
    static void ql_gemm_u8s8s32_##MR##x##NAME##c4__avxvnni(const ql_gemm_args *g, size_t i, size_t j, size_t cols) \
    {                                                                                                              \
        gemm_quads(dot4, MR, VECTORS, SPLIT, g, i, j, cols);                                                       \
    }

TILE(1, 32, 4, 2)
TILE(2, 32, 4, 1)
TILE(1, 16, 2, 2)
TILE(2, 16, 2, 2)
TILE(3, 16, 2, 2)
TILE(4, 16, 2, 1)
TILE(5, 16, 2, 1)
TILE(6, 16, 2, 1)
TILE(1, 8, 1, 4)
TILE(2, 8, 1, 4)
TILE(3, 8, 1, 4)
TILE(4, 8, 1, 2)
TILE(5, 8, 1, 2)
TILE(6, 8, 1, 1)

static ql_gemm_ukernel *const wide_ukernels[] = {
    NULL,
    ql_gemm_u8s8s32_1x32c4__avxvnni,
    ql_gemm_u8s8s32_2x32c4__avxvnni,
};

static ql_gemm_ukernel *const ukernels[] = {
    NULL,
    ql_gemm_u8s8s32_1x16c4__avxvnni,
    ql_gemm_u8s8s32_2x16c4__avxvnni,
    ql_gemm_u8s8s32_3x16c4__avxvnni,
    ql_gemm_u8s8s32_4x16c4__avxvnni,
    ql_gemm_u8s8s32_5x16c4__avxvnni,
    ql_gemm_u8s8s32_6x16c4__avxvnni,
};

static ql_gemm_ukernel *const half_ukernels[] = {
    NULL,
    ql_gemm_u8s8s32_1x8c4__avxvnni,
    ql_gemm_u8s8s32_2x8c4__avxvnni,
    ql_gemm_u8s8s32_3x8c4__avxvnni,
    ql_gemm_u8s8s32_4x8c4__avxvnni,
    ql_gemm_u8s8s32_5x8c4__avxvnni,
    ql_gemm_u8s8s32_6x8c4__avxvnni,
};

const ql_gemm_kernels ql_gemm_u8s8s32__avxvnni = {.mr = MAX_MR,
                                                  .nr = NR,
                                                  .kr = KR,
                                                  .a_size = 1,
                                                  .row = row_of_bytes,
                                                  .ukernel = ukernels,
                                                  .half_ukernel = half_ukernels,
                                                  .wide_mr = 2,
                                                  .wide_ukernel = wide_ukernels};
