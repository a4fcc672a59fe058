/* Copies between arrays of any strides, in the order in which either side lies in memory.
 *
 * An axis along which one side has neighbours, and another along which the other side has, make a plane, which is
 * copied in tiles that stay in a cache: element by element along either axis alone, a matrix of a power of two is
 * transposed at a tenth of the speed of memory. */
#include <assert.h>
#include <string.h>

#include "core/base/runs.h"
#include "core/base/sizes.h"
#include "kernels/kernels.h"

enum { TILE = 64 };

typedef struct axis {
    size_t length;
    ptrdiff_t from, to; /* strides in bytes */
} axis;

typedef struct work {
    const ql_kernels *kernels;
    size_t size, ndim;
    axis axes[QL_MAX_DIMS]; /* `to` descends */
} work;

static ptrdiff_t magnitude(ptrdiff_t stride)
{
    return stride < 0 ? -stride : stride;
}

/* Puts the axes in the order of the copy, joins those that are one on both sides, and makes its strides positive. */
static work sorted(const ql_copy *c, const char **from, char **to)
{
    work w = {.kernels = ql_kernels_active(), .size = c->size};
    for (size_t i = 0; i < c->ndim; i++) {
        axis a = {c->length[i], c->from_stride[i], c->to_stride[i]};
        if (a.length == 1)
            continue;
        if (a.to < 0) {
            *from += (ptrdiff_t)(a.length - 1) * a.from;
            *to += (ptrdiff_t)(a.length - 1) * a.to;
            a.from = -a.from;
            a.to = -a.to;
        }
        size_t place = w.ndim++;
        for (; place > 0 && w.axes[place - 1].to < a.to; place--)
            w.axes[place] = w.axes[place - 1];
        w.axes[place] = a;
    }
    size_t ndim = 0;
    for (size_t i = 0; i < w.ndim; i++) {
        const axis a = w.axes[i];
        axis *outer = w.axes + ndim - 1;
        const ptrdiff_t length = (ptrdiff_t)a.length;
        if (ndim > 0 && outer->to == length * a.to && outer->from == length * a.from)
            *outer = (axis){outer->length * a.length, a.from, a.to};
        else
            w.axes[ndim++] = a;
    }
    w.ndim = ndim;
    return w;
}

static inline void copy_one(char *to, const char *from, size_t size)
{
    if (size == 1)
        *to = *from;
    else if (size == 2)
        memcpy(to, from, 2);
    else if (size == 4)
        memcpy(to, from, 4);
    else
        memcpy(to, from, 8);
}

static void copy_line(const work *w, const axis *a, const char *from, char *to)
{
    if (a->from == (ptrdiff_t)w->size && a->to == (ptrdiff_t)w->size) {
        memcpy(to, from, a->length * w->size);
        return;
    }
    for (size_t i = 0; i < a->length; i++)
        copy_one(to + (ptrdiff_t)i * a->to, from + (ptrdiff_t)i * a->from, w->size);
}

/* Copies lines that lie apart. */
static void copy_lines(const work *w, const axis *lines, const axis *line, const char *from, char *to)
{
    const bool is_run = line->from == (ptrdiff_t)w->size && line->to == (ptrdiff_t)w->size;
    const size_t run = line->length * w->size;
    for (size_t i = 0; i < lines->length; i++, from += lines->from, to += lines->to) {
        if (is_run)
            ql_copy_run((uint8_t *)to, (const uint8_t *)from, run);
        else
            copy_line(w, line, from, to);
    }
}

/* rows: the axis of neighbours in `to`; cols: that of neighbours in `from`. */
static void copy_plane(const work *w, const axis *rows, const axis *cols, const char *from, char *to)
{
    const ptrdiff_t size = (ptrdiff_t)w->size;
    for (size_t i = 0; i < rows->length; i += TILE) {
        for (size_t j = 0; j < cols->length; j += TILE) {
            const char *tile = from + (ptrdiff_t)i * rows->from + (ptrdiff_t)j * cols->from;
            char *place = to + (ptrdiff_t)i * rows->to + (ptrdiff_t)j * cols->to;
            const axis r = {ql_least(rows->length - i, TILE), rows->from, rows->to};
            const size_t n = ql_least(cols->length - j, TILE);
            if (cols->from == size && rows->to == size) {
                w->kernels->transpose(tile, r.from, r.length, n, w->size, place, cols->to);
                continue;
            }
            for (size_t k = 0; k < n; k++)
                copy_line(w, &r, tile + (ptrdiff_t)k * cols->from, place + (ptrdiff_t)k * cols->to);
        }
    }
}

/* Takes the axis of `from`'s nearest neighbours out of the others, with a positive stride. */
static axis take_nearest(work *w, const char **from, char **to)
{
    size_t nearest = w->ndim - 1;
    for (size_t i = nearest; i-- > 0;) {
        if (w->axes[i].from != 0 && magnitude(w->axes[i].from) < magnitude(w->axes[nearest].from))
            nearest = i;
    }
    axis a = w->axes[nearest];
    w->ndim--;
    memmove(w->axes + nearest, w->axes + nearest + 1, (w->ndim - nearest) * sizeof a);
    if (a.from < 0 && nearest < w->ndim) {
        *from += (ptrdiff_t)(a.length - 1) * a.from;
        *to += (ptrdiff_t)(a.length - 1) * a.to;
        a.from = -a.from;
        a.to = -a.to;
    }
    return a;
}

/* Takes out the longer of the two innermost axes, along which lines are worth a loop. */
static axis take_longer(work *w)
{
    if (w->ndim == 0)
        return (axis){.length = 1};
    const size_t inner = --w->ndim;
    if (inner == 0 || w->axes[inner - 1].length <= w->axes[inner].length)
        return w->axes[inner];
    const axis a = w->axes[inner - 1];
    w->axes[inner - 1] = w->axes[inner];
    return a;
}

void ql_copy_strided(const ql_copy *c)
{
    assert(c->size == 1 || c->size == 2 || c->size == 4 || c->size == 8);
    for (size_t i = 0; i < c->ndim; i++) {
        if (c->length[i] == 0)
            return;
    }
    const char *from = c->from;
    char *to = c->to;
    work w = sorted(c, &from, &to);
    if (w.ndim == 0) {
        copy_one(to, from, w.size);
        return;
    }
    const ptrdiff_t least = w.axes[w.ndim - 1].to;
    const axis cols = take_nearest(&w, &from, &to);
    const bool is_plane = cols.to != least;
    const axis rows = is_plane ? w.axes[--w.ndim] : take_longer(&w);
    size_t place[QL_MAX_DIMS] = {0};
    for (;;) {
        if (is_plane)
            copy_plane(&w, &rows, &cols, from, to);
        else
            copy_lines(&w, &rows, &cols, from, to);
        size_t i = w.ndim;
        for (; i-- > 0;) {
            from += w.axes[i].from;
            to += w.axes[i].to;
            if (++place[i] < w.axes[i].length)
                break;
            from -= (ptrdiff_t)w.axes[i].length * w.axes[i].from;
            to -= (ptrdiff_t)w.axes[i].length * w.axes[i].to;
            place[i] = 0;
        }
        if (i == SIZE_MAX)
            return;
    }
}
