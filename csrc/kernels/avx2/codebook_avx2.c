/* Codebooks, eight values at a time. A level of the tree that has 8 nodes or fewer fits a register, where a permutation
 * looks a node up; of 16 and 32 they take two or four, and choices by the node's higher bits. Higher levels are
 * gathered: a gather costs as much as ten permutations. */
#include <string.h>

#include "kernels/avx2/lanes_avx2.h"
#include "kernels/scalar/scalar.h"

enum { UNROLL = 4 };

static inline __m256i load(const void *table, int part)
{
    return _mm256_load_si256((const __m256i *)table + part);
}

/* if_set where the bit of the index is set. */
static inline __m256i chosen(__m256i index, int bit, __m256i if_clear, __m256i if_set)
{
    __m256 sign = _mm256_castsi256_ps(_mm256_slli_epi32(index, 31 - bit));
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(if_clear), _mm256_castsi256_ps(if_set), sign));
}

/* table[index % 8 + 8 * part]. */
static inline __m256i looked_up_8(const void *table, int part, __m256i index)
{
    return _mm256_permutevar8x32_epi32(load(table, part), index);
}

static inline __m256i looked_up_16(const void *table, int part, __m256i index)
{
    return chosen(index, 3, looked_up_8(table, 2 * part, index), looked_up_8(table, 2 * part + 1, index));
}

/* table[index % 2^levels], of 32-bit entries. */
static inline __m256i looked_up(const void *table, int levels, __m256i index)
{
    if (levels <= 3)
        return looked_up_8(table, 0, index);
    if (levels == 4)
        return looked_up_16(table, 0, index);
    if (levels == 5)
        return chosen(index, 4, looked_up_16(table, 0, index), looked_up_16(table, 1, index));
    index = _mm256_and_si256(index, _mm256_set1_epi32((1 << levels) - 1));
    return _mm256_i32gather_epi32(table, index, 4);
}

/* One step down, to where t belongs. The first three levels lie in one register, where a node's own number finds it. A
 * comparison that holds is -1. */
static inline __m256i child(__m256 t, const ql_codebook_tree *tree, int level, __m256i node)
{
    const float *nodes = tree->threshold + (level < 3 ? 0 : 1 << level);
    __m256 threshold = _mm256_castsi256_ps(looked_up(nodes, level, node));
    __m256i second = _mm256_castps_si256(_mm256_cmp_ps(t, threshold, _CMP_GE_OQ));
    return _mm256_sub_epi32(_mm256_add_epi32(node, node), second);
}

static inline __m256i code_of(__m256i leaf, const ql_codebook_tree *tree, int levels, ql_code_order order)
{
    if (order == QL_CODES_ANY)
        return looked_up(tree->code, levels, leaf);
    if (order == QL_CODES_IN_ORDER)
        return _mm256_and_si256(leaf, _mm256_set1_epi32((1 << levels) - 1));
    const __m256i fold = _mm256_set1_epi32(tree->fold), mirror = _mm256_set1_epi32(tree->mirror);
    __m256i mirrored = _mm256_cmpgt_epi32(fold, leaf);
    return _mm256_blendv_epi8(_mm256_sub_epi32(leaf, fold), _mm256_sub_epi32(mirror, leaf), mirrored);
}

/* x / scale, 0 for NaN. */
static inline __m256 quotient(__m256 x, __m256 scale, bool divides)
{
    __m256 t = divides ? _mm256_div_ps(x, scale) : x;
    return _mm256_and_ps(t, _mm256_cmp_ps(t, t, _CMP_ORD_Q));
}

static inline void store_nearest(__m256 t, const ql_codebook_tree *tree, int levels, ql_code_order order, size_t n,
                                 uint8_t *codes)
{
    __m256i node = _mm256_set1_epi32(1);
#pragma GCC unroll 8
    for (int level = 0; level < levels; level++)
        node = child(t, tree, level, node);
    uint64_t bytes = low_bytes(code_of(node, tree, levels, order));
    memcpy(codes, &bytes, n);
}

/* A product with zero is NaN for an infinity and for NaN alone, and so is a sum of such products. */
static inline __m256 with_zero(__m256 x, __m256 products)
{
    return _mm256_fmadd_ps(x, _mm256_setzero_ps(), products);
}

static inline bool has_nonfinite(__m256 product)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(product, product, _CMP_UNORD_Q)) != 0;
}

/* UNROLL vectors go down side by side: one by one, steps that wait for the one before fill the scheduler. */
static inline size_t quantize_side_by_side(const float *x, size_t n, __m256 scale, bool divides,
                                           const ql_codebook_tree *tree, int levels, ql_code_order order,
                                           uint8_t *codes, bool *nonfinite)
{
    const __m256i in_place = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256 products[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
        __m256 t[UNROLL];
        __m256i node[UNROLL];
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; u++) {
            const __m256 values = _mm256_loadu_ps(x + i + u * LANES);
            products[u % 2] = with_zero(values, products[u % 2]);
            t[u] = quotient(values, scale, divides);
            node[u] = _mm256_set1_epi32(1);
        }
#pragma GCC unroll 8
        for (int level = 0; level < levels; level++) {
#pragma GCC unroll 8
            for (int u = 0; u < UNROLL; u++)
                node[u] = child(t[u], tree, level, node[u]);
        }
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; u++)
            node[u] = code_of(node[u], tree, levels, order);
        __m256i bytes =
            _mm256_packus_epi16(_mm256_packus_epi32(node[0], node[1]), _mm256_packus_epi32(node[2], node[3]));
        _mm256_storeu_si256((__m256i *)(codes + i), _mm256_permutevar8x32_epi32(bytes, in_place));
    }
    *nonfinite = has_nonfinite(_mm256_add_ps(products[0], products[1]));
    return i;
}

static inline bool quantize_shared(const float *x, size_t n, float scale, const ql_codebook_tree *tree, int levels,
                                   ql_code_order order, uint8_t *codes)
{
    const __m256 s = _mm256_set1_ps(scale);
    __m256 product = _mm256_setzero_ps();
    bool nonfinite;
    size_t i = scale == 1 ? quantize_side_by_side(x, n, s, false, tree, levels, order, codes, &nonfinite)
                          : quantize_side_by_side(x, n, s, true, tree, levels, order, codes, &nonfinite);
    for (; i < n; i += LANES) {
        const size_t lanes = n - i < LANES ? n - i : LANES;
        __m256 values = _mm256_maskload_ps(x + i, lane_mask(lanes)), t = quotient(values, s, true);
        product = with_zero(values, product);
        store_nearest(t, tree, levels, order, lanes, codes + i);
    }
    return nonfinite || has_nonfinite(product);
}

/* Lanes past the end divide by 1. */
static inline bool quantize_own(const float *x, size_t n, const float *scale, const ql_codebook_tree *tree, int levels,
                                ql_code_order order, uint8_t *codes)
{
    __m256 product = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += LANES) {
        const size_t lanes = n - i < LANES ? n - i : LANES;
        __m256i mask = lane_mask(lanes);
        __m256 s = _mm256_maskload_ps(scale + i, mask);
        s = _mm256_blendv_ps(_mm256_set1_ps(1.0f), s, _mm256_castsi256_ps(mask));
        __m256 values = _mm256_maskload_ps(x + i, mask), t = quotient(values, s, true);
        product = with_zero(values, product);
        store_nearest(t, tree, levels, order, lanes, codes + i);
    }
    return has_nonfinite(product);
}

static inline __attribute__((always_inline)) bool quantize_levels(const float *x, size_t n, const float *scale,
                                                                  size_t group, const ql_codebook_tree *tree,
                                                                  int levels, ql_code_order order, uint8_t *codes)
{
    if (group == 1)
        return quantize_own(x, n, scale, tree, levels, order, codes);
    bool nonfinite = false;
    for (size_t i = 0; i < n; i += group, scale++)
        nonfinite |= quantize_shared(x + i, n - i < group ? n - i : group, *scale, tree, levels, order, codes + i);
    return nonfinite;
}

/* levels and order as constants, so that lookups are known and tables stay in registers. */
static inline __attribute__((always_inline)) bool quantize_order(const float *x, size_t n, const float *scale,
                                                                 size_t group, const ql_codebook_tree *tree,
                                                                 ql_code_order order, uint8_t *codes)
{
    switch (tree->levels) {
    case 4:
        return quantize_levels(x, n, scale, group, tree, 4, order, codes);
    case 5:
        return quantize_levels(x, n, scale, group, tree, 5, order, codes);
    case 6:
        return quantize_levels(x, n, scale, group, tree, 6, order, codes);
    case 7:
        return quantize_levels(x, n, scale, group, tree, 7, order, codes);
    default:
        return quantize_levels(x, n, scale, group, tree, 8, order, codes);
    }
}

bool ql_quantize_codebook_f32_u8__avx2(const float *x, size_t n, const float *scale, size_t group,
                                       const ql_codebook_tree *tree, uint8_t *codes)
{
    if (tree->order == QL_CODES_IN_ORDER)
        return quantize_order(x, n, scale, group, tree, QL_CODES_IN_ORDER, codes);
    if (tree->order == QL_CODES_FOLDED)
        return quantize_order(x, n, scale, group, tree, QL_CODES_FOLDED, codes);
    return quantize_order(x, n, scale, group, tree, QL_CODES_ANY, codes);
}

static inline __m256 dequantized(uint64_t bytes, __m256 scale, const float *values, int levels)
{
    __m256i code = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes));
    return _mm256_mul_ps(scale, _mm256_castsi256_ps(looked_up(values, levels, code)));
}

static inline void dequantize_shared(const uint8_t *codes, size_t n, float scale, const float *values, int levels,
                                     float *x)
{
    const __m256 s = _mm256_set1_ps(scale);
    size_t i = 0;
    uint64_t bytes;
    for (; i + LANES <= n; i += LANES) {
        memcpy(&bytes, codes + i, sizeof bytes);
        _mm256_storeu_ps(x + i, dequantized(bytes, s, values, levels));
    }
    if (i < n) {
        bytes = 0;
        memcpy(&bytes, codes + i, n - i);
        _mm256_maskstore_ps(x + i, lane_mask(n - i), dequantized(bytes, s, values, levels));
    }
}

static inline void dequantize_own(const uint8_t *codes, size_t n, const float *scale, const float *values, int levels,
                                  float *x)
{
    for (size_t i = 0; i < n; i += LANES) {
        const size_t lanes = n - i < LANES ? n - i : LANES;
        __m256i mask = lane_mask(lanes);
        uint64_t bytes = 0;
        memcpy(&bytes, codes + i, lanes);
        __m256 s = _mm256_maskload_ps(scale + i, mask);
        _mm256_maskstore_ps(x + i, mask, dequantized(bytes, s, values, levels));
    }
}

static inline __attribute__((always_inline)) void dequantize_levels(const uint8_t *codes, size_t n, const float *scale,
                                                                    size_t group, const float *values, int levels,
                                                                    float *x)
{
    if (group == 1) {
        dequantize_own(codes, n, scale, values, levels, x);
        return;
    }
    for (size_t i = 0; i < n; i += group, scale++)
        dequantize_shared(codes + i, n - i < group ? n - i : group, *scale, values, levels, x + i);
}

/* Above 32 values eight loads are as good as a gather: 3.2 Ge/s, 2.2 with gathers. */
void ql_dequantize_codebook_u8_f32__avx2(const uint8_t *codes, size_t n, const float *scale, size_t group,
                                         const float *values, int levels, float *x)
{
    if (levels == 4)
        dequantize_levels(codes, n, scale, group, values, 4, x);
    else if (levels == 5)
        dequantize_levels(codes, n, scale, group, values, 5, x);
    else
        ql_dequantize_codebook_u8_f32__scalar(codes, n, scale, group, values, levels, x);
}
