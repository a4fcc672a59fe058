/* The product with grouped weights on vpdpbusd: unsigned weights by signed codes of rows, which is exact.
 *
 * Tile 6 x 32: 12 integer and 12 float accumulators, four registers of weights. The low and the high nibbles of one
 * load meet four codes each, so a row's next eight codes are two broadcasts, each into a register: taken from memory in
 * the multiplication itself they would bind the load ports (690 instead of 860 GOPS).
 *
 * Weights are unsigned for the instruction: signed ones have 128 added, and to their zero points too. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"
#include "kernels/tiles.h"

enum { NR = 32, KR = 8, MAX_MR = 6, VECTORS = NR / LANES, SHIFT = 128 };

typedef int32_t __attribute__((may_alias)) four_codes;

/* Sixteen columns of eight k. Loaded once: from the intrinsic alone gcc makes a load for each use. */
static inline __attribute__((always_inline)) __m512i load(const uint8_t *codes)
{
    __m512i w = _mm512_load_si512(codes);
    __asm__("" : "+v"(w));
    return w;
}

/* Their weights for the first four k, and for the last. */
static inline __attribute__((always_inline)) __m512i low_of(const ql_weight_form form, __m512i w, __m512i table)
{
    if (form == QL_WEIGHTS_S8)
        return _mm512_xor_si512(w, _mm512_set1_epi8(-SHIFT));
    w = _mm512_and_si512(w, _mm512_set1_epi8(15));
    return form == QL_WEIGHTS_TABLE ? _mm512_shuffle_epi8(table, w) : w;
}

static inline __attribute__((always_inline)) __m512i high_of(const ql_weight_form form, __m512i w, const uint8_t *codes,
                                                             __m512i table)
{
    if (form == QL_WEIGHTS_S8)
        return low_of(form, load(codes + 4 * NR), table);
    return low_of(form, _mm512_srli_epi16(w, 4), table);
}

/* Four k of weights by four codes of each row. */
static inline __attribute__((always_inline)) void multiply(const int mr, __m512i sum[MAX_MR][VECTORS],
                                                           const __m512i w[VECTORS], const int8_t *row, size_t stride)
{
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
        const __m512i four = _mm512_set1_epi32(*(const four_codes *)(row + (size_t)i * stride));
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = dot4(sum[i][v], w[v], four);
    }
}

static inline __attribute__((always_inline)) void add_group(const int mr, const ql_weight_form form, size_t steps,
                                                            const uint8_t *codes, __m512i table, const int8_t *row,
                                                            size_t stride, __m512i sum[MAX_MR][VECTORS])
{
    const size_t step_bytes = form == QL_WEIGHTS_S8 ? 8 * NR : 4 * NR;
    for (const uint8_t *end = codes + steps * step_bytes; codes != end; codes += step_bytes, row += KR) {
        __m512i w[VECTORS], half[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            w[v] = load(codes + 64 * v);
            half[v] = low_of(form, w[v], table);
        }
        multiply(mr, sum, half, row, stride);
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            half[v] = high_of(form, w[v], codes + 64 * v, table);
        multiply(mr, sum, half, row + 4, stride);
    }
}

static inline __m512i table_of(const ql_grouped_panel *b)
{
    const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)b->table));
    return _mm512_xor_si512(table, _mm512_set1_epi8(-SHIFT));
}

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x32c8__avx512vnni
#define ROWS QL_ROWS_6

#include "kernels/x86/gemm_grouped_x86.h"
