/* The exact integer product without VNNI: both sides as 16-bit numbers through vpmaddwd, whose pair sums
 * (at most 2 * 255 * 128) cannot leave int32.
 *
 * Why not vpmaddubsw, which does twice as much per instruction: its 16-bit pair sums saturate for full-range codes
 * (255 * 127 + 255 * 127), and every known way around that costs what it gains (tried: |a| with sign(b, a), which is
 * also wrong for b = -128, and splitting a into nibbles: 0.85 and 0.7 times this kernel's speed).
 * Why is b widened while it is loaded, not when it is packed: half the bytes, which is what binds one row, and within
 * a tenth of the other form elsewhere.
 *
 * Tile 6 x 16: 12 accumulators, 2 registers of b, 1 of a. */
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/finish.h"

enum { NR = 16, KR = 2, MAX_MR = 6 };

static const ql_finishers finishers = {ql_add_outer_s32__avx2, ql_scale_s32_f32__avx2, ql_requantize_s32_x8__avx2,
                                       ql_requantize_fixed_s32_x8__avx2};

static inline __attribute__((always_inline)) void gemm(const int mr, const ql_gemm_args *g, size_t i0, size_t j,
                                                       size_t cols)
{
    const char *a = (const char *)g->a + i0 * g->a_stride;
    const int8_t *b = g->b + j / NR * g->panel_stride;
    __m256i sum[MAX_MR][2];
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
        sum[i][0] = _mm256_loadu_si256((const __m256i *)(g->start + j));
        sum[i][1] = _mm256_loadu_si256((const __m256i *)(g->start + j + 8));
    }
    for (size_t t = 0; t < g->segments; t++, a += g->segment_stride) {
        for (size_t p = 0; p < g->k; p += KR, b += NR * KR) {
            __m256i b0 = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)b));
            __m256i b1 = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(b + 16)));
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++) {
                int32_t pair;
                memcpy(&pair, a + (size_t)i * g->a_stride + p * sizeof(int16_t), sizeof pair);
                __m256i a_pair = _mm256_set1_epi32(pair);
                sum[i][0] = _mm256_add_epi32(sum[i][0], _mm256_madd_epi16(a_pair, b0));
                sum[i][1] = _mm256_add_epi32(sum[i][1], _mm256_madd_epi16(a_pair, b1));
            }
        }
    }
    _Alignas(32) int32_t sums[MAX_MR * NR];
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
        _mm256_store_si256((__m256i *)(sums + i * NR), sum[i][0]);
        _mm256_store_si256((__m256i *)(sums + i * NR + 8), sum[i][1]);
    }
    ql_finish_tile(&finishers, g, sums, NR, i0, (size_t)mr, j, cols);
}

static uint32_t row(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out)
{
    uint32_t sum = 0;
    for (size_t p = 0; p < k; p++)
        sum += (uint8_t)(a[p] ^ flip);
    if (!out)
        return sum;
    int16_t *codes = out;
    for (size_t p = 0; p < k; p++)
        codes[p] = a[p] ^ flip;
    memset(codes + k, 0, (padded - k) * sizeof *codes);
    return sum;
}

#define TILE(MR)                                                                                          \
    static void ql_gemm_u8s8s32_##MR##x16c2__avx2(const ql_gemm_args *g, size_t i, size_t j, size_t cols) \
    {                                                                                                     \
        gemm(MR, g, i, j, cols);                                                                          \
    }

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

static ql_gemm_ukernel *const ukernels[] = {
    NULL,
    ql_gemm_u8s8s32_1x16c2__avx2,
    ql_gemm_u8s8s32_2x16c2__avx2,
    ql_gemm_u8s8s32_3x16c2__avx2,
    ql_gemm_u8s8s32_4x16c2__avx2,
    ql_gemm_u8s8s32_5x16c2__avx2,
    ql_gemm_u8s8s32_6x16c2__avx2,
};

const ql_gemm_kernels ql_gemm_u8s8s32__avx2 = {
    .mr = MAX_MR, .nr = NR, .kr = KR, .a_size = 2, .row = row, .ukernel = ukernels};
