/* Weights of convolutions. A group of channels is a product of its own, packed as such: the depth of it is a window,
 * cut in segments that lie in one stretch of the image, a row of the window or, with groups or gaps, one tap. */
#include <string.h>

#include "core/base/memory.h"
#include "core/conv/conv.h"

/* Codes [rows][out] of a filter. */
typedef struct codes {
    const uint8_t *data;
    bool is_signed;
    size_t rows, out;
    const int32_t *zero_point; /* [out], or NULL for zeros */
} codes;

/* Distances of row i from the zero points. */
static void distances_of(const codes *c, size_t i, int16_t *restrict distance)
{
    const size_t out = c->out;
    const uint8_t *restrict row = c->data + i * out;
    const uint8_t flip = c->is_signed ? 0 : 128; /* to int8, and 128 lower */
    const int32_t *restrict zero_point = c->zero_point;
    if (!zero_point) {
        for (size_t j = 0; j < out; j++)
            distance[j] = (int16_t)((int8_t)(row[j] ^ flip) + flip);
        return;
    }
    for (size_t j = 0; j < out; j++)
        distance[j] = (int16_t)((int8_t)(row[j] ^ flip) + flip - zero_point[j]);
}

/* Tells whether the codes are their own distances. */
static bool are_distances(const codes *c)
{
    bool are = c->is_signed;
    for (size_t j = 0; j < c->out && c->zero_point; j++)
        are &= c->zero_point[j] == 0;
    return are;
}

/* Returns the part of a distance that fits int8. */
static inline int16_t clamped(int16_t distance)
{
    const int16_t low = distance < -128 ? -128 : distance;
    return low > 127 ? 127 : low;
}

/* Splits the distances in so many terms [parts][rows][out]. Returns whether that is all of them. distance: memory for a
 * row. */
static bool split(const codes *c, size_t parts, int16_t *restrict distance, int8_t *terms)
{
    const size_t out = c->out;
    int16_t left = 0;
    for (size_t i = 0; i < c->rows; i++) {
        distances_of(c, i, distance);
        for (size_t part = 0; part < parts; part++) {
            int8_t *restrict row = terms + (part * c->rows + i) * out;
            const bool is_last = part + 1 == parts;
            for (size_t j = 0; j < out; j++) {
                const int16_t term = clamped(distance[j]);
                row[j] = (int8_t)term;
                distance[j] = (int16_t)(distance[j] - term);
                left |= is_last ? distance[j] : 0;
            }
        }
    }
    return left == 0;
}

/* Packs the columns of one group of the terms as a product of its own; columns: memory for them. */
static ql_status pack_group(ql_filter *w, const int8_t *terms, size_t group, size_t depth, int8_t *columns)
{
    const size_t out = w->shape[3], n = out / w->groups;
    for (size_t i = 0; i < depth && w->groups > 1; i++)
        memcpy(columns + i * n, terms + i * out + group * n, n);
    const ql_code_matrix b = {
        .data = (const uint8_t *)(w->groups > 1 ? columns : terms), .is_signed = true, .k = depth, .n = n};
    return ql_pack_segments(w->kernels, QL_PACK_INTEGER, &b, ql_filter_segments(w), w->packed + group);
}

static ql_status pack_groups(ql_filter *w, const int8_t *terms, size_t depth)
{
    int8_t *columns = w->groups > 1 ? ql_alloc(depth, w->shape[3] / w->groups) : NULL;
    w->packed = calloc(w->groups, sizeof *w->packed);
    ql_status status = (columns || w->groups == 1) && w->packed ? QL_OK : QL_ENOMEM;
    for (size_t g = 0; g < w->groups && status == QL_OK; g++)
        status = pack_group(w, terms, g, depth, columns);
    free(columns);
    return status;
}

static ql_status pack_terms(ql_filter *w, const int8_t *terms, size_t depth)
{
    const bool is_depthwise = w->groups > 1 && w->shape[2] == 1;
    return is_depthwise ? ql_taps_pack(w, terms) : pack_groups(w, terms, w->parts * depth);
}

static ql_status pack(ql_filter *w, const codes *c)
{
    w->are_distances = are_distances(c);
    if (w->are_distances) {
        w->parts = 1;
        return pack_terms(w, (const int8_t *)c->data, c->rows);
    }
    ql_status status = QL_ENOMEM;
    int8_t *terms = NULL;
    int16_t *distance = ql_alloc(c->out, sizeof *distance);
    bool is_whole = false;
    for (w->parts = 0; distance && !is_whole;) {
        free(terms);
        w->parts++;
        terms = ql_alloc(w->parts * c->rows, c->out);
        if (!terms)
            break;
        is_whole = split(c, w->parts, distance, terms);
    }
    if (is_whole)
        status = pack_terms(w, terms, c->rows);
    free(terms);
    free(distance);
    return status;
}

ql_status ql_filter_pack(const uint8_t *w, bool is_signed, const size_t shape[4], const int32_t *zero_point,
                         size_t groups, bool is_dilated, ql_filter **filter)
{
    return ql_filter_pack_with(ql_kernels_active(), w, is_signed, shape, zero_point, groups, is_dilated, filter);
}

ql_status ql_filter_pack_with(const ql_kernels *kernels, const uint8_t *w, bool is_signed, const size_t shape[4],
                              const int32_t *zero_point, size_t groups, bool is_dilated, ql_filter **filter)
{
    if (groups == 0 || shape[3] % groups != 0 || shape[0] == 0 || shape[1] == 0 || shape[2] == 0 || shape[3] == 0)
        return QL_EINVAL;
    for (size_t j = 0; zero_point && j < shape[3]; j++) {
        if (zero_point[j] < (is_signed ? -128 : 0) || zero_point[j] > (is_signed ? 127 : 255))
            return QL_EINVAL;
    }
    ql_filter *f = calloc(1, sizeof *f);
    if (!f)
        return QL_ENOMEM;
    f->kernels = kernels;
    memcpy(f->shape, shape, sizeof f->shape);
    f->groups = groups;
    f->is_dilated = is_dilated;
    f->by_row = groups == 1 && !is_dilated;
    const codes c = {w, is_signed, shape[0] * shape[1] * shape[2], shape[3], zero_point};
    const ql_status status = pack(f, &c);
    if (status != QL_OK) {
        ql_filter_free(f);
        return status;
    }
    *filter = f;
    return QL_OK;
}

void ql_filter_free(ql_filter *w)
{
    if (!w)
        return;
    for (size_t g = 0; w->packed && g < w->groups; g++)
        ql_packed_free(w->packed[g]);
    free(w->packed);
    free(w->taps.set[0].blocks);
    free(w->taps.set[1].blocks);
    free(w->taps.column_sum);
    free(w->winograd.weights);
    free(w);
}

ql_packed_info ql_filter_describe(const ql_filter *w)
{
    ql_packed_info info = {.purpose = QL_PACK_INTEGER,
                           .ndim = 4,
                           .shape = {w->shape[0], w->shape[1], w->shape[2], w->shape[3]},
                           .groups = w->groups,
                           .is_dilated = w->is_dilated,
                           .nbytes = sizeof *w,
                           .isa = w->kernels->isa};
    for (size_t g = 0; w->packed && g < w->groups; g++)
        info.nbytes += sizeof *w->packed + ql_packed_describe(w->packed[g]).nbytes;
    for (int p = 0; p < 2 && !w->packed; p++)
        info.nbytes += w->taps.lanes / w->kernels->depthwise_u8s8s32->lanes * w->taps.set[p].block_bytes;
    info.nbytes += w->packed ? 0 : w->shape[3] * sizeof *w->taps.column_sum;
    info.nbytes += ql_divided_up(w->shape[3], QL_WINOGRAD_COLUMNS) * w->winograd.panel_bytes;
    return info;
}
