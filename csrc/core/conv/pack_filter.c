/* Weights of convolutions. A group of channels is a product of its own, packed as such: the depth of it is a window,
 * cut in segments that lie in one stretch of the image, a row of the window or, with groups or gaps, one tap. */
#include <string.h>

#include "core/base/memory.h"
#include "core/conv/conv.h"

/* Distances from a zero point are -255..255. */
enum { MAX_PARTS = 3 };

static int32_t distance_of(const uint8_t *w, bool is_signed, const int32_t *zero_point, size_t i, size_t out)
{
    const int32_t code = is_signed ? (int8_t)w[i] : w[i];
    return code - (zero_point ? zero_point[i % out] : 0);
}

/* Returns the int8 term that a distance leaves after `part` others. */
static int8_t term_of(int32_t distance, size_t part)
{
    for (size_t p = 0; p < part; p++)
        distance -= distance < -128 ? -128 : distance > 127 ? 127 : distance;
    return (int8_t)(distance < -128 ? -128 : distance > 127 ? 127 : distance);
}

static size_t count_parts(const uint8_t *w, bool is_signed, const int32_t *zero_point, size_t size, size_t out)
{
    int32_t low = 0, high = 0;
    for (size_t i = 0; i < size; i++) {
        const int32_t distance = distance_of(w, is_signed, zero_point, i, out);
        low = distance < low ? distance : low;
        high = distance > high ? distance : high;
    }
    return high > 254 ? MAX_PARTS : high > 127 || low < -128 ? 2 : 1;
}

/* Packs the columns of one group of the terms as a product of its own; columns: memory for them. */
static ql_status pack_group(ql_filter *w, const int8_t *terms, size_t group, size_t depth, int8_t *columns)
{
    const size_t out = w->shape[3], n = out / w->groups;
    for (size_t i = 0; i < depth; i++)
        memcpy(columns + i * n, terms + i * out + group * n, n);
    const ql_code_matrix b = {.data = (const uint8_t *)columns, .is_signed = true, .k = depth, .n = n};
    return ql_pack_segments(QL_PACK_INTEGER, &b, ql_filter_segments(w), w->packed + group);
}

static ql_status pack_groups(ql_filter *w, const int8_t *terms, size_t depth)
{
    int8_t *columns = ql_alloc(depth, w->shape[3] / w->groups);
    w->packed = calloc(w->groups, sizeof *w->packed);
    ql_status status = columns && w->packed ? QL_OK : QL_ENOMEM;
    for (size_t g = 0; g < w->groups && status == QL_OK; g++)
        status = pack_group(w, terms, g, depth, columns);
    free(columns);
    return status;
}

static ql_status pack(ql_filter *w, const uint8_t *codes, bool is_signed, const int32_t *zero_point)
{
    const size_t out = w->shape[3], depth = w->shape[0] * w->shape[1] * w->shape[2], size = depth * out;
    w->parts = count_parts(codes, is_signed, zero_point, size, out);
    int8_t *terms = ql_alloc(w->parts, size);
    if (!terms)
        return QL_ENOMEM;
    for (size_t part = 0; part < w->parts; part++) {
        for (size_t i = 0; i < size; i++)
            terms[part * size + i] = term_of(distance_of(codes, is_signed, zero_point, i, out), part);
    }
    const bool is_depthwise = w->groups > 1 && w->shape[2] == 1;
    const ql_status status = is_depthwise ? ql_taps_pack(w, terms) : pack_groups(w, terms, w->parts * depth);
    free(terms);
    return status;
}

ql_status ql_filter_pack(const uint8_t *w, bool is_signed, const size_t shape[4], const int32_t *zero_point,
                         size_t groups, bool is_dilated, ql_filter **filter)
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
    f->kernels = ql_kernels_active();
    memcpy(f->shape, shape, sizeof f->shape);
    f->groups = groups;
    f->is_dilated = is_dilated;
    f->by_row = groups == 1 && !is_dilated;
    const ql_status status = pack(f, w, is_signed, zero_point);
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
    return info;
}
