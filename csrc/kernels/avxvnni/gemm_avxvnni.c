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

static inline __attribute__((always_inline)) int split_of(const int mr, const int vectors)
{
    if (vectors == 1)
        return mr <= 3 ? 4 : mr <= 5 ? 2 : 1;
    return mr <= (vectors == 2 ? 3 : 1) ? 2 : 1;
}

#define NAME(MR, NR) ql_gemm_u8s8s32_##MR##x##NR##c4__avxvnni
#define TILE(MR, NR, VECTORS)                                                                         \
    static void NAME(MR, NR)(const ql_gemm_args *args, size_t i, size_t tiles, size_t j, size_t cols) \
    {                                                                                                 \
        const ql_gemm_args g = *args;                                                                 \
        const tile_end end = tile_end_of(VECTORS, args, j, cols);                                     \
        for (; tiles > 0; tiles--, i += MR)                                                           \
            gemm_quads(dot4, MR, VECTORS, split_of(MR, VECTORS), &g, &end, i, j, cols);               \
    }
#define ENTRY(MR, NR) NAME(MR, NR),

QL_ROWS_2(TILE, 32, 4)
QL_ROWS_6(TILE, 16, 2)
QL_ROWS_6(TILE, 8, 1)

static ql_gemm_ukernel *const wide_ukernels[] = {NULL, QL_ROWS_2(ENTRY, 32)};
static ql_gemm_ukernel *const ukernels[] = {NULL, QL_ROWS_6(ENTRY, 16)};
static ql_gemm_ukernel *const half_ukernels[] = {NULL, QL_ROWS_6(ENTRY, 8)};

const ql_gemm_kernels ql_gemm_u8s8s32__avxvnni = {.mr = MAX_MR,
                                                  .nr = NR,
                                                  .kr = KR,
                                                  .depth = KR,
                                                  .a_size = 1,
                                                  .row = row_of_bytes,
                                                  .ukernel = ukernels,
                                                  .half_ukernel = half_ukernels,
                                                  .wide_mr = 2,
                                                  .wide_ukernel = wide_ukernels};
