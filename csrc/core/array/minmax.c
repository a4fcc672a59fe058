/* Least and greatest values over any layout of parameters. */
#include <stdatomic.h>

#include "core/base/finite.h"
#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/base/shares.h"

enum {
    FEW = 1024,         /* parameters up to which each share has its own results: they are little beside a share */
    NS_PER_SHARE = 2500 /* data in the L2 cache */
};

typedef struct work {
    const ql_kernels *kernels;
    const float *x;
    ql_shares shares;
    float *results; /* [shares][2][parameters]: minima, maxima */
    size_t parameters;
    atomic_bool has_nan;
} work;

typedef struct extremes {
    work *work;
    float *min, *max;
} extremes;

static void clear(float *min, float *max, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        min[i] = INFINITY;
        max[i] = -INFINITY;
    }
}

static void widen(float *min, float *max, float least, float greatest)
{
    *min = least < *min ? least : *min;
    *max = greatest > *max ? greatest : *max;
}

static bool look_at_joined(const extremes *e, const float *x, const ql_run *run, size_t count)
{
    float least[QL_TILE], greatest[QL_TILE];
    const size_t tile = QL_TILE - QL_TILE % run->length, length = run->length * count;
    clear(least, greatest, tile);
    bool nan = false;
    for (size_t first = 0; first < length; first += tile)
        nan |= e->work->kernels->minmax_f32(x + first, ql_least(length - first, tile), 1, least, greatest);
    for (size_t i = 0; i < tile; i++) {
        size_t c = run->parameter + i % run->length / run->group;
        widen(e->min + c, e->max + c, least[i], greatest[i]);
    }
    return nan;
}

static void look_at(void *context, const ql_run *run, size_t count)
{
    const extremes *e = context;
    const ql_kernels *kernels = e->work->kernels;
    const float *x = e->work->x + run->offset;
    float *min = e->min + run->parameter, *max = e->max + run->parameter;
    bool nan;
    if (count == 1)
        nan = kernels->minmax_f32(x, run->length, run->group, min, max);
    else if (run->length <= QL_SHORT_RUN)
        nan = look_at_joined(e, x, run, count);
    else
        nan = kernels->minmax_rows_f32(x, count, run->length, min, max);
    if (nan)
        atomic_store_explicit(&e->work->has_nan, true, memory_order_relaxed);
}

static void look_at_share(void *context, size_t i)
{
    work *w = context;
    float *min = w->results + 2 * i * w->parameters;
    extremes e = {w, min, min + w->parameters};
    clear(e.min, e.max, w->parameters);
    ql_share_visit(&w->shares, i, look_at, &e);
}

static bool look_apart(work *w, float *min, float *max)
{
    if (w->shares.count < 2 || w->parameters > FEW)
        return false;
    w->results = ql_alloc(w->shares.count * w->parameters, 2 * sizeof *w->results);
    if (!w->results)
        return false;
    ql_parallel(w->shares.count, w->shares.count * NS_PER_SHARE, look_at_share, w);
    for (size_t i = 0; i < w->shares.count; i++) {
        const float *least = w->results + 2 * i * w->parameters, *greatest = least + w->parameters;
        for (size_t c = 0; c < w->parameters; c++)
            widen(min + c, max + c, least[c], greatest[c]);
    }
    free(w->results);
    return true;
}

/* Adding +0 turns -0 into +0: which of two zeros a kernel kept is not defined. */
bool ql_minmax_f32(const float *x, const ql_layout *layout, float *min, float *max)
{
    work w = {.kernels = ql_kernels_active(),
              .x = x,
              .shares = ql_shares_of(layout),
              .parameters = ql_layout_parameters(layout)};
    clear(min, max, w.parameters);
    if (!look_apart(&w, min, max)) {
        for (size_t i = 0; i < w.shares.count; i++)
            ql_share_visit(&w.shares, i, look_at, &(extremes){&w, min, max});
    }
    bool finite = !atomic_load(&w.has_nan);
    for (size_t i = 0; i < w.parameters; i++) {
        finite &= min[i] >= -FLT_MAX && max[i] <= FLT_MAX;
        min[i] += 0.0f;
        max[i] += 0.0f;
    }
    return finite;
}
