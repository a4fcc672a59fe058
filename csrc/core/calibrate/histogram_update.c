/* Counting values into the streaming histogram of histogram.c.
 *
 * A kernel turns values into slots: the bins, one slot for exact zeros and one for values that miss the bins, which can
 * happen only if they changed since their minimum and maximum were taken. What is left is incrementing, where a count
 * that was stored a moment ago has to be waited for: so neighbours go to different tables (or channels), and tables are
 * small. A few values are not worth the clearing of tables. */
#include <math.h>
#include <string.h>

#include "core/base/layout.h"
#include "core/base/memory.h"
#include "core/base/sizes.h"
#include "core/calibrate/histogram.h"
#include "kernels/kernels.h"

enum {
    OUTSIDE = 2,     /* slots beyond the bins: zeros, misses */
    TABLES = 4,      /* 3.3 Ge/s; with one table 1.9 */
    PIECE = 1024,    /* slots on the stack */
    COLUMNS = 16,    /* channels that are counted together, and ... */
    ROWS = 1024,     /* ... values of each: in the first two caches with their counts */
    BLOCK = 1 << 18, /* values that stay in the second-level cache between their range and their count */
};

typedef struct counter {
    const ql_kernels *kernels;
    size_t bins;
    uint32_t *tables; /* [TABLES][bins + OUTSIDE] */
    float *columns;   /* [COLUMNS][ROWS] */
} counter;

static void counter_free(counter *c)
{
    free(c->columns);
    free(c->tables);
}

static float inverse_width(const ql_histogram *h)
{
    return ldexpf(1.0f, -h->exponent);
}

static size_t slots_of(const counter *c, const float *x, size_t n, const ql_histogram *h, uint32_t *slots)
{
    const size_t length = ql_least(n, PIECE);
    const float inverse = inverse_width(h);
    c->kernels->histogram_slots_f32(x, length, &inverse, &h->origin, length, (uint32_t)c->bins, slots);
    return length;
}

static inline void count_slot(uint32_t slot, size_t bins, int64_t *counts, int64_t *outside)
{
    int64_t *place = slot < bins ? counts + slot : outside + (slot - bins);
    ++*place;
}

static void count_few(const counter *c, const float *x, size_t n, const ql_histogram *h, int64_t *counts,
                      int64_t *outside)
{
    uint32_t slots[PIECE];
    for (size_t i = 0, length; i < n; i += length) {
        length = slots_of(c, x + i, n - i, h, slots);
        for (size_t k = 0; k < length; k++)
            count_slot(slots[k], c->bins, counts, outside);
    }
}

static void count_in_tables(const counter *c, const float *x, size_t n, const ql_histogram *h)
{
    uint32_t slots[PIECE];
    const size_t stride = c->bins + OUTSIDE;
    uint32_t *t0 = c->tables, *t1 = t0 + stride, *t2 = t1 + stride, *t3 = t2 + stride;
    for (size_t i = 0, length; i < n; i += length) {
        length = slots_of(c, x + i, n - i, h, slots);
        size_t k = 0;
        for (; k + TABLES <= length; k += TABLES) {
            t0[slots[k]]++;
            t1[slots[k + 1]]++;
            t2[slots[k + 2]]++;
            t3[slots[k + 3]]++;
        }
        for (; k < length; k++)
            t0[slots[k]]++;
    }
}

static void clear_tables(const counter *c)
{
    memset(c->tables, 0, TABLES * (c->bins + OUTSIDE) * sizeof *c->tables);
}

/* Adds the tables to the counts and clears them. */
static void flush_tables(const counter *c, int64_t *counts, int64_t *outside)
{
    const size_t stride = c->bins + OUTSIDE;
    const uint32_t *t = c->tables;
    for (size_t b = 0; b < c->bins; b++)
        counts[b] += (int64_t)t[b] + t[stride + b] + t[2 * stride + b] + t[3 * stride + b];
    for (size_t b = c->bins; b < stride; b++)
        outside[b - c->bins] += (int64_t)t[b] + t[stride + b] + t[2 * stride + b] + t[3 * stride + b];
    clear_tables(c);
}

/* Takes n counted values into the state; returns whether none missed the bins. */
static bool settle(ql_histogram *h, size_t n, const int64_t *outside)
{
    h->zeros += outside[0];
    h->count += (int64_t)n - outside[1];
    return outside[1] == 0;
}

static bool is_worth_tables(size_t n, size_t bins)
{
    return n >= TABLES * bins;
}

/* Counts neighbours of one channel. Returns whether none missed the bins. */
static bool count_segment(const counter *c, const float *x, size_t n, ql_histogram *h, int64_t *counts)
{
    const size_t most = (size_t)1 << 31; /* counts that a table holds */
    int64_t outside[OUTSIDE] = {0};
    if (!is_worth_tables(n, c->bins)) {
        count_few(c, x, n, h, counts, outside);
        return settle(h, n, outside);
    }
    for (size_t i = 0; i < n; i += most) {
        count_in_tables(c, x + i, ql_least(n - i, most), h);
        flush_tables(c, counts, outside);
    }
    return settle(h, n, outside);
}

/* Counts rows whose columns are a channel each: a line of memory from every row, whose columns then lie in one piece.
 * Counting a row at a time would reach for every channel's counts again and again. Returns whether none missed the
 * bins. */
static bool count_rows(const counter *c, const float *x, size_t rows, size_t columns, ql_histogram *h, int64_t *counts)
{
    bool all = true;
    for (size_t first = 0; first < columns; first += COLUMNS) {
        const size_t some = ql_least(columns - first, COLUMNS);
        for (size_t row = 0, n; row < rows; row += n) {
            n = ql_least(rows - row, ROWS);
            c->kernels->transpose(x + row * columns + first, (ptrdiff_t)(columns * sizeof *x), n, some, sizeof *x,
                                  c->columns, ROWS * sizeof *x);
            for (size_t k = first; k < first + some; k++)
                all &= count_segment(c, c->columns + (k - first) * ROWS, n, h + k, counts + k * c->bins);
        }
    }
    return all;
}

static bool count_runs(const counter *c, const float *x, const ql_layout *layout, ql_histogram *h, int64_t *counts)
{
    bool all = true;
    const size_t alike = ql_runs_alike(layout);
    for (size_t i = 0; i < ql_run_count(layout); i++) {
        ql_run run = ql_run_at(layout, i);
        if (run.group == 1) {
            all &=
                count_rows(c, x + run.offset, alike, run.length, h + run.parameter, counts + run.parameter * c->bins);
            i += alike - 1;
            continue;
        }
        for (size_t first = 0, p = run.parameter; first < run.length; first += run.group, p++) {
            const size_t n = ql_least(run.length - first, run.group);
            all &= count_segment(c, x + run.offset + first, n, h + p, counts + p * c->bins);
        }
    }
    return all;
}

/* Updates any channels: all ranges, then all counts. */
static ql_status update_channels(const float *x, const ql_layout *layout, ql_histogram *h, int64_t *counts, size_t bins)
{
    const size_t channels = ql_layout_parameters(layout);
    const size_t group = layout->ndim > 0 ? layout->group[layout->ndim - 1] : 1;
    counter c = {.kernels = ql_kernels_active(), .bins = bins};
    ql_status status = QL_ENOMEM;
    float *min = ql_alloc(channels, sizeof *min), *max = ql_alloc(channels, sizeof *max);
    int64_t *scratch = ql_alloc(bins, sizeof *scratch);
    bool failed = !min || !max || !scratch;
    if (is_worth_tables(group == 1 ? ROWS : group, bins)) {
        c.tables = ql_alloc(TABLES * (bins + OUTSIDE), sizeof *c.tables);
        failed |= !c.tables;
    }
    if (group == 1) {
        c.columns = ql_alloc(COLUMNS * ROWS, sizeof *c.columns);
        failed |= !c.columns;
    }
    if (failed)
        goto done;
    status = ql_minmax_f32(x, layout, min, max) ? QL_OK : QL_ENONFINITE;
    if (status != QL_OK)
        goto done;
    for (size_t i = 0; i < channels; i++) {
        ql_histogram wide = ql_widened(h + i, min[i], max[i], bins);
        if (h[i].count > 0)
            ql_rebin(h + i, counts + i * bins, &wide, bins, scratch);
        h[i] = wide;
    }
    if (c.tables)
        clear_tables(&c);
    if (!count_runs(&c, x, layout, h, counts))
        status = QL_EINVAL;
done:
    counter_free(&c);
    free(scratch);
    free(max);
    free(min);
    return status;
}

/* Updates one channel with more than a cache holds: range and counts block by block, so that memory is read once (40
 * million values in 34 ms, not 43; below 4 million nothing is gained). The
 * counts of x stay apart until all of it has turned out to be finite. */
static ql_status update_blocks(const float *x, size_t n, ql_histogram *h, int64_t *counts, size_t bins)
{
    ql_status status = QL_ENOMEM;
    ql_histogram wide = *h;
    counter c = {.kernels = ql_kernels_active(), .bins = bins};
    c.tables = ql_alloc(TABLES * (bins + OUTSIDE), sizeof *c.tables);
    int64_t *own = ql_alloc(bins, sizeof *own), *scratch = ql_alloc(bins, sizeof *scratch), outside[OUTSIDE] = {0};
    if (!c.tables || !own || !scratch)
        goto done;
    clear_tables(&c);
    memset(own, 0, bins * sizeof *own);
    size_t in_tables = 0;
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t length = ql_least(n - i, BLOCK);
        ql_layout layout = {.ndim = 0};
        float min, max;
        ql_layout_push(&layout, length, length);
        status = ql_minmax_f32(x + i, &layout, &min, &max) ? QL_OK : QL_ENONFINITE;
        if (status != QL_OK)
            goto done;
        ql_histogram next = ql_widened(&wide, min, max, bins);
        bool same_bins = next.exponent == wide.exponent && next.origin == wide.origin;
        if (in_tables > 0 && (!same_bins || in_tables > ((size_t)1 << 31) - BLOCK)) {
            flush_tables(&c, own, outside);
            in_tables = 0;
        }
        ql_rebin(&wide, own, &next, bins, scratch);
        count_in_tables(&c, x + i, length, &wide);
        in_tables += length;
    }
    flush_tables(&c, own, outside);
    if (outside[1] > 0) {
        status = QL_EINVAL;
        goto done;
    }
    ql_rebin(h, counts, &wide, bins, scratch);
    for (size_t b = 0; b < bins; b++)
        counts[b] += own[b];
    settle(h, n, outside);
done:
    free(scratch);
    free(own);
    counter_free(&c);
    return status;
}

ql_status ql_histogram_update(const float *x, const ql_layout *layout, ql_histogram *h, int64_t *counts, size_t bins)
{
    if (!ql_bins_are_valid(bins))
        return QL_EINVAL;
    const size_t n = ql_layout_size(layout);
    if (n == 0)
        return QL_OK;
    const size_t channels = ql_layout_parameters(layout);
    for (size_t c = 0; c < channels; c++) {
        if (!ql_range_is_valid(h + c, bins) || h[c].count > INT64_MAX - (int64_t)n)
            return QL_EINVAL;
    }
    return channels == 1 && n > BLOCK ? update_blocks(x, n, h, counts, bins)
                                      : update_channels(x, layout, h, counts, bins);
}
