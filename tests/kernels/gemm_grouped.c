/* Products with weights in groups, each with a scale. */
#include <stdlib.h>

#include "harness.h"

static results sum_groups(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t k = 8 * n, length = 8 * group, count = (k + length - 1) / length;
    const int8_t *codes = (const int8_t *)any_codes(2, k);
    int32_t *sum = array(RESULT, count * sizeof *sum);
    kernels->sum_groups_s8_s32(codes, k, length, any_sum(), sum);
    return (results){sum, count * sizeof *sum, false};
}

static results dequantize_group(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    const float unit = 1.0f;
    const bool is_byte = bits() % 2, has_zero_point = bits() % 2, has_values = bits() % 2, is_own = bits() % 2;
    const size_t nr = 8 * (size_t)between(1, QL_MAX_NR / 8), k = 8 * (n / 8 + 1), entries = is_byte ? 256 : 16;
    int16_t *zero_point = array(0, nr * sizeof *zero_point);
    for (size_t j = 0; j < nr; j++)
        zero_point[j] = (int16_t)between(-128, 127);
    float *scale = any_values(1, nr, &unit, nr), *w = array(RESULT, nr * k * sizeof *w);
    float *values = any_values(3, entries * (is_own ? nr : 1), &unit, SIZE_MAX);
    ql_group_part part = {.form = is_byte ? QL_WEIGHTS_S8 : QL_WEIGHTS_U4,
                          .k = k,
                          .nr = nr,
                          .codes = any_codes(2, nr * k / (is_byte ? 1 : 2)),
                          .scale = scale,
                          .zero_point = has_zero_point ? zero_point : NULL,
                          .shared_zero_point = between(-128, 127),
                          .values = has_values ? values : NULL,
                          .values_stride = is_own ? entries : 0};
    kernels->dequantize_group_f32(&part, w);
    return floats(w, nr * k, false);
}

/* Weights of every form, in slots 0 to 4. */
static ql_grouped *any_grouped(ql_pack_for purpose, size_t k, size_t n)
{
    const int form = between(0, 3); /* codes of 4 bits, of 8, a codebook, one for each scale */
    const size_t length = bits() % 2 ? 8 * (size_t)between(1, 9) : 32 * (size_t)between(1, 4);
    const size_t count = (k + length - 1) / length, entries = 16;
    ql_grouped_codes w = {.k = k, .n = n, .group = length, .bits = form == 1 ? 8 : 4, .is_signed = form == 1};
    uint8_t *codes = any_codes(0, k * n);
    for (size_t i = 0; i < k * n && form != 1; i++)
        codes[i] &= 15;
    float *scale = array(1, count * n * sizeof *scale);
    int32_t *zero_point = array(2, count * n * sizeof *zero_point);
    for (size_t i = 0; i < count * n; i++) {
        scale[i] = between_powers(110, 120);
        zero_point[i] = between(0, 15);
    }
    w.codes = codes;
    w.scale = scale;
    w.zero_point = form < 2 && bits() % 2 ? zero_point : NULL;
    if (form >= 2) {
        const size_t books = form == 3 ? count * n : 1;
        float *book = array(3, books * entries * sizeof *book);
        for (size_t i = 0; i < books * entries; i++)
            book[i] = (float)between(-1000, 1000) * 0x1p-10f;
        w.codebook = book;
        w.entries = entries;
        w.is_own = form == 3;
    }
    ql_grouped *packed;
    if (ql_pack_grouped(purpose, &w, &packed) != QL_OK)
        exit(2);
    return packed;
}

static results gemm_grouped(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    const size_t m = (size_t)(bits() % 8 ? between(1, 9) : between(10, 70));
    ql_grouped *w = any_grouped(QL_PACK_INTEGER, k, n);
    float *x = array(5, m * k * sizeof *x), *offset = array(6, n * sizeof *offset);
    float *y = array(RESULT, m * n * sizeof *y);
    for (size_t i = 0; i < m * k; i++)
        x[i] = (float)between(-0x1000000, 0x1000000) * 0x1p-20f;
    for (size_t j = 0; j < n; j++)
        offset[j] = (float)between(-1000, 1000);
    const ql_grouped_options options = {offset, (ql_activation)(bits() % (QL_ACTIVATION_RELU6 + 1))};
    if (ql_linear_grouped(x, m, w, &options, y) != QL_OK)
        exit(2);
    ql_grouped_free(w);
    return floats(y, m * n, false);
}

static results gemm_grouped_f32(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    const size_t m = (size_t)between(1, 9);
    const float unit = 1.0f;
    ql_grouped *w = any_grouped(QL_PACK_FLOAT, k, n);
    float *x = any_values(5, m * k, &unit, SIZE_MAX), *y = array(RESULT, m * n * sizeof *y);
    if (ql_gemm_grouped_f32(x, m, w, y) != QL_OK)
        exit(2);
    ql_grouped_free(w);
    return floats(y, m * n, false);
}

const subject gemm_grouped_subjects[] = {
    {"sum_groups_s8_s32", sum_groups},
    {"dequantize_group_f32", dequantize_group},
    {"gemm_s8s4f32", gemm_grouped},
    {"gemm_f32f32f32", gemm_grouped_f32},
    {0},
};
