/* Codebooks: down the tree, several values side by side, because each has to wait for its node at every level. */
#include <math.h>

#include "kernels/portable/portable.h"

enum { LANES = 8 };

static bool nearest(const float *x, size_t n, float scale, const ql_codebook_tree *tree, uint8_t *codes)
{
    bool nonfinite = false;
    float t[LANES] = {0};
    uint32_t node[LANES];
    for (size_t i = 0; i < n; i++) {
        nonfinite |= !isfinite(x[i]);
        t[i] = isnan(x[i]) ? 0 : x[i] / scale;
    }
    for (size_t i = 0; i < LANES; i++)
        node[i] = 1;
    for (int level = 0; level < tree->levels; level++) {
        for (size_t i = 0; i < LANES; i++)
            node[i] = 2 * node[i] + (t[i] >= tree->threshold[node[i]]);
    }
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)tree->code[node[i] - (1u << tree->levels)];
    return nonfinite;
}

bool QL_KERNEL(ql_quantize_codebook_f32_u8)(const float *x, size_t n, const float *scale, size_t group,
                                            const ql_codebook_tree *tree, uint8_t *codes)
{
    bool nonfinite = false;
    for (size_t i = 0; i < n; i += group, scale++) {
        const size_t end = n - i < group ? n : i + group;
        for (size_t j = i; j < end; j += LANES)
            nonfinite |= nearest(x + j, end - j < LANES ? end - j : LANES, *scale, tree, codes + j);
    }
    return nonfinite;
}

void QL_KERNEL(ql_dequantize_codebook_u8_f32)(const uint8_t *codes, size_t n, const float *scale, size_t group,
                                              const float *values, int levels, float *x)
{
    (void)levels;
    for (size_t i = 0; i < n; i += group, scale++) {
        const size_t end = n - i < group ? n : i + group;
        for (size_t j = i; j < end; j++)
            x[j] = *scale * values[codes[j]];
    }
}
