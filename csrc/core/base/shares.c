/* Shares. Where one begins depends on the layout alone, never on the number of threads. */
#include "core/base/shares.h"

#include "core/base/sizes.h"

/* Number of pieces that ql_run_piece() makes of a run. */
static size_t parts_of(size_t length, size_t group)
{
    if (length <= QL_SHARE)
        return 1;
    if (group <= QL_SHARE)
        return ql_divided_up(length, QL_SHARE - QL_SHARE % group);
    return length / group * ql_divided_up(group, QL_SHARE) + ql_divided_up(length % group, QL_SHARE);
}

static ql_run part_at(const ql_run *run, size_t i)
{
    const size_t in_group = ql_divided_up(run->group, QL_SHARE);
    const size_t first = run->group <= QL_SHARE ? i * (QL_SHARE - QL_SHARE % run->group)
                                                : i / in_group * run->group + i % in_group * QL_SHARE;
    return ql_run_piece(run, first, QL_SHARE);
}

ql_shares ql_shares_of(const ql_layout *layout)
{
    ql_shares shares = {.layout = layout, .parts = 1, .runs = 1};
    if (ql_layout_size(layout) == 0)
        return shares;
    const ql_run run = ql_run_at(layout, 0);
    shares.parts = parts_of(run.length, run.group);
    shares.runs = run.length < QL_SHARE ? QL_SHARE / run.length : 1;
    shares.count = ql_divided_up(ql_run_count(layout), shares.runs) * shares.parts;
    return shares;
}

void ql_share_visit(const ql_shares *shares, size_t i, ql_visit *visit, void *context)
{
    if (shares->parts > 1) {
        const ql_run run = ql_run_at(shares->layout, i / shares->parts), part = part_at(&run, i % shares->parts);
        visit(context, &part, 1);
        return;
    }
    const size_t alike = ql_runs_alike(shares->layout);
    const size_t end = ql_least((i + 1) * shares->runs, ql_run_count(shares->layout));
    for (size_t r = i * shares->runs; r < end;) {
        const ql_run run = ql_run_at(shares->layout, r);
        const size_t same = ql_least(alike - r % alike, end - r);
        const bool join = same >= 4 && run.length * same >= QL_TILE && (run.length <= QL_SHORT_RUN || run.group == 1);
        visit(context, &run, join ? same : 1);
        r += join ? same : 1;
    }
}
