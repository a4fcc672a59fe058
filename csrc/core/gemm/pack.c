/* Packing: columns in panels as wide as the kernel's tile, k in the kernel's groups, both padded with zeros. nr and kr
 * describe the layout fully, so that the kernels that pack serve every instruction set's products. */
#include <assert.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/gemm/packed.h"

static ql_status allocate(ql_packed *p)
{
    size_t segment = p->k / p->segments, groups;
    size_t panels = p->n / p->nr + (p->n % p->nr != 0);
    p->n_padded = panels * p->nr;
    if (__builtin_mul_overflow(ql_divided_up(segment, p->depth), p->segments, &groups) ||
        __builtin_mul_overflow(groups, p->nr * p->depth, &p->panel_bytes))
        return QL_ENOMEM;
    p->panel_bytes = ql_round_up(p->panel_bytes, QL_ALIGNMENT);
    p->panels = ql_alloc(panels, p->panel_bytes);
    p->zero_point = ql_alloc(p->n_padded, sizeof *p->zero_point);
    p->column_sum = ql_alloc(p->n_padded, sizeof *p->column_sum);
    if (!p->panels || !p->zero_point || !p->column_sum)
        return QL_ENOMEM;
    memset(p->zero_point, 0, p->n_padded * sizeof *p->zero_point);
    memset(p->column_sum, 0, p->n_padded * sizeof *p->column_sum);
    return QL_OK;
}

int64_t ql_weight_reach(const ql_code_matrix *b)
{
    enum { COLUMNS = 64 };
    assert(!b->by_columns);
    const uint8_t flip = b->is_signed ? 0 : 128;
    int64_t greatest = 0;
    for (size_t first = 0; first < b->n; first += COLUMNS) {
        const size_t cols = ql_least(b->n - first, COLUMNS);
        int32_t zero[COLUMNS] = {0};
        int64_t reach[COLUMNS] = {0};
        for (size_t j = 0; j < cols; j++)
            zero[j] = (b->zero_point ? b->zero_point[first + j] : 0) - flip;
        for (size_t i = 0; i < b->k; i++) {
            for (size_t j = 0; j < cols; j++) {
                const int32_t distance = (int8_t)(b->data[i * b->n + first + j] ^ flip) - zero[j];
                reach[j] += distance < 0 ? -distance : distance;
            }
        }
        for (size_t j = 0; j < cols; j++)
            greatest = reach[j] > greatest ? reach[j] : greatest;
    }
    return greatest;
}

/* ---- panels --------------------------------------------------------------------------------------- */

/* Codes that are packed, and summed up while they are near: a line of memory, from so many rows, or as much of as many
 * columns. 1024 x 1024 codes take 0.15 ms from 128 rows on (AMD Zen 3). */
enum { LINE = 64, ROWS = 256 };

/* Packs columns that lie in one piece each: they are put side by side, and groups of kr codes change places. */
static void pack_columns(const ql_packed *p, const ql_code_matrix *b, size_t row, size_t column, size_t k, size_t cols,
                         int8_t *panel)
{
    uint8_t columns[QL_MAX_NR * ROWS];
    const size_t padded = ql_round_up(k, p->kr);
    const uint8_t flip = b->is_signed ? 0 : 128;
    for (size_t j = 0; j < p->nr; j++) {
        const uint8_t *from = b->data + (column + (j < cols ? j : 0)) * b->k + row;
        uint8_t *to = columns + j * padded;
        const size_t count = j < cols ? k : 0;
        for (size_t i = 0; i < count; i++)
            to[i] = from[i] ^ flip;
        memset(to + count, 0, padded - count);
    }
    p->kernels->transpose(columns, (ptrdiff_t)padded, p->nr, padded / p->kr, p->kr, panel, (ptrdiff_t)(p->nr * p->kr));
}

/* Packs k rows of a panel, which lie in one segment; reach: [nr]. */
static void pack_block(ql_packed *p, const ql_code_matrix *b, size_t row, size_t column, size_t k, int64_t *reach)
{
    const size_t segment = p->k / p->segments, padded = ql_round_up(segment, p->depth);
    const size_t cols = ql_least(p->n - column, p->nr), groups = ql_divided_up(k, p->kr);
    const size_t end = groups * p->kr, rest = row % segment + k == segment ? padded - (row % segment + end) : 0;
    int8_t *panel = p->panels + column / p->nr * p->panel_bytes + (row / segment * padded + row % segment) * p->nr;
    int32_t far[QL_MAX_NR] = {0};
    if (b->by_columns)
        pack_columns(p, b, row, column, k, cols, panel);
    else
        p->kernels->pack_panel_x8(b->data + row * p->n + column, p->n, k, cols, b->is_signed ? 0 : 128, p->nr, p->kr,
                                  panel);
    memset(panel + end * p->nr, 0, rest * p->nr);
    p->kernels->sum_panel_s8(panel, groups, p->nr, p->kr, p->zero_point + column, p->column_sum + column, far);
    for (size_t j = 0; j < p->nr; j++) {
        const int32_t zero_point = p->zero_point[column + j];
        reach[j] += far[j] - (int64_t)(groups * p->kr - k) * (zero_point < 0 ? -zero_point : zero_point);
    }
}

/* Packs the panels of a line of columns. Returns the greatest reach among them. */
static int64_t pack_line(ql_packed *p, const ql_code_matrix *b, size_t first, size_t end)
{
    const size_t segment = p->k / p->segments;
    int64_t reach[LINE + QL_MAX_NR] = {0}, greatest = 0;
    for (size_t row = 0, k; row < p->k; row += k) {
        k = ql_least(segment - row % segment, ROWS);
        for (size_t j = first; j < end; j += p->nr)
            pack_block(p, b, row, j, k, reach + (j - first));
    }
    for (size_t j = first; j < end; j++) {
        const uint32_t depth = (uint32_t)p->k, zero_point = (uint32_t)p->zero_point[j];
        p->column_sum[j] = (int32_t)((uint32_t)p->column_sum[j] - depth * zero_point);
        greatest = reach[j - first] > greatest ? reach[j - first] : greatest;
    }
    return greatest;
}

void ql_repack(ql_packed *p, const ql_code_matrix *b)
{
    const int32_t flip = b->is_signed ? 0 : 128;
    p->has_zero_point = false;
    for (size_t j = 0; j < p->n; j++) {
        p->zero_point[j] = (b->zero_point ? b->zero_point[j] : 0) - flip;
        p->has_zero_point |= p->zero_point[j] != 0;
    }
    memset(p->column_sum, 0, p->n_padded * sizeof *p->column_sum);
    p->column_reach = 0;
    const size_t step = p->nr < LINE ? LINE - LINE % p->nr : p->nr;
    for (size_t j = 0; j < p->n; j += step) {
        const int64_t reach = pack_line(p, b, j, ql_least(p->n, j + step));
        p->column_reach = reach > p->column_reach ? reach : p->column_reach;
    }
}

/* Which product serves a segment of k: ranges where their depth is nearly filled. Else what serves in their place has a
 * third less to do, and more. */
static const ql_gemm_kernels *for_depth(const ql_gemm_kernels *gemm, size_t k)
{
    return gemm->ranges && ql_round_up(k, gemm->depth) > k + k / 3 ? gemm->lower : gemm;
}

size_t ql_packed_in(const ql_kernels *kernels, size_t k, size_t n, void *memory, ql_packed *packed)
{
    const ql_gemm_kernels *gemm = for_depth(kernels->gemm_u8s8s32, k);
    *packed = (ql_packed){.purpose = QL_PACK_INTEGER,
                          .kernels = kernels,
                          .gemm = gemm,
                          .k = k,
                          .n = n,
                          .n_padded = ql_round_up(n, gemm->nr),
                          .nr = gemm->nr,
                          .kr = gemm->kr,
                          .depth = gemm->depth,
                          .segments = 1,
                          .panel_bytes = ql_round_up(ql_round_up(k, gemm->depth) * gemm->nr, QL_ALIGNMENT)};
    const size_t panels = packed->n_padded / packed->nr * packed->panel_bytes;
    const size_t columns = ql_round_up(packed->n_padded * sizeof(int32_t), QL_ALIGNMENT);
    if (memory) {
        packed->panels = memory;
        packed->zero_point = (int32_t *)((char *)memory + panels);
        packed->column_sum = (int32_t *)((char *)memory + panels + columns);
        memset(packed->zero_point, 0, packed->n_padded * sizeof *packed->zero_point);
    }
    return panels + 2 * columns;
}

static const ql_gemm_kernels *gemm_for(const ql_kernels *kernels, ql_pack_for purpose, size_t k)
{
    switch (purpose) {
    case QL_PACK_INTEGER:
        return for_depth(kernels->gemm_u8s8s32, k);
    case QL_PACK_INTEGER7:
        return for_depth(kernels->gemm_u7s8s32, k);
    default:
        return NULL;
    }
}

ql_status ql_pack(ql_pack_for purpose, const ql_code_matrix *b, ql_packed **packed)
{
    return ql_pack_segments(ql_kernels_active(), purpose, b, 1, packed);
}

ql_status ql_pack_segments(const ql_kernels *kernels, ql_pack_for purpose, const ql_code_matrix *b, size_t segments,
                           ql_packed **packed)
{
    assert(segments >= 1 && b->k % segments == 0);
    const int32_t flip = b->is_signed ? 0 : 128;
    for (size_t j = 0; b->zero_point && j < b->n; j++) {
        if (b->zero_point[j] < flip - 128 || b->zero_point[j] > flip + 127)
            return QL_EINVAL;
    }
    ql_packed *p = calloc(1, sizeof *p);
    if (!p)
        return QL_ENOMEM;
    p->purpose = purpose;
    p->kernels = kernels;
    p->k = b->k;
    p->n = b->n;
    p->segments = segments;
    p->gemm = gemm_for(kernels, purpose, b->k / segments);
    p->nr = p->gemm ? p->gemm->nr : kernels->gemm_f32s8f32->nr;
    p->kr = p->gemm ? p->gemm->kr : 1;
    p->depth = p->gemm ? p->gemm->depth : 1;
    if (allocate(p) != QL_OK) {
        ql_packed_free(p);
        return QL_ENOMEM;
    }
    ql_repack(p, b);
    *packed = p;
    return QL_OK;
}

void ql_packed_free(ql_packed *packed)
{
    if (!packed)
        return;
    free(packed->panels);
    free(packed->zero_point);
    free(packed->column_sum);
    free(packed);
}

void ql_packed_drop_panels(ql_packed *packed)
{
    free(packed->panels);
    packed->panels = NULL;
    packed->panel_bytes = 0;
}

ql_packed_info ql_packed_describe(const ql_packed *packed)
{
    const size_t column = sizeof *packed->zero_point + sizeof *packed->column_sum;
    const size_t panels = packed->n_padded / packed->nr * packed->panel_bytes;
    return (ql_packed_info){.purpose = packed->purpose,
                            .ndim = 2,
                            .shape = {packed->k, packed->n},
                            .groups = 1,
                            .nbytes = sizeof *packed + panels + packed->n_padded * column,
                            .isa = packed->kernels->isa};
}
