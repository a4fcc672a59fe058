/* Packing of grouped weights: columns in panels as wide as the kernel's tile, eight k at a time, and behind the codes
 * of a group its scales and zero points, so that a product of one row reads memory once, from the first byte to the
 * last. Up to four bits share a byte; codebooks are looked up in the kernel. Codes of other widths, and codebooks of
 * which columns or groups have their own, take a byte.
 *
 * Why not half a byte for 2 bits, nor two bytes for a scale in float16: one layout less each. With groups of 32 the
 * packed form of 2 bits is 5 bits per weight instead of 3, and float16 would save a tenth. */
#include <math.h>
#include <string.h>

#include "core/base/finite.h"
#include "core/base/memory.h"
#include "core/gemm/grouped.h"

/* Weights on their way from codes to panels. */
typedef struct grouped_packing {
    ql_grouped *to;
    const ql_grouped_codes *from;
    int32_t shift;      /* added to codes */
    int32_t zero_shift; /* added to zero points: shift, and what the kernel wants */
} grouped_packing;

static ql_status check(const ql_grouped_codes *w)
{
    if (w->group == 0 || (w->group % 8 && w->group < w->k) || w->bits < 1 || w->bits > 8)
        return QL_EINVAL;
    const size_t groups = w->k / w->group + (w->k % w->group != 0);
    const int32_t low = w->is_signed ? -(1 << (w->bits - 1)) : 0, high = low + (1 << w->bits) - 1;
    if (!ql_scales_are_valid(w->scale, groups * w->n))
        return QL_EINVAL;
    for (size_t i = 0; w->zero_point && i < groups * w->n; i++) {
        if (w->zero_point[i] < low || w->zero_point[i] > high)
            return QL_EINVAL;
    }
    for (size_t i = 0; i < w->k * w->n; i++) {
        int32_t code = w->is_signed ? (int8_t)w->codes[i] : w->codes[i];
        if (code < low || code > high || (w->codebook && (size_t)code >= w->entries))
            return QL_EINVAL;
    }
    return w->codebook && (w->zero_point || w->is_signed || w->entries == 0) ? QL_EINVAL : QL_OK;
}

static ql_weight_form form_of(ql_pack_for purpose, const ql_grouped_codes *w)
{
    if (w->codebook && purpose == QL_PACK_INTEGER)
        return w->is_own ? QL_WEIGHTS_S8 : QL_WEIGHTS_TABLE;
    return w->bits <= 4 ? QL_WEIGHTS_U4 : QL_WEIGHTS_S8;
}

/* Keeps the zero point of the first group, and whether others differ from it. */
static void share_zero_point(ql_grouped *p, const ql_grouped_codes *w)
{
    p->zero_point = w->zero_point && p->groups > 0 && w->n > 0 ? w->zero_point[0] : 0;
    for (size_t i = 0; w->zero_point && i < p->groups * w->n; i++)
        p->has_zero_point |= w->zero_point[i] != p->zero_point;
}

/* Keeps codebooks as floats; columns that fill up the last panel get zeros. */
static ql_status keep_values(ql_grouped *p, const ql_grouped_codes *w)
{
    const size_t columns = p->panels * p->nr, row = w->n * w->entries;
    p->entries = w->entries;
    p->is_own = w->is_own;
    p->values_count = (w->is_own ? p->groups * columns : 1) * w->entries;
    p->values_count += QL_MAX_ENTRIES;
    p->values = ql_alloc(p->values_count, sizeof *p->values);
    if (!p->values)
        return QL_ENOMEM;
    memset(p->values, 0, p->values_count * sizeof *p->values);
    if (!w->is_own) {
        memcpy(p->values, w->codebook, w->entries * sizeof *p->values);
        return QL_OK;
    }
    for (size_t g = 0; g < p->groups; g++)
        memcpy(p->values + g * columns * w->entries, w->codebook + g * row, row * sizeof *p->values);
    return QL_OK;
}

static ql_status allocate(ql_grouped *p, const ql_grouped_codes *w)
{
    p->panels = p->n / p->nr + (p->n % p->nr != 0);
    if (__builtin_mul_overflow(p->groups, ql_grouped_scale_bytes(p), &p->panel_bytes) ||
        p->k_padded > (PTRDIFF_MAX - p->panel_bytes) / p->nr)
        return QL_ENOMEM;
    p->panel_bytes = ql_round_up(p->panel_bytes + ql_grouped_code_bytes(p, p->k_padded), QL_ALIGNMENT);
    p->data = ql_alloc(p->panels, p->panel_bytes);
    if (!p->data)
        return QL_ENOMEM;
    memset(p->data, 0, p->panels * p->panel_bytes);
    return p->purpose == QL_PACK_FLOAT && w->codebook ? keep_values(p, w) : QL_OK;
}

typedef int8_t s8_table[QL_TABLE_ENTRIES];

/* Packs the codes of one group of a panel; tables: one per column, to look them up in, or NULL. */
static void fill_codes(const grouped_packing *packing, uint8_t *to, size_t group, size_t column, size_t cols,
                       const s8_table *tables)
{
    const ql_grouped *p = packing->to;
    const ql_grouped_codes *w = packing->from;
    const size_t first = group * p->group, length = ql_grouped_length(p, group), block = 4 * p->nr;
    for (size_t i = 0; i < length && first + i < w->k; i++) {
        const uint8_t *from = w->codes + (first + i) * w->n + column;
        const bool is_nibble = p->form != QL_WEIGHTS_S8;
        uint8_t *place = to + (is_nibble ? i / 8 : i / 4) * block + i % 4;
        const int position = is_nibble && i / 4 % 2 ? 4 : 0;
        for (size_t j = 0; j < cols; j++) {
            const uint8_t code =
                tables ? (uint8_t)tables[j][from[j] % QL_TABLE_ENTRIES] : (uint8_t)(from[j] + packing->shift);
            place[4 * j] |= (uint8_t)(code << position);
        }
    }
}

/* Packs one group of a panel: its codes, and behind them the scales and zero points. */
static ql_status fill(const grouped_packing *packing, uint8_t *data, size_t group, size_t column, float step)
{
    const ql_grouped *p = packing->to;
    const ql_grouped_codes *w = packing->from;
    const size_t cols = p->n - column < p->nr ? p->n - column : p->nr, first = group * w->n + column;
    float *scale = (float *)(data + ql_grouped_code_bytes(p, ql_grouped_length(p, group)));
    int16_t *zero_point = (int16_t *)(scale + p->nr);
    s8_table tables[QL_MAX_NR];
    const bool has_own = p->form == QL_WEIGHTS_S8 && w->codebook && p->purpose == QL_PACK_INTEGER;
    for (size_t j = 0; j < cols; j++) {
        if (has_own)
            step = ql_codebook_s8(w->codebook + (first + j) * w->entries, w->entries, tables[j]);
        scale[j] = w->scale[first + j] * step;
        if (!(scale[j] <= FLT_MAX))
            return QL_EINVAL;
        if (p->has_zero_point)
            zero_point[j] = (int16_t)(w->zero_point[first + j] + packing->zero_shift);
    }
    fill_codes(packing, data, group, column, cols, has_own ? tables : NULL);
    return QL_OK;
}

static ql_status fill_all(const grouped_packing *packing, float step)
{
    const ql_grouped *p = packing->to;
    for (size_t panel = 0; panel < p->panels; panel++) {
        uint8_t *data = p->data + panel * p->panel_bytes;
        for (size_t g = 0; g < p->groups; g++) {
            ql_status status = fill(packing, data, g, panel * p->nr, step);
            if (status != QL_OK)
                return status;
            data += ql_grouped_code_bytes(p, ql_grouped_length(p, g)) + ql_grouped_scale_bytes(p);
        }
    }
    return QL_OK;
}

ql_status ql_pack_grouped(ql_pack_for purpose, const ql_grouped_codes *w, ql_grouped **packed)
{
    ql_status status = purpose == QL_PACK_INTEGER7 ? QL_EINVAL : check(w);
    if (status != QL_OK)
        return status;
    if (w->codebook && purpose == QL_PACK_INTEGER && w->entries > QL_TABLE_ENTRIES)
        return QL_EINVAL;
    ql_grouped *p = calloc(1, sizeof *p);
    if (!p)
        return QL_ENOMEM;
    p->purpose = purpose;
    p->kernels = ql_kernels_active();
    p->form = form_of(purpose, w);
    p->k = w->k;
    p->n = w->n;
    p->nr = p->kernels->gemm_s8s4f32->nr;
    p->k_padded = ql_round_up(w->k, 8);
    p->group = w->group < w->k ? w->group : ql_round_up(w->k ? w->k : 1, 8);
    p->groups = p->k_padded / p->group + (p->k_padded % p->group != 0);
    share_zero_point(p, w);

    float step = 1.0f;
    grouped_packing packing = {.to = p, .from = w};
    p->reach = QL_TABLE_REACH;
    if (!w->codebook) {
        const bool is_nibble = p->form == QL_WEIGHTS_U4;
        packing.shift = is_nibble ? (w->is_signed ? 8 : 0) : (w->is_signed ? 0 : -128);
        p->reach = is_nibble ? 15 : 255;
    } else if (p->form == QL_WEIGHTS_TABLE) {
        step = ql_codebook_s8(w->codebook, w->entries, p->table);
    }
    packing.zero_shift = packing.shift;
    if (purpose == QL_PACK_INTEGER)
        packing.zero_shift += p->kernels->gemm_s8s4f32->shift[p->form];
    p->zero_point += packing.zero_shift;
    status = allocate(p, w);
    if (status == QL_OK)
        status = fill_all(&packing, step);
    if (status != QL_OK) {
        ql_grouped_free(p);
        return status;
    }
    *packed = p;
    return QL_OK;
}

void ql_grouped_free(ql_grouped *packed)
{
    if (!packed)
        return;
    free(packed->values);
    free(packed->data);
    free(packed);
}

ql_packed_info ql_grouped_describe(const ql_grouped *packed)
{
    const size_t values = packed->values_count * sizeof *packed->values;
    return (ql_packed_info){.purpose = packed->purpose,
                            .ndim = 2,
                            .shape = {packed->k, packed->n},
                            .groups = 1,
                            .nbytes = sizeof *packed + packed->panels * packed->panel_bytes + values,
                            .isa = packed->kernels->isa};
}
