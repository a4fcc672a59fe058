/* Layouts: one rule for scales per tensor, per axis, per group and per block. */
#include "core/base/layout.h"

#include <assert.h>

#include "core/base/sizes.h"

static size_t parameters_along(const ql_layout *layout, size_t axis)
{
    const size_t length = layout->length[axis], group = layout->group[axis];
    return length <= group ? 1 : ql_divided_up(length, group);
}

/* An inner axis with one parameter for all only makes the groups around it longer; inside an axis whose elements have
 * their own, groups that fill theirs evenly go on without a seam. */
void ql_layout_push(ql_layout *layout, size_t length, size_t group)
{
    assert(group >= 1 || length == 0);
    group = group < length ? group : length > 0 ? length : 1;
    if (layout->ndim > 0) {
        size_t *outer_length = layout->length + layout->ndim - 1, *outer_group = layout->group + layout->ndim - 1;
        if (group == length || (*outer_group == 1 && length % group == 0)) {
            *outer_group *= group == length ? length : group;
            *outer_length *= length;
            return;
        }
    }
    assert(layout->ndim < QL_MAX_DIMS);
    layout->length[layout->ndim] = length;
    layout->group[layout->ndim++] = group;
}

size_t ql_layout_size(const ql_layout *layout)
{
    size_t size = 1;
    for (size_t i = 0; i < layout->ndim; i++)
        size *= layout->length[i];
    return size;
}

size_t ql_layout_parameters(const ql_layout *layout)
{
    size_t count = 1;
    for (size_t i = 0; i < layout->ndim; i++)
        count *= parameters_along(layout, i);
    return count;
}

size_t ql_run_count(const ql_layout *layout)
{
    size_t count = 1;
    for (size_t i = 0; i + 1 < layout->ndim; i++)
        count *= layout->length[i];
    return count;
}

ql_run ql_run_at(const ql_layout *layout, size_t i)
{
    if (layout->ndim == 0)
        return (ql_run){0, 1, 0, 1};
    const size_t inner = layout->ndim - 1;
    ql_run run = {i * layout->length[inner], layout->length[inner], 0, layout->group[inner]};
    size_t stride = parameters_along(layout, inner);
    for (size_t axis = inner; axis-- > 0; i /= layout->length[axis]) {
        run.parameter += i % layout->length[axis] / layout->group[axis] * stride;
        stride *= parameters_along(layout, axis);
    }
    return run;
}

ql_run ql_run_piece(const ql_run *run, size_t first, size_t limit)
{
    const size_t rest = ql_least(run->group - first % run->group, limit);
    const size_t length = run->group <= limit ? limit - limit % run->group : rest;
    return (ql_run){run->offset + first, ql_least(run->length - first, length), run->parameter + first / run->group,
                    run->group};
}

size_t ql_runs_alike(const ql_layout *layout)
{
    if (layout->ndim < 2)
        return 1;
    const size_t outer = layout->ndim - 2;
    return layout->group[outer] == layout->length[outer] ? layout->length[outer] : 1;
}
