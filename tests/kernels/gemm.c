/* Products of matrices. */
#include <stdlib.h>
#include <string.h>

#include "core/base/sizes.h"
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
    const ql_code_matrix b = {.data = codes,
                              .is_signed = true,
                              .by_columns = bits() % 2,
                              .k = k,
                              .n = n,
                              .zero_point = bits() % 2 ? zero_point : NULL};
    if (ql_pack_segments(ql_kernels_active(), purpose, &b, segments, &packed) != QL_OK)
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
    const size_t m = (size_t)(bits() % 8 ? between(1, 14) : between(15, 40)), segments = (size_t)between(2, MOST);
    const bool is_on_lines = k % 64 == 0 && bits() % 2;
    const size_t a_stride = is_on_lines ? 64 : (size_t)between(1, (int32_t)k + 3);
    const size_t length = segments * k + (is_on_lines ? 0 : bits() % 5), unit = is_on_lines ? 64 : 1;
    ql_packed *b = any_packed(purpose, k, segments, n);
    const ql_gemm_kernels *gemm = b->gemm;
    const ql_epilogue epilogue = any_epilogue(n);
    const size_t size = m * n * (epilogue.store < QL_STORE_X8 ? 4 : 1), all = (m - 1) * a_stride + length;
    const uint8_t *a = any_left(purpose, all);
    size_t offset[MOST];
    for (size_t t = 0; t < segments; t++)
        offset[t] = (size_t)between(0, (int32_t)((length - k) / unit)) * unit * gemm->a_size;
    int32_t *bias = any_sums(0, n), *rows = any_sums(1, m), *start = array(7, b->n_padded * sizeof *start);
    int16_t *widened = array(8, (all + gemm->kr) * sizeof *widened);
    void *c = array(RESULT, size);
    if (gemm->a_size == 2)
        gemm->row(a, all, 0, all + gemm->kr, widened);
    ql_gemm_init(b, bias, between(0, 255), start);
    ql_gemm_args args = {.a = gemm->a_size == 2 ? (const void *)widened : a,
                         .a_stride = a_stride * gemm->a_size,
                         .k = k,
                         .segments = segments,
                         .offset = offset,
                         .b = b->panels,
                         .panel_stride = b->panel_bytes,
                         .start = start,
                         .row_term = {bits() % 2 ? rows : NULL, bits() % 2 ? rows : NULL},
                         .col_term = {b->zero_point, b->column_sum},
                         .residual = bits() % 2 ? any_residual(9, m * n, n) : (ql_residual){.codes = NULL},
                         .epilogue = &epilogue,
                         .c = c,
                         .c_stride = n,
                         .a_rows = m};
    const ql_gemm_kernels *serving = ql_gemm_begin(b, m, n);
    if (serving != gemm) { /* what serves in the place of ranges goes from segment to segment of a panel by k */
        args.k = ql_round_up(k, gemm->depth);
        args.a = memcpy(array(8, all + gemm->depth), a, all);
    }
    const size_t step = ql_gemm_columns(serving, m) < n ? ql_gemm_columns(serving, m) : n;
    for (size_t j = 0; j < n; j += step)
        ql_gemm_tiles(&args, serving, 0, m, j, n - j < step ? n - j : step);
    ql_gemm_end(serving);
    ql_packed_free(b);
    return (results){c, size, false};
}

/* Seldom more rows than two tiles have, and once weights that are larger than what stays in a cache. */
static results product(ql_pack_for purpose, size_t k, size_t n)
{
    if (bits() % 4 == 0)
        return product_of_segments(purpose, k, n);
    const bool is_large = k == 129 && n == 257 && purpose == QL_PACK_INTEGER;
    k += is_large ? 1971 : 0;
    n += is_large ? 400 : 0;
    const size_t m = (size_t)(bits() % 8 && !is_large ? between(1, 14) : between(15, 70)), size = m * n;
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

/* Sizes of panels that kernels have, and some that only the plain loops take. */
static size_t any_width(void)
{
    return (size_t)8 << bits() % 4;
}

static results pack_panel(const ql_kernels *kernels, size_t k, size_t cols)
{
    const size_t nr = any_width(), kr = (size_t)1 << bits() % 4, gap = bits() % 3;
    const size_t bytes = (k + kr - 1) / kr * kr * nr, used = cols < nr ? cols : nr;
    const uint8_t *b = any_codes(2, k * (used + gap) - gap);
    int8_t *panel = array(RESULT, bytes);
    memset(panel, 1, bytes);
    kernels->pack_panel_x8(b, used + gap, k, used, bits() % 2 ? 128 : 0, nr, kr, panel);
    return (results){panel, bytes, false};
}

static results sum_panel(const ql_kernels *kernels, size_t groups, size_t group)
{
    const size_t nr = any_width(), kr = (size_t)1 << bits() % 4;
    const bool is_extreme = group % 2;
    int8_t *panel = (int8_t *)any_codes(2, groups * nr * kr);
    int32_t *zero_point = array(3, nr * sizeof *zero_point), *sums = any_sums(RESULT, 2 * nr);
    for (size_t j = 0; j < nr; j++)
        zero_point[j] = is_extreme ? 127 : between(-128, 127);
    for (size_t i = 0; i < groups * nr * kr && is_extreme; i++)
        panel[i] = -128;
    for (size_t j = 0; j < 2 * nr; j++)
        sums[j] /= 2;
    kernels->sum_panel_s8(panel, groups, nr, kr, zero_point, sums, sums + nr);
    return (results){sums, 2 * nr * sizeof *sums, false};
}

static results multiply_few(const ql_kernels *kernels, size_t n, size_t k)
{
    const size_t m = (size_t)between(1, QL_FEW_ROWS), a_stride = k + 1 + bits() % 3, b_stride = n + bits() % 3;
    const size_t c_stride = n + bits() % 3;
    int16_t *a = array(3, m * a_stride * sizeof *a), *zero_point = array(4, n * sizeof *zero_point);
    for (size_t i = 0; i < m * a_stride; i++)
        a[i] = (int16_t)(i % a_stride < k ? between(-255, 255) : 0);
    for (size_t j = 0; j < n; j++)
        zero_point[j] = (int16_t)between(-128, 127);
    const uint8_t *b = any_codes(2, (k - 1) * b_stride + n);
    int32_t *c = any_sums(RESULT, (m - 1) * c_stride + n);
    const uint8_t flip = bits() % 2 ? 128 : 0; /* drawn one after the other: arguments have no order */
    const int16_t *of_columns = bits() % 2 ? zero_point : NULL;
    kernels->multiply_few_s16x8s32(a, a_stride, m, b, b_stride, flip, of_columns, k, n, c, c_stride);
    return (results){c, ((m - 1) * c_stride + n) * sizeof *c, false};
}

static results dot_few(const ql_kernels *kernels, size_t n, size_t k)
{
    const size_t m = (size_t)between(1, QL_FEW_ROWS), a_stride = k + bits() % 3, b_stride = k + bits() % 3;
    int16_t *a = array(3, m * a_stride * sizeof *a);
    for (size_t i = 0; i < m * a_stride; i++)
        a[i] = (int16_t)between(-255, 255);
    const uint8_t *b = any_codes(2, (n - 1) * b_stride + k);
    int32_t *c = array(RESULT, m * n * sizeof *c);
    kernels->dot_few_s16x8s32(a, a_stride, m, b, b_stride, bits() % 2 ? 128 : 0, k, n, c, n);
    return (results){c, m * n * sizeof *c, false};
}

const subject gemm_subjects[] = {
    {"pack_panel_x8", pack_panel}, {"sum_panel_s8", sum_panel}, {"multiply_few_s16x8s32", multiply_few},
    {"dot_few_s16x8s32", dot_few}, {"gemm_u8s8s32", gemm},      {"gemm_u7s8s32", gemm_u7},
    {"gemm_f32s8f32", gemm_f32},   {"peak_u8s8s32", peak},      {0},
};
