/* Packing: columns in panels as wide as the kernel's tile, k in the kernel's groups, both padded with zeros. One loop
 * serves every instruction set, because the layout is fully described by nr and kr. */
#include <assert.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/gemm/packed.h"

static ql_status allocate(ql_packed *p)
{
    size_t segment = p->k / p->segments, groups;
    size_t panels = p->n / p->nr + (p->n % p->nr != 0);
    p->n_padded = panels * p->nr;
    if (__builtin_mul_overflow(segment / p->kr + (segment % p->kr != 0), p->segments, &groups) ||
        __builtin_mul_overflow(groups, p->nr * p->kr, &p->panel_bytes))
        return QL_ENOMEM;
    p->panel_bytes = ql_round_up(p->panel_bytes, QL_ALIGNMENT);
    p->panels = ql_alloc(panels, p->panel_bytes);
    p->zero_point = ql_alloc(p->n_padded, sizeof *p->zero_point);
    p->column_sum = ql_alloc(p->n_padded, sizeof *p->column_sum);
    if (!p->panels || !p->zero_point || !p->column_sum)
        return QL_ENOMEM;
    memset(p->panels, 0, panels * p->panel_bytes);
    memset(p->zero_point, 0, p->n_padded * sizeof *p->zero_point);
    memset(p->column_sum, 0, p->n_padded * sizeof *p->column_sum);
    return QL_OK;
}

int64_t ql_weight_reach(const uint8_t *b, bool is_signed, size_t k, size_t n, const int32_t *zero_point)
{
    enum { COLUMNS = 64 };
    const uint8_t flip = is_signed ? 0 : 128;
    int64_t greatest = 0;
    for (size_t first = 0; first < n; first += COLUMNS) {
        const size_t cols = n - first < COLUMNS ? n - first : COLUMNS;
        int32_t zero[COLUMNS] = {0};
        int64_t reach[COLUMNS] = {0};
        for (size_t j = 0; j < cols; j++)
            zero[j] = (zero_point ? zero_point[first + j] : 0) - flip;
        for (size_t i = 0; i < k; i++) {
            for (size_t j = 0; j < cols; j++) {
                const int32_t distance = (int8_t)(b[i * n + first + j] ^ flip) - zero[j];
                reach[j] += distance < 0 ? -distance : distance;
            }
        }
        for (size_t j = 0; j < cols; j++)
            greatest = reach[j] > greatest ? reach[j] : greatest;
    }
    return greatest;
}

/* Fills the panels row by row, as the codes lie in memory. */
static void fill(ql_packed *p, const uint8_t *b, uint8_t flip)
{
    const size_t segment = p->k / p->segments, padded = ql_round_up(segment, p->kr);
    for (size_t i = 0; i < p->k; i++) {
        const uint8_t *row = b + i * p->n;
        size_t place = i / segment * padded + i % segment;
        int8_t *group = p->panels + place / p->kr * (p->nr * p->kr) + place % p->kr;
        for (size_t j = 0; j < p->n; j++) {
            int8_t code = (int8_t)(row[j] ^ flip);
            group[j / p->nr * p->panel_bytes + j % p->nr * p->kr] = code;
            p->column_sum[j] = (int32_t)((uint32_t)p->column_sum[j] + (uint32_t)(code - p->zero_point[j]));
        }
    }
}

void ql_repack(ql_packed *p, const uint8_t *b, bool is_signed, const int32_t *zero_point)
{
    const uint8_t flip = is_signed ? 0 : 128;
    p->has_zero_point = false;
    for (size_t j = 0; j < p->n; j++) {
        p->zero_point[j] = (zero_point ? zero_point[j] : 0) - flip;
        p->has_zero_point |= p->zero_point[j] != 0;
        p->column_sum[j] = 0;
    }
    p->column_reach = ql_weight_reach(b, is_signed, p->k, p->n, zero_point);
    fill(p, b, flip);
}

static const ql_gemm_kernels *gemm_for(const ql_kernels *kernels, ql_pack_for purpose)
{
    switch (purpose) {
    case QL_PACK_INTEGER:
        return kernels->gemm_u8s8s32;
    case QL_PACK_INTEGER7:
        return kernels->gemm_u7s8s32;
    default:
        return NULL;
    }
}

ql_status ql_pack(ql_pack_for purpose, const uint8_t *b, bool is_signed, size_t k, size_t n, const int32_t *zero_point,
                  ql_packed **packed)
{
    return ql_pack_segments(purpose, b, is_signed, k, 1, n, zero_point, packed);
}

ql_status ql_pack_segments(ql_pack_for purpose, const uint8_t *b, bool is_signed, size_t k, size_t segments, size_t n,
                           const int32_t *zero_point, ql_packed **packed)
{
    assert(segments >= 1 && k % segments == 0);
    const ql_kernels *kernels = ql_kernels_active();
    const int32_t flip = is_signed ? 0 : 128;
    for (size_t j = 0; zero_point && j < n; j++) {
        if (zero_point[j] < flip - 128 || zero_point[j] > flip + 127)
            return QL_EINVAL;
    }
    ql_packed *p = calloc(1, sizeof *p);
    if (!p)
        return QL_ENOMEM;
    p->purpose = purpose;
    p->kernels = kernels;
    p->k = k;
    p->n = n;
    p->segments = segments;
    p->gemm = gemm_for(kernels, purpose);
    p->nr = p->gemm ? p->gemm->nr : kernels->gemm_f32s8f32->nr;
    p->kr = p->gemm ? p->gemm->kr : 1;
    if (allocate(p) != QL_OK) {
        ql_packed_free(p);
        return QL_ENOMEM;
    }
    ql_repack(p, b, is_signed, zero_point);
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
