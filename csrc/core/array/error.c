/* Loss of a quantized array, in one pass: its error, parted into clipping and rounding, and the divergence of the
 * codes' distribution from the data's.
 *
 * A block of values at a time is dequantized to the stack and placed on the grid, each value in one of eight equal
 * sub-bins of its code's cell; two kernels do that and add up. What is left is counting: one increment per value, and a
 * second look only at those that are clipped or whose code is not the nearest.
 * Why not the counts of all channels at once: a channel has 18 kB of them at 8 bits, 4.7 MB at 16. Channels go in tiles
 * whose counts stay in the cache; where the channel changes with every element, the data is read in narrow strips.
 * Why not clear and read all counts: of 65536 codes a channel of a thousand values uses few. Codes in use are marked,
 * and only theirs are read and cleared. */
#include <string.h>

#include "core/array/codebook_cells.h"
#include "core/base/finite.h"
#include "core/base/layout.h"
#include "core/base/logarithm.h"
#include "core/base/memory.h"
#include "kernels/kernels.h"

enum { BLOCK = 512, TILE_COUNTS = 1 << 16, MIN_STRIP = 8, MAX_TILE = 64, SMALL = 128, SUMS = 6 };

/* Counts of a code: of the values in each sub-bin of its cell, and in the last slot how many more unclipped values
 * have the code than lie in the cell. */
typedef int64_t counts[QL_CODE_SLOTS];

/* The channels that are measured at the same time. */
typedef struct tile {
    size_t lanes;
    double *sums; /* [SUMS][stride]; a channel has `lanes` neighbours of a row */
    size_t stride;
    int64_t *clipped; /* [channels] */
    counts *counts;   /* [channels][codes] */
    uint8_t *used;    /* [channels][codes] */
} tile;

typedef struct block {
    float code[BLOCK]; /* or, with a codebook, the number of its cell */
    float scale[BLOCK], zero_point[BLOCK], value[BLOCK];
    size_t book[BLOCK];
    int32_t slot[BLOCK], mark[BLOCK];
    size_t held; /* the first elements are filled with one parameter: to keep it saves a fourth of the time */
    size_t parameter;
} block;

typedef struct measurement {
    const ql_kernels *kernels;
    const float *w;
    const ql_coded *q;
    ql_axis axis;
    size_t codes;  /* number of codes, or of a codebook's entries */
    int32_t first; /* least code */
    ql_codebook_cells books;
    double logarithms[SMALL]; /* log(i) at i, 0 at 0: per channel 5 ms, not 9 */
    tile tile;
    block block;
} measurement;

/* ---- blocks ------------------------------------------------------------------------------------- */

/* Does with a codebook what the kernel error_slots_f32 does on a uniform grid. A code that has no entry gets the value
 * NaN.
 */
static bool place_on_codebook(const ql_codebook_cells *books, block *b, size_t n)
{
    int32_t any = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t first = b->book[i] * books->entries, code = (size_t)(int32_t)b->code[i];
        const ql_cell *cells = books->cells + first;
        const int rank = code < books->entries ? books->rank[first + code] : -1;
        const float t = b->value[i] / b->scale[i];
        size_t at = rank < 0 ? 0 : (size_t)rank;
        int32_t mark = 0;
        if (!(t >= cells[at].low && t <= cells[at].high))
            at = ql_find_cell(cells, books->size[b->book[i]], t, &mark);
        float bin = (t - cells[at].low) * cells[at].sub_bins_per_unit;
        bin = bin > 0 ? bin : 0;
        bin = bin < QL_SUB_BINS - 1 ? bin : QL_SUB_BINS - 1;
        b->slot[i] = (int32_t)at * QL_CODE_SLOTS + (int32_t)bin;
        b->mark[i] = mark;
        b->code[i] = (float)rank;
        b->value[i] = rank < 0 ? NAN : b->scale[i] * cells[rank].value;
        any |= mark;
    }
    return any;
}

static void load_codes(const ql_coded *q, size_t offset, size_t n, float *code)
{
    const int8_t *s8 = q->codes;
    const uint8_t *u8 = q->codes;
    const int16_t *s16 = q->codes;
    const uint16_t *u16 = q->codes;
    const bool is_wide = q->code_size == 2;
    for (size_t i = 0; !is_wide && q->is_signed && i < n; i++)
        code[i] = s8[offset + i];
    for (size_t i = 0; !is_wide && !q->is_signed && i < n; i++)
        code[i] = u8[offset + i];
    for (size_t i = 0; is_wide && q->is_signed && i < n; i++)
        code[i] = s16[offset + i];
    for (size_t i = 0; is_wide && !q->is_signed && i < n; i++)
        code[i] = u16[offset + i];
}

/* Fills elements i to i + n - 1 with parameters from `parameter` on: one for all (step 0), or each its own (step 1). */
static void fill(const ql_coded *q, block *b, size_t i, size_t n, size_t parameter, size_t step)
{
    for (size_t k = 0; k < n; k++)
        b->scale[i + k] = q->scale[parameter + k * step];
    for (size_t k = 0; !q->codebook && k < n; k++)
        b->zero_point[i + k] = (float)q->zero_point[parameter + k * step];
    for (size_t k = 0; q->codebook && k < n; k++)
        b->book[i + k] = q->is_own ? parameter + k * step : 0;
}

static void load_parameters(const ql_coded *q, size_t offset, size_t n, block *b)
{
    const size_t length = q->layout.ndim ? q->layout.length[q->layout.ndim - 1] : 1;
    size_t at = offset % length, i = 0;
    for (size_t r = offset / length; i < n; r++, at = 0) {
        const ql_run run = ql_run_at(&q->layout, r);
        for (size_t count; at < length && i < n; i += count, at += count) {
            const size_t step = run.group == 1, parameter = run.parameter + at / run.group;
            count = step ? length - at : run.group - at % run.group;
            count = ql_least(count, ql_least(length - at, n - i));
            const bool is_all = count == n && !step;
            if (is_all && b->held >= n && b->parameter == parameter)
                return;
            b->held = is_all ? n : 0;
            b->parameter = parameter;
            fill(q, b, i, count, parameter, step);
        }
    }
}

/* Loads the block of n values that begins at offset. Returns whether one of them has a mark. */
static bool load(measurement *m, size_t offset, size_t n)
{
    block *b = &m->block;
    load_codes(m->q, offset, n, b->code);
    load_parameters(m->q, offset, n, b);
    if (m->q->codebook) {
        memcpy(b->value, m->w + offset, n * sizeof *b->value);
        return place_on_codebook(&m->books, b, n);
    }
    return m->kernels->error_slots_f32(m->w + offset, b->code, n, b->scale, b->zero_point, m->q->qmin, m->q->qmax,
                                       b->value, b->slot, b->mark);
}

/* ---- counts and sums ---------------------------------------------------------------------------- */

static void count_fault(measurement *m, size_t channel, size_t i)
{
    const block *b = &m->block;
    counts *of = m->tile.counts + channel * m->codes;
    const size_t code = (size_t)b->slot[i] / QL_CODE_SLOTS, given = (size_t)((int64_t)b->code[i] - m->first);
    of[code][QL_SUB_BINS]--;
    if (b->mark[i] & QL_CLIPPED) {
        m->tile.clipped[channel]++;
    } else if (given < m->codes) {
        of[given][QL_SUB_BINS]++;
        m->tile.used[channel * m->codes + given] = 1;
    }
}

static void count(measurement *m, size_t channel, size_t i, size_t n, bool has_faults)
{
    int64_t *slots = m->tile.counts[channel * m->codes];
    uint8_t *used = m->tile.used + channel * m->codes;
    for (size_t k = i; k < i + n; k++) {
        slots[m->block.slot[k]]++;
        used[(uint32_t)m->block.slot[k] / QL_CODE_SLOTS] = 1;
    }
    for (size_t k = i; has_faults && k < i + n; k++) {
        if (m->block.mark[k])
            count_fault(m, channel, k);
    }
}

/* Number of neighbours whose sums are taken in one go: the elements of a channel, or where these are few a row of
 * channels. */
static size_t unit_of(const measurement *m, size_t channels)
{
    return m->axis.inner < QL_LANES ? channels * m->axis.inner : m->axis.inner;
}

/* Takes in elements i to i + n - 1 of the block, which stand at `at` in the tile's row. */
static void take(measurement *m, size_t offset, size_t i, size_t n, size_t at, bool has_faults)
{
    const size_t inner = m->axis.inner;
    const bool fold = inner >= QL_LANES;
    m->kernels->add_errors_f64(m->w + offset + i, m->block.value + i, m->block.mark + i, n, fold,
                               m->tile.sums + (fold ? at / inner * QL_LANES : at), m->tile.stride);
    size_t channel = at / inner, stretch = inner - at % inner;
    for (size_t end = i + n; i < end; i += stretch, stretch = inner) {
        stretch = ql_least(stretch, end - i);
        count(m, channel++, i, stretch, has_faults);
    }
}

/* Takes in a contiguous part of the data: rows of `row` elements, each for all channels of the tile. */
static void take_rows(measurement *m, size_t offset, size_t length, size_t row, size_t unit)
{
    size_t n;
    for (size_t at = 0; at < length; at += n) {
        n = unit <= BLOCK ? BLOCK / unit * unit : unit - at % unit;
        n = ql_least(ql_least(n, BLOCK), length - at);
        const bool has_faults = load(m, offset + at, n);
        const size_t step = ql_least(unit, n);
        for (size_t i = 0; i < n; i += step)
            take(m, offset + at, i, step, (at + i) % row, has_faults);
    }
}

static void take_tile(measurement *m, size_t first, size_t channels)
{
    const ql_axis *axis = &m->axis;
    const size_t row = channels * axis->inner, unit = unit_of(m, channels);
    if (channels == axis->channels) {
        take_rows(m, 0, axis->outer * row, row, unit);
        return;
    }
    for (size_t i = 0; i < axis->outer; i++)
        take_rows(m, (i * axis->channels + first) * axis->inner, row, row, unit);
}

/* ---- results ------------------------------------------------------------------------------------ */

static double logarithm(const measurement *m, int64_t n)
{
    return n < SMALL ? m->logarithms[n] : ql_log((double)n);
}

/* Returns sum n log(p / q) over the sub-bins of a code, with p = n / total and q = given / filled / unclipped, by
 * logarithms of integers, which are mostly small. Choices without jumps: which sub-bins are empty cannot be predicted.
 */
static double code_divergence(const measurement *m, const counts n, double total, double unclipped, double log_share)
{
    const double least_share = 1e-9;
    int64_t filled = 0, given = n[QL_SUB_BINS];
    for (size_t b = 0; b < QL_SUB_BINS; b++) {
        filled += n[b] > 0;
        given += n[b];
    }
    const bool is_rare = given == 0 || (double)given < least_share * (double)filled * unclipped;
    const double offset =
        is_rare ? -ql_log(least_share * total) : (logarithm(m, filled) - logarithm(m, given)) + log_share;
    const int64_t even = is_rare ? -1 : given;
    double sum = 0;
    for (size_t b = 0; b < QL_SUB_BINS; b++) {
        const double quotient = logarithm(m, n[b]) + offset;
        sum += (double)n[b] * (n[b] * filled == even ? log_share : quotient);
    }
    return sum;
}

/* Reads and clears the counts of a channel. */
static double divergence(measurement *m, size_t channel, double total)
{
    counts *of = m->tile.counts + channel * m->codes;
    uint8_t *used = m->tile.used + channel * m->codes, *end = used + m->codes;
    const double unclipped = total - (double)m->tile.clipped[channel];
    const double log_share = unclipped > 0 ? ql_log(unclipped / total) : 0;
    double sum = 0;
    for (uint8_t *at = used; (at = memchr(at, 1, (size_t)(end - at))); at++) {
        sum += code_divergence(m, of[at - used], total, unclipped, log_share);
        memset(of[at - used], 0, sizeof *of);
        *at = 0;
    }
    return sum > 0 ? sum / total : 0;
}

static void combine(const tile *t, size_t channel, double *result)
{
    for (size_t f = 0; f < SUMS; f++) {
        double p[QL_LANES] = {0}, greatest = 0;
        memcpy(p, t->sums + f * t->stride + channel * t->lanes, t->lanes * sizeof *p);
        for (size_t i = 0; i < QL_LANES; i++)
            greatest = p[i] > greatest ? p[i] : greatest;
        result[f] = f + 1 == SUMS ? greatest : ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
    }
}

static ql_status finish(measurement *m, size_t channel, ql_error *result)
{
    double sums[SUMS];
    combine(&m->tile, channel, sums);
    if (!isfinite(sums[0]))
        return QL_ENONFINITE;
    if (isnan(sums[1] + sums[2]))
        return QL_EINVAL;
    *result = (ql_error){sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], (double)m->tile.clipped[channel], 0};
    result->divergence = divergence(m, channel, (double)m->axis.outer * (double)m->axis.inner);
    return QL_OK;
}

static bool is_valid(const ql_coded *q, const ql_axis *axis)
{
    const size_t size = ql_layout_size(&q->layout);
    if (size == 0 || size != axis->outer * axis->channels * axis->inner || q->code_size < 1 || q->code_size > 2)
        return false;
    const int32_t width = 1 << 8 * q->code_size, least = q->is_signed ? -width / 2 : 0;
    if (q->codebook && (q->code_size != 1 || q->is_signed || q->entries < 1 || q->entries > QL_MAX_ENTRIES))
        return false;
    if (!q->codebook && (q->qmin > q->qmax || q->qmin < least || q->qmax >= least + width))
        return false;
    const size_t parameters = ql_layout_parameters(&q->layout);
    for (size_t i = 0; !q->codebook && i < parameters; i++) {
        if (q->zero_point[i] < q->qmin || q->zero_point[i] > q->qmax)
            return false;
    }
    return ql_scales_are_valid(q->scale, parameters);
}

/* Number of channels that are measured at a time. Strips of fewer than MIN_STRIP neighbours would be read too slowly:
 * with 12 bits single ones take up to 3 times as long. */
static size_t tile_channels(const ql_axis *axis, size_t codes)
{
    size_t channels = TILE_COUNTS / (codes * QL_CODE_SLOTS), least = axis->inner < QL_LANES ? MIN_STRIP : 1;
    channels = channels > least ? channels : least;
    return ql_least(ql_least(channels, MAX_TILE), axis->channels);
}

ql_status ql_error_sums(const float *w, const ql_coded *q, const ql_axis *axis, ql_error *errors)
{
    if (!is_valid(q, axis))
        return QL_EINVAL;
    ql_status status = QL_ENOMEM;
    ql_error *results = ql_alloc(axis->channels, sizeof *results);
    measurement *m = calloc(1, sizeof *m);
    if (!results || !m)
        goto done;
    m->kernels = ql_kernels_active();
    m->w = w;
    m->q = q;
    m->axis = *axis;
    for (size_t i = 1; i < SMALL; i++)
        m->logarithms[i] = ql_log((double)i);
    m->codes = q->codebook ? q->entries : (size_t)(q->qmax - q->qmin) + 1;
    m->first = q->codebook ? 0 : q->qmin;
    if (q->codebook && (status = ql_codebook_cells_make(q, &m->books)) != QL_OK)
        goto done;
    const size_t channels = tile_channels(axis, m->codes);
    m->tile.lanes = ql_least(axis->inner, QL_LANES);
    m->tile.stride = channels * m->tile.lanes;
    m->tile.sums = ql_alloc(SUMS * m->tile.stride, sizeof *m->tile.sums);
    m->tile.clipped = ql_alloc(channels, sizeof *m->tile.clipped);
    m->tile.counts = calloc(channels * m->codes, sizeof *m->tile.counts);
    m->tile.used = calloc(channels, m->codes);
    status = m->tile.sums && m->tile.clipped && m->tile.counts && m->tile.used ? QL_OK : QL_ENOMEM;
    for (size_t first = 0; first < axis->channels && status == QL_OK; first += channels) {
        const size_t count = ql_least(axis->channels - first, channels);
        memset(m->tile.sums, 0, SUMS * m->tile.stride * sizeof *m->tile.sums);
        memset(m->tile.clipped, 0, channels * sizeof *m->tile.clipped);
        take_tile(m, first, count);
        for (size_t c = 0; c < count && status == QL_OK; c++)
            status = finish(m, c, results + first + c);
    }
    if (status == QL_OK)
        memcpy(errors, results, axis->channels * sizeof *errors);
done:
    if (m) {
        free(m->tile.used);
        free(m->tile.counts);
        free(m->tile.clipped);
        free(m->tile.sums);
        ql_codebook_cells_free(&m->books);
    }
    free(results);
    free(m);
    return status;
}
