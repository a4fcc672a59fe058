/* Codebooks, sixteen values at a time. A level of the tree that has 16 nodes or fewer fits a register, one of 32 two:
 * a permutation looks a node up in one instruction, of which higher levels take two, four, ... and choose between the
 * results by the node's higher bits. All 255 nodes together are sixteen registers' worth and sixteen lookups.
 *
 * Why not gathers: sixteen loads cost more than the seven permutations and six choices of the last level.
 * Why not buckets of equal width: codebooks of floats are dense around zero, and sparse far out. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"

enum { UNROLL = 4 };

static inline __m512i load(const void *table, int part)
{
    return _mm512_load_si512((const char *)table + 64 * part);
}

/* table[index % 32 + 32 * part]. */
static inline __m512i looked_up_32(const void *table, int part, __m512i index)
{
    return _mm512_permutex2var_epi32(load(table, 2 * part), index, load(table, 2 * part + 1));
}

static inline __m512i chosen(__m512i index, int bit, __m512i if_clear, __m512i if_set)
{
    return _mm512_mask_mov_epi32(if_clear, _mm512_test_epi32_mask(index, _mm512_set1_epi32(1 << bit)), if_set);
}

static inline __m512i looked_up_64(const void *table, int part, __m512i index)
{
    return chosen(index, 5, looked_up_32(table, 2 * part, index), looked_up_32(table, 2 * part + 1, index));
}

static inline __m512i looked_up_128(const void *table, int part, __m512i index)
{
    return chosen(index, 6, looked_up_64(table, 2 * part, index), looked_up_64(table, 2 * part + 1, index));
}

/* table[index % 2^levels], of 32-bit entries. */
static inline __m512i looked_up(const void *table, int levels, __m512i index)
{
    if (levels <= 4)
        return _mm512_permutexvar_epi32(index, load(table, 0));
    if (levels == 5)
        return looked_up_32(table, 0, index);
    if (levels == 6)
        return looked_up_64(table, 0, index);
    if (levels == 7)
        return looked_up_128(table, 0, index);
    return chosen(index, 7, looked_up_128(table, 0, index), looked_up_128(table, 1, index));
}

/* One step down, to where t belongs. The first four levels lie in one register, where a node's own number finds it. */
static inline __m512i child(__m512 t, const ql_codebook_tree *tree, int level, __m512i node)
{
    const __m512i one = _mm512_set1_epi32(1);
    const float *nodes = tree->threshold + (level < 4 ? 0 : 1 << level);
    __m512 threshold = _mm512_castsi512_ps(looked_up(nodes, level, node));
    __mmask16 second = _mm512_cmp_ps_mask(t, threshold, _CMP_GE_OQ);
    node = _mm512_add_epi32(node, node);
    return _mm512_mask_or_epi32(node, second, node, one);
}

static inline __m128i code_of(__m512i leaf, const ql_codebook_tree *tree, int levels, ql_code_order order)
{
    if (order == QL_CODES_ANY)
        return _mm512_cvtepi32_epi8(looked_up(tree->code, levels, leaf));
    if (order == QL_CODES_IN_ORDER)
        return _mm512_cvtepi32_epi8(_mm512_and_si512(leaf, _mm512_set1_epi32((1 << levels) - 1)));
    const __m512i fold = _mm512_set1_epi32(tree->fold), mirror = _mm512_set1_epi32(tree->mirror);
    __mmask16 mirrored = _mm512_cmplt_epi32_mask(leaf, fold);
    return _mm512_cvtepi32_epi8(_mm512_mask_sub_epi32(_mm512_sub_epi32(leaf, fold), mirrored, mirror, leaf));
}

/* x / scale, 0 for NaN. */
static inline __m512 quotient(__m512 x, __m512 scale, bool divides)
{
    __m512 t = divides ? _mm512_div_ps(x, scale) : x;
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(t, t, _CMP_ORD_Q), t);
}

static inline __m128i nearest(__m512 t, const ql_codebook_tree *tree, int levels, ql_code_order order)
{
    __m512i node = _mm512_set1_epi32(1);
#pragma GCC unroll 8
    for (int level = 0; level < levels; level++)
        node = child(t, tree, level, node);
    return code_of(node, tree, levels, order);
}

/* A product with zero is NaN for an infinity and for NaN alone, and so is a sum of such products. */
static inline __m512 with_zero(__m512 x, __m512 products)
{
    return _mm512_fmadd_ps(x, _mm512_setzero_ps(), products);
}

static inline bool has_nonfinite(__m512 product)
{
    return _mm512_cmp_ps_mask(product, product, _CMP_UNORD_Q) != 0;
}

/* UNROLL vectors go down side by side: one by one, steps that wait for the one before fill the scheduler. */
static inline size_t quantize_side_by_side(const float *x, size_t n, __m512 scale, bool divides,
                                           const ql_codebook_tree *tree, int levels, ql_code_order order,
                                           uint8_t *codes, bool *nonfinite)
{
    __m512 products[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    size_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
        __m512 t[UNROLL];
        __m512i node[UNROLL];
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; u++) {
            const __m512 values = _mm512_loadu_ps(x + i + u * LANES);
            products[u % 2] = with_zero(values, products[u % 2]);
            t[u] = quotient(values, scale, divides);
            node[u] = _mm512_set1_epi32(1);
        }
#pragma GCC unroll 8
        for (int level = 0; level < levels; level++) {
#pragma GCC unroll 8
            for (int u = 0; u < UNROLL; u++)
                node[u] = child(t[u], tree, level, node[u]);
        }
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; u++)
            _mm_storeu_si128((__m128i *)(codes + i + u * LANES), code_of(node[u], tree, levels, order));
    }
    *nonfinite = has_nonfinite(_mm512_add_ps(products[0], products[1]));
    return i;
}

static inline __m512 quantize_lanes(const float *x, __mmask16 mask, __m512 scale, const ql_codebook_tree *tree,
                                    int levels, ql_code_order order, __m512 products, uint8_t *codes)
{
    const __m512 values = _mm512_maskz_loadu_ps(mask, x);
    _mm_mask_storeu_epi8(codes, mask, nearest(quotient(values, scale, true), tree, levels, order));
    return with_zero(values, products);
}

static inline bool quantize_shared(const float *x, size_t n, float scale, const ql_codebook_tree *tree, int levels,
                                   ql_code_order order, uint8_t *codes)
{
    const __m512 s = _mm512_set1_ps(scale);
    __m512 products = _mm512_setzero_ps();
    bool nonfinite;
    size_t i = scale == 1 ? quantize_side_by_side(x, n, s, false, tree, levels, order, codes, &nonfinite)
                          : quantize_side_by_side(x, n, s, true, tree, levels, order, codes, &nonfinite);
    for (; i + LANES <= n; i += LANES)
        products = quantize_lanes(x + i, ALL, s, tree, levels, order, products, codes + i);
    if (i < n)
        products = quantize_lanes(x + i, lane_mask(n - i), s, tree, levels, order, products, codes + i);
    return nonfinite || has_nonfinite(products);
}

/* Lanes past the end divide by 1. */
static inline bool quantize_own(const float *x, size_t n, const float *scale, const ql_codebook_tree *tree, int levels,
                                ql_code_order order, uint8_t *codes)
{
    __m512 products = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        products = quantize_lanes(x + i, ALL, _mm512_loadu_ps(scale + i), tree, levels, order, products, codes + i);
    if (i < n) {
        const __mmask16 mask = lane_mask(n - i);
        const __m512 s = _mm512_mask_loadu_ps(_mm512_set1_ps(1.0f), mask, scale + i);
        products = quantize_lanes(x + i, mask, s, tree, levels, order, products, codes + i);
    }
    return has_nonfinite(products);
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

bool ql_quantize_codebook_f32_u8__avx512vnni(const float *x, size_t n, const float *scale, size_t group,
                                             const ql_codebook_tree *tree, uint8_t *codes)
{
    if (tree->order == QL_CODES_IN_ORDER)
        return quantize_order(x, n, scale, group, tree, QL_CODES_IN_ORDER, codes);
    if (tree->order == QL_CODES_FOLDED)
        return quantize_order(x, n, scale, group, tree, QL_CODES_FOLDED, codes);
    return quantize_order(x, n, scale, group, tree, QL_CODES_ANY, codes);
}

static inline __m512 dequantized(__m128i bytes, __m512 scale, const float *values, int levels)
{
    return _mm512_mul_ps(scale, _mm512_castsi512_ps(looked_up(values, levels, _mm512_cvtepu8_epi32(bytes))));
}

static inline void dequantize_lanes(const uint8_t *codes, __mmask16 mask, __m512 scale, const float *values, int levels,
                                    float *x)
{
    _mm512_mask_storeu_ps(x, mask, dequantized(_mm_maskz_loadu_epi8(mask, codes), scale, values, levels));
}

static inline void dequantize_shared(const uint8_t *codes, size_t n, __m512 scale, const float *values, int levels,
                                     float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        dequantize_lanes(codes + i, ALL, scale, values, levels, x + i);
    if (i < n)
        dequantize_lanes(codes + i, lane_mask(n - i), scale, values, levels, x + i);
}

static inline void dequantize_own(const uint8_t *codes, size_t n, const float *scale, const float *values, int levels,
                                  float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        dequantize_lanes(codes + i, ALL, _mm512_loadu_ps(scale + i), values, levels, x + i);
    if (i < n) {
        const __mmask16 mask = lane_mask(n - i);
        dequantize_lanes(codes + i, mask, _mm512_maskz_loadu_ps(mask, scale + i), values, levels, x + i);
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
        dequantize_shared(codes + i, n - i < group ? n - i : group, _mm512_set1_ps(*scale), values, levels, x + i);
}

void ql_dequantize_codebook_u8_f32__avx512vnni(const uint8_t *codes, size_t n, const float *scale, size_t group,
                                               const float *values, int levels, float *x)
{
    switch (levels) {
    case 4:
        dequantize_levels(codes, n, scale, group, values, 4, x);
        break;
    case 5:
        dequantize_levels(codes, n, scale, group, values, 5, x);
        break;
    case 6:
        dequantize_levels(codes, n, scale, group, values, 6, x);
        break;
    case 7:
        dequantize_levels(codes, n, scale, group, values, 7, x);
        break;
    default:
        dequantize_levels(codes, n, scale, group, values, 8, x);
    }
}
