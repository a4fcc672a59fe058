/* The exact integer product without VNNI: both sides as 16-bit numbers through vpmaddwd, whose pair sums
 * (at most 2 * 255 * 128) cannot leave int32.
 *
 * Why not vpmaddubsw, which does twice as much per instruction: its 16-bit pair sums saturate for full-range codes
 * (255 * 127 + 255 * 127), and every known way around that costs what it gains (tried: |a| with sign(b, a), which is
 * also wrong for b = -128, and splitting a into nibbles: 0.85 and 0.7 times this kernel's speed). Codes of seven bits
 * cannot reach it: gemm_u7_avx2.c.
 * Why not vpmaddubsw for weights whose neighbours add up to no more than 128 of one sign, with what others have in
 * excess of that multiplied on its own: exact, for twice the memory, and 0.85 to 0.94 of the time from k = 384 on for
 * weights that spread like normal ones, but 0.9 to 1.2 below. A transformer of 384 took 0.93 of its time, MobileNetV2
 * 1.03.
 * Why not fewer products by Strassen's sums, which fit 16 bits: one level takes 0.96 to 1.3 of the time for matrices of
 * these networks, two levels 1.02 to 1.8, for 3.5 and 6 times the memory.
 * Why is b widened while it is loaded, not when it is packed: half the bytes, which is what binds one row, and within
 * a tenth of the other form elsewhere. Widening a panel once for many rows costs the 4 % that tiles win by it.
 * Why does nobody fetch the next panel to L2 ahead: 48x4096x4096 takes 0.96 of the time, a transformer of 384 0.99, but
 * the networks of convolutions 1.01 to 1.02.
 *
 * Tile 6 x 16: 12 accumulators, 2 registers of b, 1 of a. */
#include "kernels/avx2/tile_avx2.h"

enum { KR = 2 };

static inline __attribute__((always_inline)) void gemm(const int mr, const int vectors, const ql_gemm_args *g,
                                                       const tile_end *end, size_t i0, size_t j, size_t cols)
{
    const char *rows = (const char *)g->a + i0 * g->a_stride;
    const int8_t *b = g->b + j / NR * g->panel_stride;
    const size_t next_panel = vectors > 2 ? g->panel_stride : 0;
    tile_sums sum;
    start_tile(mr, vectors, g, j, sum);
    for (size_t t = 0; t < g->segments; t++) {
        const char *a = rows + g->offset[t];
        for (size_t p = 0; p < g->k; p += KR, b += NR * KR) {
            __m256i columns[MAX_VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                columns[v] = _mm256_cvtepi8_epi16(
                    _mm_load_si128((const __m128i *)(b + (v < 2 ? 0 : next_panel) + 16 * (v % 2))));
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++) {
                int32_t pair;
                memcpy(&pair, a + (size_t)i * g->a_stride + p * sizeof(int16_t), sizeof pair);
                __m256i a_pair = _mm256_set1_epi32(pair);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    sum[i][v] = _mm256_add_epi32(sum[i][v], _mm256_madd_epi16(a_pair, columns[v]));
            }
        }
    }
    finish_tile(mr, vectors, g, end, sum, i0, j, cols);
}

static uint32_t row(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out)
{
    enum { BLOCK = 32 };
    const __m256i flips = _mm256_set1_epi8((char)flip), wide_flips = _mm256_set1_epi16(flip);
    const __m256i zero = _mm256_setzero_si256();
    int16_t *codes = out;
    __m256i sums = zero;
    size_t p = 0;
    for (; p + BLOCK <= k; p += BLOCK) {
        const __m256i v = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(a + p)), flips);
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(v, zero));
        if (codes) {
            const __m256i low = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(a + p)));
            const __m256i high = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(a + p + 16)));
            _mm256_storeu_si256((__m256i *)(codes + p), _mm256_xor_si256(low, wide_flips));
            _mm256_storeu_si256((__m256i *)(codes + p + 16), _mm256_xor_si256(high, wide_flips));
        }
    }
    uint32_t sum = total(sums);
    for (; p < k; p++) {
        sum += (uint8_t)(a[p] ^ flip);
        if (codes)
            codes[p] = a[p] ^ flip;
    }
    if (codes)
        memset(codes + k, 0, (padded - k) * sizeof *codes);
    return sum;
}

#define NAME(MR, NR) ql_gemm_u8s8s32_##MR##x##NR##c2__avx2
#define TILE(MR, NR, VECTORS)                                                                         \
    static void NAME(MR, NR)(const ql_gemm_args *args, size_t i, size_t tiles, size_t j, size_t cols) \
    {                                                                                                 \
        const ql_gemm_args g = *args;                                                                 \
        const tile_end end = tile_end_of(VECTORS, args, j, cols);                                     \
        for (; tiles > 0; tiles--, i += MR)                                                           \
            gemm(MR, VECTORS, &g, &end, i, j, cols);                                                  \
    }
#define ENTRY(MR, NR) NAME(MR, NR),

QL_ROWS_2(TILE, 32, 4)
QL_ROWS_6(TILE, 16, 2)
QL_ROWS_6(TILE, 8, 1)

static ql_gemm_ukernel *const wide_ukernels[] = {NULL, QL_ROWS_2(ENTRY, 32)};
static ql_gemm_ukernel *const ukernels[] = {NULL, QL_ROWS_6(ENTRY, 16)};
static ql_gemm_ukernel *const half_ukernels[] = {NULL, QL_ROWS_6(ENTRY, 8)};

const ql_gemm_kernels ql_gemm_u8s8s32__avx2 = {.mr = MAX_MR,
                                               .nr = NR,
                                               .kr = KR,
                                               .depth = KR,
                                               .a_size = 2,
                                               .is_as_wide = true,
                                               .row = row,
                                               .ukernel = ukernels,
                                               .half_ukernel = half_ukernels,
                                               .wide_mr = 2,
                                               .wide_ukernel = wide_ukernels};
