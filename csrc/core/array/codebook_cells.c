/* The cells of a codebook's entries: sorted once, with their edges, so that a value whose code is the nearest one needs
 * two comparisons, and only another one a binary search. */
#include "core/array/codebook_cells.h"

#include <float.h>
#include <math.h>

#include "core/array/codebook_order.h"
#include "core/base/memory.h"
#include "kernels/kernels.h"

static float as_float(double x)
{
    return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : (float)x;
}

/* Cells meet in the middle between their entries; the two at the ends reach as far out as in. A single one has no end.
 */
static void set_edges(ql_cell *cells, size_t count)
{
    const double least = (double)cells[0].value, greatest = (double)cells[count - 1].value;
    const double first = count > 1 ? ((double)cells[1].value - least) / 2 : INFINITY;
    const double last = count > 1 ? (greatest - (double)cells[count - 2].value) / 2 : INFINITY;
    cells[0].low = as_float(least - first);
    cells[count - 1].high = as_float(greatest + last);
    for (size_t i = 1; i < count; i++)
        cells[i - 1].high = cells[i].low = as_float(((double)cells[i - 1].value + (double)cells[i].value) / 2);
    for (size_t i = 0; i < count; i++) {
        const double width = (double)cells[i].high - (double)cells[i].low; /* 0 between neighbours among the floats */
        cells[i].sub_bins_per_unit = width > 0 ? (float)(QL_SUB_BINS / width) : 0;
    }
}

static ql_status prepare_book(const float *book, size_t entries, ql_cell *cells, int16_t *rank, size_t *size)
{
    uint8_t order[QL_MAX_ENTRIES];
    size_t count = 0;
    for (size_t code = 0; code < entries; code++) {
        rank[code] = -1;
        if (isinf(book[code]))
            return QL_EINVAL;
    }
    for (size_t i = 0, left = ql_sort_codes(book, entries, order); i < left; i++) {
        const float value = book[order[i]];
        if (count == 0 || cells[count - 1].value != value)
            cells[count++].value = value;
        rank[order[i]] = (int16_t)(count - 1);
    }
    *size = count;
    if (count == 0)
        return QL_EINVAL;
    set_edges(cells, count);
    return QL_OK;
}

ql_status ql_codebook_cells_make(const ql_coded *q, ql_codebook_cells *books)
{
    const size_t count = q->is_own ? ql_layout_parameters(&q->layout) : 1;
    books->entries = q->entries;
    books->cells = ql_alloc(count * q->entries, sizeof *books->cells);
    books->rank = ql_alloc(count * q->entries, sizeof *books->rank);
    books->size = ql_alloc(count, sizeof *books->size);
    if (!books->cells || !books->rank || !books->size)
        return QL_ENOMEM;
    ql_status status = QL_OK;
    for (size_t i = 0; i < count && status == QL_OK; i++) {
        const size_t at = i * q->entries;
        status = prepare_book(q->codebook + at, q->entries, books->cells + at, books->rank + at, books->size + i);
    }
    return status;
}

static size_t nearest_cell(const ql_cell *cells, size_t size, float t)
{
    size_t at = 0;
    while (size > 1) {
        const size_t half = size / 2;
        at += cells[at + half].low <= t ? half : 0;
        size -= half;
    }
    return at;
}

size_t ql_find_cell(const ql_cell *cells, size_t size, float t, int32_t *mark)
{
    *mark = t < cells[0].low || t > cells[size - 1].high ? QL_CLIPPED : QL_MOVED;
    return nearest_cell(cells, size, t);
}

void ql_codebook_cells_free(ql_codebook_cells *books)
{
    free(books->size);
    free(books->rank);
    free(books->cells);
}
