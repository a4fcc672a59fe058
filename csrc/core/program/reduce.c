#include "core/program/reduce.h"

/* Marks the axes that are reduced. */
static bool take_axes(const ql_buffer *in, const ql_value *axes, bool *is_reduced)
{
    int64_t before = -1;
    for (size_t i = 0; i < axes->integers.count; i++) {
        const int64_t axis = axes->integers.items[i];
        if (axis <= before || axis >= (int64_t)in->rank)
            return false;
        is_reduced[axis] = true;
        before = axis;
    }
    return true;
}

static bool is_shape_left(const ql_buffer *in, const ql_buffer *out, const bool *is_reduced, bool keepdims)
{
    size_t rank = 0;
    for (size_t i = 0; i < in->rank; i++) {
        if (is_reduced[i] && !keepdims)
            continue;
        if (rank == out->rank || out->shape[rank] != (is_reduced[i] ? 1 : in->shape[i]))
            return false;
        rank++;
    }
    return rank == out->rank;
}

bool ql_take_reduction(const ql_buffer *in, const ql_buffer *out, const ql_value *axes, const ql_value *keepdims,
                       ql_reduction *reduction)
{
    bool is_reduced[QL_MAX_RANK] = {false};
    if (!take_axes(in, axes, is_reduced) || (keepdims->integer & ~INT64_C(1)) != 0 ||
        !is_shape_left(in, out, is_reduced, keepdims->integer == 1))
        return false;
    size_t length[QL_MAX_RANK + 1] = {1, 1, 1, 1, 1}, part = 0; /* part 0: kept, 1: reduced, ... */
    for (size_t i = in->rank; i-- > 0;) {
        if (in->shape[i] == 1)
            continue;
        part += is_reduced[i] != (part % 2 == 1);
        length[part] *= in->shape[i];
    }
    const size_t row = length[0] * length[1];
    *reduction = (ql_reduction){.windows = {.n = length[2],
                                            .step = row,
                                            .row_stride = row * length[2],
                                            .rows = length[3],
                                            .cols = length[1],
                                            .channels = length[0]},
                                .places = length[4],
                                .step = row * length[2] * length[3],
                                .count = length[1] * length[3]};
    return true;
}
