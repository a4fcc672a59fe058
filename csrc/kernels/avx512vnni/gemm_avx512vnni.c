/* The integer product on vpdpbusd: four u8 x s8 products per 32-bit lane, summed exactly (no 16-bit stage).
 *
 * Tile 12 x 32: 24 accumulators, 2 registers of b, 1 of a; 12 x 16 for the last columns of a narrow b, from the same
 * panel. a is read in place; the 1 to 3 bytes past the last group of four are fetched one by one, never beyond the row.
 *
 * Why no tile over two panels for one row: two streams from L2 are read at 0.8 of the speed of one. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"
#include "kernels/finish.h"
#include "kernels/quads.h"
#include "kernels/tiles.h"

enum { NR = 32, KR = 4, MAX_MR = 12, MAX_SPLIT = 4, MAX_VECTORS = 2 };

static const ql_finishers finishers = {ql_add_outer_s32__avx512vnni,           ql_add_residual_u8_s32__avx512vnni,
                                       ql_scale_s32_f32__avx512vnni,           ql_requantize_s32_x8__avx512vnni,
                                       ql_requantize_fixed_s32_x8__avx512vnni, ql_curve_s32_x8__avx512vnni};

/* b from memory: what streams through it has to be read in order to be fetched ahead, and the compiler reorders loads.
 */
static inline __attribute__((always_inline)) __m512i dot4_from(__m512i sum, __m512i a_u8, const int8_t *b)
{
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a_u8), "m"(*(const __m512i *)b));
    return sum;
}

enum { VECTORS_OF_CODES = MAX_VECTORS, CLAMPS_CODES = false };

/* Codes of a grid. */
typedef struct code_rule {
    __m512i zero_point, low; /* low: in steps from the zero point */
} code_rule;

static inline code_rule code_rule_of(const ql_epilogue *e)
{
    return (code_rule){set_s32(e->zero_point), set_s32(e->qmin - e->zero_point)};
}

/* Stores the codes of steps, which are at most qmax - zero_point: of up to VECTORS_OF_CODES vectors in all. */
static inline __attribute__((always_inline)) void store_codes(uint8_t *codes, size_t stride,
                                                              __m512i steps[][MAX_VECTORS], const int rows,
                                                              const int vectors, const code_rule *r)
{
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            store_u8(codes + (size_t)i * stride + LANES * v,
                     add_s32(_mm512_max_epi32(steps[i][v], r->low), r->zero_point));
    }
}

#include "kernels/x86/tile_x86.h"

/* Over how many sets of accumulators k is dealt out: vectors is 2 for whole panels, 1 for their first 16 columns. */
static inline __attribute__((always_inline)) int split_of(const int mr, const int vectors)
{
    if (vectors == 1)
        return mr <= 3 ? 4 : mr <= 6 ? 2 : 1;
    return mr == 1 ? 4 : mr <= 4 ? 2 : 1;
}

static inline __attribute__((always_inline)) void gemm(const int mr, const int vectors, const int split,
                                                       const ql_gemm_args *g, const tile_end *end, size_t i0, size_t j,
                                                       size_t cols)
{
    const size_t a_stride = g->a_stride;
    const int8_t *b = g->b + j / NR * g->panel_stride;
    const uint8_t *rows = (const uint8_t *)g->a + i0 * a_stride;
    tile_sums sum[MAX_SPLIT];
    start_tile(mr, vectors, g, j, sum[0]);
#pragma GCC unroll 4
    for (int s = 1; s < split; s++)
        start_split(mr, vectors, sum[s]);
    for (size_t t = 0; t < g->segments; t++) {
        const uint8_t *a = rows + g->offset[t];
        size_t whole = g->k / KR, group = 0;
        for (; group + (size_t)split <= whole; group += (size_t)split) {
#pragma GCC unroll 4
            for (int s = 0; s < split; s++, b += NR * KR) {
                __m512i columns[MAX_VECTORS];
#pragma GCC unroll 2
                for (int v = 0; v < vectors && mr > 1; v++)
                    columns[v] = _mm512_load_si512(b + 64 * v);
#pragma GCC unroll 12
                for (int i = 0; i < mr; i++) {
                    int32_t four;
                    memcpy(&four, a + (size_t)i * a_stride + (group + (size_t)s) * KR, sizeof four);
                    __m512i a_four = _mm512_set1_epi32(four);
#pragma GCC unroll 2
                    for (int v = 0; v < vectors; v++)
                        sum[s][i][v] = mr > 1 ? dot4(sum[s][i][v], a_four, columns[v])
                                              : dot4_from(sum[s][i][v], a_four, b + 64 * v);
                }
            }
        }
        for (; group * KR < g->k; group++, b += NR * KR) {
            size_t left = g->k - group * KR;
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) {
                __m512i a_four = _mm512_set1_epi32(ql_next_quad(a + (size_t)i * a_stride + group * KR, left));
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++)
                    sum[0][i][v] = dot4(sum[0][i][v], a_four, _mm512_load_si512(b + 64 * v));
            }
        }
    }
#pragma GCC unroll 4
    for (int s = 1; s < split; s++)
        add_split(mr, vectors, sum[0], sum[s]);
    finish_tile(mr, vectors, g, end, sum[0], i0, j, cols);
}

static uint32_t row(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out)
{
    const __m512i flips = _mm512_set1_epi8((char)flip), ones = _mm512_set1_epi8(1);
    uint8_t *codes = out;
    __m512i sum = _mm512_setzero_si512();
    for (size_t p = 0; p < k; p += 64) {
        __mmask64 mask = k - p < 64 ? _cvtu64_mask64((UINT64_C(1) << (k - p)) - 1) : _cvtu64_mask64(UINT64_MAX);
        __m512i v = _mm512_maskz_loadu_epi8(mask, a + p);
        v = _mm512_maskz_mov_epi8(mask, _mm512_xor_si512(v, flips));
        sum = dot4(sum, v, ones);
        if (codes)
            _mm512_mask_storeu_epi8(codes + p, mask, v);
    }
    if (codes)
        memset(codes + k, 0, padded - k);
    return (uint32_t)_mm512_reduce_add_epi32(sum);
}

#define NAME(MR, NR) ql_gemm_u8s8s32_##MR##x##NR##c4__avx512vnni
#define TILE(MR, NR, VECTORS)                                                                         \
    static void NAME(MR, NR)(const ql_gemm_args *args, size_t i, size_t tiles, size_t j, size_t cols) \
    {                                                                                                 \
        const ql_gemm_args g = *args;                                                                 \
        const tile_end end = tile_end_of(VECTORS, args, j, cols);                                     \
        for (; tiles > 0; tiles--, i += MR)                                                           \
            gemm(MR, VECTORS, split_of(MR, VECTORS), &g, &end, i, j, cols);                           \
    }
#define ENTRY(MR, NR) NAME(MR, NR),

QL_ROWS_12(TILE, 32, 2)
QL_ROWS_12(TILE, 16, 1)

static ql_gemm_ukernel *const ukernels[] = {NULL, QL_ROWS_12(ENTRY, 32)};
static ql_gemm_ukernel *const half_ukernels[] = {NULL, QL_ROWS_12(ENTRY, 16)};

const ql_gemm_kernels ql_gemm_u8s8s32__avx512vnni = {.mr = MAX_MR,
                                                     .nr = NR,
                                                     .kr = KR,
                                                     .depth = KR,
                                                     .a_size = 1,
                                                     .row = row,
                                                     .ukernel = ukernels,
                                                     .half_ukernel = half_ukernels};
