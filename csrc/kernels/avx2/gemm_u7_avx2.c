/* The exact integer product without VNNI, where a has seven bits: vpmaddubsw, whose 16-bit sums of two products stay
 * within 2 * 127 * 128 = 32512, then vpmaddwd by ones. As many multiplications as in gemm_avx2.c, but a is read in
 * place, half as often, and b needs no widening.
 *
 * Tile 6 x 16: 12 accumulators, the ones, 1 register of a, 2 of products. None is left for b, which comes from memory
 * each time: gcc 12 would load it once and spill, hence the assembly. */
#include "kernels/avx2/quads_avx2.h"

static inline __attribute__((always_inline)) __m256i dot4(__m256i sum, __m256i a_u7, const int8_t *b)
{
    __m256i pairs;
    __asm__("vpmaddubsw %2, %1, %0" : "=x"(pairs) : "x"(a_u7), "m"(*(const __m256i *)b));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#define NAME(MR, NR) ql_gemm_u7s8s32_##MR##x##NR##c4__avx2
#define TILE(MR, NR, VECTORS)                                                                         \
    static void NAME(MR, NR)(const ql_gemm_args *args, size_t i, size_t tiles, size_t j, size_t cols) \
    {                                                                                                 \
        const ql_gemm_args g = *args;                                                                 \
        const tile_end end = tile_end_of(VECTORS, args, j, cols);                                     \
        for (; tiles > 0; tiles--, i += MR)                                                           \
            gemm_quads(dot4, MR, VECTORS, 1, &g, &end, i, j, cols);                                   \
    }
#define ENTRY(MR, NR) NAME(MR, NR),

QL_ROWS_2(TILE, 32, 4)
QL_ROWS_6(TILE, 16, 2)
QL_ROWS_6(TILE, 8, 1)

static ql_gemm_ukernel *const wide_ukernels[] = {NULL, QL_ROWS_2(ENTRY, 32)};
static ql_gemm_ukernel *const ukernels[] = {NULL, QL_ROWS_6(ENTRY, 16)};
static ql_gemm_ukernel *const half_ukernels[] = {NULL, QL_ROWS_6(ENTRY, 8)};

const ql_gemm_kernels ql_gemm_u7s8s32__avx2 = {.mr = MAX_MR,
                                               .nr = NR,
                                               .kr = KR,
                                               .depth = KR,
                                               .a_size = 1,
                                               .row = row_of_bytes,
                                               .ukernel = ukernels,
                                               .half_ukernel = half_ukernels,
                                               .wide_mr = 2,
                                               .wide_ukernel = wide_ukernels};
