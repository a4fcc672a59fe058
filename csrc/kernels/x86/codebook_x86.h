/* Codebooks: vectors of values go down the tree, level by level, by lookups in registers. The file that includes this
 * brings
 *     looked_up(table, levels, index)   table[index % 2^levels], of 32-bit entries
 *     store_codes(codes, v)             the low bytes of v[UNROLL], the other bits of which are 0
 *     FIRST_LEVELS                      so many levels lie in one register, where a node's own number finds it
 *
 * Why not buckets of equal width: codebooks of floats are dense around zero, and sparse far out. */
enum { UNROLL = 4 };

/* One step down, to where t belongs. */
static inline ints child(floats t, const ql_codebook_tree *tree, int level, ints node)
{
    const float *nodes = tree->threshold + (level < FIRST_LEVELS ? 0 : 1 << level);
    const lane_mask second = at_least_f32(t, (floats)looked_up(nodes, level, node));
    return add_one_where(second, add_s32(node, node));
}

static inline ints code_of(ints leaf, const ql_codebook_tree *tree, int levels, ql_code_order order)
{
    if (order == QL_CODES_ANY)
        return looked_up(tree->code, levels, leaf);
    if (order == QL_CODES_IN_ORDER)
        return leaf & set_s32((1 << levels) - 1);
    const ints fold = set_s32(tree->fold), mirror = set_s32(tree->mirror);
    return where_s32(less_s32(leaf, fold), sub_s32(mirror, leaf), sub_s32(leaf, fold));
}

/* x / scale, 0 for NaN. */
static inline floats quotient(floats x, floats scale, bool divides)
{
    if (divides)
        x = x / scale;
    return keep_f32(ordered_lanes(x), x);
}

/* A product with zero is NaN for an infinity and for NaN alone, and so is a sum of such products. */
static inline floats with_zero(floats x, floats products)
{
    return fma_f32(x, set_f32(0.0f), products);
}

/* UNROLL vectors go down side by side: one by one, steps that wait for the one before fill the scheduler. */
static inline size_t quantize_side_by_side(const float *x, size_t n, floats scale, bool divides,
                                           const ql_codebook_tree *tree, int levels, ql_code_order order,
                                           uint8_t *codes, bool *nonfinite)
{
    floats products[2] = {set_f32(0.0f), set_f32(0.0f)};
    size_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
        floats t[UNROLL];
        ints node[UNROLL];
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; u++) {
            const floats values = load_f32(x + i + u * LANES);
            products[u % 2] = with_zero(values, products[u % 2]);
            t[u] = quotient(values, scale, divides);
            node[u] = set_s32(1);
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
        store_codes(codes + i, node);
    }
    *nonfinite = any_lane(nan_lanes(products[0] + products[1]));
    return i;
}

static inline floats quantize_lanes(const float *x, size_t left, floats scale, const ql_codebook_tree *tree, int levels,
                                    ql_code_order order, floats products, uint8_t *codes)
{
    const floats values = load_first_f32(x, left), t = quotient(values, scale, true);
    ints node = set_s32(1);
#pragma GCC unroll 8
    for (int level = 0; level < levels; level++)
        node = child(t, tree, level, node);
    store_first_u8(codes, left, code_of(node, tree, levels, order));
    return with_zero(values, products);
}

static inline bool quantize_shared(const float *x, size_t n, float scale, const ql_codebook_tree *tree, int levels,
                                   ql_code_order order, uint8_t *codes)
{
    const floats s = set_f32(scale);
    floats products = set_f32(0.0f);
    bool nonfinite;
    size_t i = scale == 1 ? quantize_side_by_side(x, n, s, false, tree, levels, order, codes, &nonfinite)
                          : quantize_side_by_side(x, n, s, true, tree, levels, order, codes, &nonfinite);
    for (; i + LANES <= n; i += LANES)
        products = quantize_lanes(x + i, LANES, s, tree, levels, order, products, codes + i);
    if (i < n)
        products = quantize_lanes(x + i, n - i, s, tree, levels, order, products, codes + i);
    return nonfinite || any_lane(nan_lanes(products));
}

/* Lanes past the end divide by 1. */
static inline bool quantize_own(const float *x, size_t n, const float *scale, const ql_codebook_tree *tree, int levels,
                                ql_code_order order, uint8_t *codes)
{
    floats products = set_f32(0.0f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        products = quantize_lanes(x + i, LANES, load_f32(scale + i), tree, levels, order, products, codes + i);
    if (i < n) {
        const floats s = load_first_or_f32(scale + i, n - i, set_f32(1.0f));
        products = quantize_lanes(x + i, n - i, s, tree, levels, order, products, codes + i);
    }
    return any_lane(nan_lanes(products));
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

bool QL_KERNEL(ql_quantize_codebook_f32_u8)(const float *x, size_t n, const float *scale, size_t group,
                                            const ql_codebook_tree *tree, uint8_t *codes)
{
    if (tree->order == QL_CODES_IN_ORDER)
        return quantize_order(x, n, scale, group, tree, QL_CODES_IN_ORDER, codes);
    if (tree->order == QL_CODES_FOLDED)
        return quantize_order(x, n, scale, group, tree, QL_CODES_FOLDED, codes);
    return quantize_order(x, n, scale, group, tree, QL_CODES_ANY, codes);
}

static inline void dequantize_lanes(const uint8_t *codes, size_t left, floats scale, const float *values, int levels,
                                    float *x)
{
    store_first_f32(x, left, scale * (floats)looked_up(values, levels, load_first_u8(codes, left)));
}

static inline void dequantize_shared(const uint8_t *codes, size_t n, floats scale, const float *values, int levels,
                                     float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        dequantize_lanes(codes + i, LANES, scale, values, levels, x + i);
    if (i < n)
        dequantize_lanes(codes + i, n - i, scale, values, levels, x + i);
}

static inline void dequantize_own(const uint8_t *codes, size_t n, const float *scale, const float *values, int levels,
                                  float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        dequantize_lanes(codes + i, LANES, load_f32(scale + i), values, levels, x + i);
    if (i < n)
        dequantize_lanes(codes + i, n - i, load_first_f32(scale + i, n - i), values, levels, x + i);
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
        dequantize_shared(codes + i, n - i < group ? n - i : group, set_f32(*scale), values, levels, x + i);
}
