/* Codes of codebooks. */
#include <math.h>

#include "harness.h"

/* A codebook's tables, which have to lie on 64 bytes, as the ends of pages do. Thresholds are a value of codebook,
 * often met exactly; in breadth-first order: node i of level l stands at rank (2 * (i - 2^l) + 1) * 2^(levels - l - 1).
 */
static ql_codebook_tree any_tree(void)
{
    const int levels = between(4, 8);
    const size_t leaves = (size_t)1 << levels, used = (size_t)between(1, (int32_t)leaves);
    float *threshold = array(3, leaves * sizeof *threshold);
    int32_t *code = array(4, leaves * sizeof *code);
    threshold[0] = NAN;
    for (int l = 0; l < levels; l++) {
        for (size_t i = 0; i < (size_t)1 << l; i++) {
            size_t rank = (2 * i + 1) << (levels - l - 1);
            threshold[((size_t)1 << l) + i] = rank < used ? (float)((int)rank - (int)used / 2) + 0.5f : NAN;
        }
    }
    for (size_t i = 0; i < leaves; i++)
        code[i] = (int32_t)(i * 5 % leaves);
    return (ql_codebook_tree){levels, QL_CODES_ANY, 0, 0, threshold, code};
}

static results quantize_codebook(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 8);
    float *x = any_values(2, n, p.scale, group);
    ql_codebook_tree tree = any_tree();
    uint8_t *codes = array(RESULT, n);
    bool nonfinite = kernels->quantize_codebook_f32_u8(x, n, p.scale, group, &tree, codes);
    return (results){codes, n, nonfinite};
}

static results dequantize_codebook(const ql_kernels *kernels, size_t n, size_t group)
{
    const int levels = between(4, 8);
    const float unit = 1.0f;
    parameters p = any_parameters(parameter_count(n, group), 8);
    uint8_t *codes = any_codes(2, n);
    float *values = any_values(3, (size_t)1 << levels, &unit, SIZE_MAX), *x = array(RESULT, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        codes[i] %= 1u << levels;
    kernels->dequantize_codebook_u8_f32(codes, n, p.scale, group, values, levels, x);
    return floats(x, n, false);
}

const subject codebook_subjects[] = {
    {"quantize_codebook_f32_u8", quantize_codebook},
    {"dequantize_codebook_u8_f32", dequantize_codebook},
    {0},
};
