/* Products of matrices. */
#include <stdlib.h>

#include "core/gemm/gemm.h"
#include "harness.h"

/* The products' kernels read what ql_pack laid out for them: they are called through the core. k: of one segment. */
static ql_packed *any_packed(ql_pack_for purpose, size_t k, size_t segments, size_t n)
{
    k *= segments;
    int32_t *zero_point = array(0, n * sizeof *zero_point);
    for (size_t j = 0; j < n; j++)
        zero_point[j] = between(-128, 127);
    uint8_t *codes = any_codes(1, k * n);
    ql_packed *packed;
    if (ql_pack_segments(purpose, codes, true, k, segments, n, bits() % 2 ? zero_point : NULL, &packed) != QL_OK)
        exit(2);
    return packed;
}

static uint8_t *any_left(ql_pack_for purpose, size_t n)
{
    uint8_t *codes = any_codes(2, n);
    for (size_t i = 0; i < n && purpose == QL_PACK_INTEGER7; i++)
        codes[i] &= 127;
    return codes;
}

/* Rows that overlap and fall into segments, as convolutions have them: read in place if the kernels can. Where they
 * cannot, what follows a segment up to a multiple of kr is another, or behind the last one zeros. */
static results product_of_segments(ql_pack_for purpose, size_t k, size_t n)
{
    enum { MOST = 3 };
    const size_t m = (size_t)between(1, 14), segments = (size_t)between(2, MOST);
    const size_t a_stride = (size_t)between(1, (int32_t)k + 3), length = segments * k + bits() % 5;
    ql_packed *b = any_packed(purpose, k, segments, n);
    const ql_gemm_kernels *gemm = b->gemm;
    const ql_epilogue epilogue = any_epilogue(n);
    const size_t size = m * n * (epilogue.store < QL_STORE_X8 ? 4 : 1), all = (m - 1) * a_stride + length;
    const uint8_t *a = any_left(purpose, all);
    size_t offset[MOST];
    for (size_t t = 0; t < segments; t++)
        offset[t] = (size_t)between(0, (int32_t)(length - k)) * gemm->a_size;
    int32_t *bias = any_sums(0, n), *rows = any_sums(1, m), *start = array(7, b->n_padded * sizeof *start);
    int16_t *widened = array(8, (all + gemm->kr) * sizeof *widened);
    void *c = array(RESULT, size);
    if (gemm->a_size == 2)
        gemm->row(a, all, 0, all + gemm->kr, widened);
    ql_gemm_init(b, bias, between(0, 255), start);
    const ql_gemm_args args = {.a = gemm->a_size == 2 ? (const void *)widened : a,
                               .a_stride = a_stride * gemm->a_size,
                               .k = k,
                               .segments = segments,
                               .offset = offset,
                               .b = b->panels,
                               .panel_stride = b->panel_bytes,
                               .start = start,
                               .row_term = {bits() % 2 ? rows : NULL, bits() % 2 ? rows : NULL},
                               .col_term = {b->zero_point, b->column_sum},
                               .epilogue = &epilogue,
                               .c = c,
                               .c_stride = n};
    const size_t step = m <= gemm->wide_mr ? 2 * gemm->nr : gemm->nr;
    for (size_t j = 0; j < n; j += step)
        ql_gemm_tiles(&args, b, 0, m, j, n - j < step ? n - j : step);
    ql_packed_free(b);
    return (results){c, size, false};
}

static results product(ql_pack_for purpose, size_t k, size_t n)
{
    if (bits() % 4 == 0)
        return product_of_segments(purpose, k, n);
    const size_t m = (size_t)between(1, 14), size = m * n;
    ql_packed *b = any_packed(purpose, k, 1, n);
    ql_epilogue epilogue = any_epilogue(n);
    int32_t zero_point = between(0, 255), *bias = array(7, n * sizeof *bias);
    for (size_t j = 0; j < n; j++)
        bias[j] = between(-100000, 100000);
    uint8_t *codes = any_left(purpose, m * k);
    const size_t bytes = epilogue.store == QL_STORE_S32 || epilogue.store == QL_STORE_F32 ? 4 * size : size;
    void *c = array(RESULT, bytes);
    ql_codes a = {codes, k, false, &zero_point, false};
    if (ql_gemm(&a, m, b, bits() % 2 ? bias : NULL, &epilogue, c) != QL_OK)
        exit(2);
    ql_packed_free(b);
    return (results){c, bytes, false};
}

static results gemm(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    return product(QL_PACK_INTEGER, k, n);
}

static results gemm_u7(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    return product(QL_PACK_INTEGER7, k, n);
}

static results gemm_f32(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    const size_t m = (size_t)between(1, 9);
    const float unit = 1.0f;
    ql_packed *b = any_packed(QL_PACK_FLOAT, k, 1, n);
    float *x = array(2, m * k * sizeof *x), *y = array(RESULT, m * n * sizeof *y);
    float *col_scale = any_values(3, n, &unit, n + 1), *offset = any_values(4, n, &unit, n + 1);
    const bool finite = bits() % 4;
    for (size_t i = 0; i < m * k; i++)
        x[i] = finite ? (float)between(-0x1000000, 0x1000000) * 0x1p-20f : any_value(unit);
    if (ql_gemm_f32(x, m, b, col_scale, offset, (ql_activation)(bits() % (QL_ACTIVATION_RELU6 + 1)), y) != QL_OK)
        exit(2);
    ql_packed_free(b);
    return floats(y, m * n, false);
}

static results peak(const ql_kernels *kernels, size_t n, size_t group)
{
    int32_t *sum = array(RESULT, sizeof *sum);
    const uint8_t a = (uint8_t)between(0, 255);
    *sum = kernels->peak_u8s8s32(n % 16 * group, a, (int8_t)between(-128, 127));
    return (results){sum, sizeof *sum, false};
}

const subject gemm_subjects[] = {
    {"gemm_u8s8s32", gemm}, {"gemm_u7s8s32", gemm_u7}, {"gemm_f32s8f32", gemm_f32}, {"peak_u8s8s32", peak}, {0},
};
