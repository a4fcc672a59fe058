/* The exact integer product with weights as they lie in memory. They are packed for this one product, but for a few
 * rows, of which packing would take most of the time: these are multiplied from the codes themselves, if no sum can
 * leave int32 whatever they are.
 *
 * One row by 1024 x 1024 takes 0.07 ms, packed first 0.17, four rows 0.13 and 0.21 (AMD Zen 3). */
#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/gemm/gemm.h"

enum {
    DEPTH = 32,      /* rows of b at a time: a line of each stays near until all of it is used */
    COLUMNS = 1024,  /* of an item of work */
    MACS_PER_NS = 24 /* for one row */
};

typedef struct work {
    const ql_kernels *kernels;
    const ql_code_matrix *b;
    size_t m;
    const int16_t *a;          /* [m][k + 1]: distances from the zero points, and a 0 */
    const int16_t *zero_point; /* NULL: zeros */
    int32_t *c;
} work;

/* sum_k a (b - z) = sum_k a b - z sum_k a, modulo 2^32. */
static void multiply_by_columns(const work *w, size_t first, size_t n)
{
    const ql_code_matrix *b = w->b;
    w->kernels->dot_few_s16x8s32(w->a, b->k + 1, w->m, b->data + first * b->k, b->k, b->is_signed ? 0 : 128, b->k, n,
                                 w->c + first, b->n);
    for (size_t i = 0; i < w->m && w->zero_point; i++) {
        uint32_t sum = 0;
        for (size_t p = 0; p < b->k; p++)
            sum += (uint32_t)w->a[i * (b->k + 1) + p];
        int32_t *c = w->c + i * b->n;
        for (size_t j = first; j < first + n; j++)
            c[j] = (int32_t)((uint32_t)c[j] - (uint32_t)w->zero_point[j] * sum);
    }
}

static void multiply_by_rows(const work *w, size_t first, size_t n)
{
    const ql_code_matrix *b = w->b;
    for (size_t i = 0; i < w->m; i++)
        memset(w->c + i * b->n + first, 0, n * sizeof *w->c);
    for (size_t p = 0; p < b->k; p += DEPTH)
        w->kernels->multiply_few_s16x8s32(w->a + p, b->k + 1, w->m, b->data + p * b->n + first, b->n,
                                          b->is_signed ? 0 : 128, w->zero_point ? w->zero_point + first : NULL,
                                          ql_least(b->k - p, DEPTH), n, w->c + first, b->n);
}

static void multiply_columns(void *context, size_t item)
{
    const work *w = context;
    const size_t first = item * COLUMNS, n = ql_least(w->b->n - first, COLUMNS);
    if (w->b->by_columns)
        multiply_by_columns(w, first, n);
    else
        multiply_by_rows(w, first, n);
}

static bool zero_points_are_codes(const int32_t *zero_point, size_t n, bool is_signed)
{
    bool are = true;
    for (size_t i = 0; i < n; i++)
        are &= zero_point[i] >= (is_signed ? -128 : 0) && zero_point[i] <= (is_signed ? 127 : 255);
    return are;
}

static ql_status multiply_few(const ql_codes *a, size_t m, const ql_code_matrix *b, int32_t *c)
{
    const size_t a_bytes = ql_round_up(m * (b->k + 1) * sizeof(int16_t), QL_ALIGNMENT);
    char *memory = ql_alloc(1, a_bytes + b->n * sizeof(int16_t));
    if (!memory)
        return QL_ENOMEM;
    int16_t *rows = (int16_t *)memory, *zero_point = (int16_t *)(memory + a_bytes);
    for (size_t i = 0; i < m; i++) {
        const uint8_t *codes = a->data + i * a->row_stride;
        const int32_t zero = a->zero_point[a->per_row ? i : 0];
        int16_t *row = rows + i * (b->k + 1);
        for (size_t p = 0; p < b->k; p++)
            row[p] = (int16_t)((a->is_signed ? (int8_t)codes[p] : codes[p]) - zero);
        row[b->k] = 0;
    }
    bool has_zero_point = false;
    for (size_t j = 0; j < b->n; j++) {
        zero_point[j] = (int16_t)((b->zero_point ? b->zero_point[j] : 0) - (b->is_signed ? 0 : 128));
        has_zero_point |= zero_point[j] != 0;
    }
    work w = {.kernels = ql_kernels_active(), .b = b, .m = m, .a = rows, .c = c};
    w.zero_point = has_zero_point ? zero_point : NULL;
    ql_parallel(ql_divided_up(b->n, COLUMNS), b->k * b->n / MACS_PER_NS, multiply_columns, &w);
    free(memory);
    return QL_OK;
}

ql_status ql_gemm_unpacked(const ql_codes *a, size_t m, const ql_code_matrix *b, int32_t *c)
{
    const bool always_fits = b->k <= INT32_MAX / (255 * 255);
    if (m <= QL_FEW_ROWS && always_fits && m > 0 && b->n > 0) {
        const bool are = zero_points_are_codes(a->zero_point, a->per_row ? m : 1, a->is_signed) &&
                         zero_points_are_codes(b->zero_point, b->zero_point ? b->n : 0, b->is_signed);
        return are ? multiply_few(a, m, b, c) : QL_EINVAL;
    }
    ql_packed *packed = NULL;
    ql_status status = ql_pack(QL_PACK_INTEGER, b, &packed);
    if (status == QL_OK)
        status = ql_gemm(a, m, packed, NULL, &(ql_epilogue){.store = QL_STORE_S32}, c);
    ql_packed_free(packed);
    return status;
}
