/* Functions of float arrays, and gradients through them: shares for threads, rows of a softmax. */
#include <assert.h>
#include <string.h>

#include "core/base/parallel.h"
#include "core/base/sizes.h"
#include "kernels/kernels.h"

enum {
    GRAIN = 4096,     /* elements that go through together and stay in L1 */
    COLUMN_GRAIN = 64 /* columns that one thread sums */
};

static const struct {
    const char *name;
    float element_ns; /* of one thread, on AMD Zen 3 */
} functions[] = {
    [QL_IDENTITY] = {NULL, 0.1f},
    [QL_RELU] = {"relu", 0.1f},
    [QL_RELU6] = {"relu6", 0.1f},
    [QL_LEAKY_RELU] = {"leaky_relu", 0.2f},
    [QL_SIGMOID] = {"sigmoid", 0.5f},
    [QL_TANH] = {"tanh", 2.0f},
    [QL_GELU] = {"gelu", 0.8f},
    [QL_SILU] = {"silu", 1.5f},
    [QL_HARD_SWISH] = {"hard_swish", 0.2f},
    [QL_ELU] = {"elu", 1.5f},
    [QL_HARD_SIGMOID] = {"hard_sigmoid", 0.2f},
    [QL_SOFTPLUS] = {"softplus", 2.5f},
    [QL_SOFTMAX] = {"softmax", 0.7f},
};

bool ql_function_from_name(const char *name, ql_function_kind *kind)
{
    *kind = QL_IDENTITY;
    if (!name)
        return true;
    for (size_t i = 1; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].name, name) == 0) {
            *kind = (ql_function_kind)i;
            return true;
        }
    }
    return false;
}

static uint64_t cost_ns(ql_function_kind kind, size_t n)
{
    return (uint64_t)((double)n * (double)functions[kind].element_ns);
}

/* ---- functions ---------------------------------------------------------------------------------- */

typedef struct rows {
    const ql_kernels *kernels;
    const float *x, *bias;
    float *y;
    size_t count, n, at_once; /* rows, elements of each, rows in a task */
    ql_function function;
} rows;

static void apply_rows(void *context, size_t task)
{
    const rows *r = context;
    const size_t begin = task * r->at_once, end = ql_least(begin + r->at_once, r->count), n = r->n;
    const ql_function inner = r->function.kind == QL_SOFTMAX ? (ql_function){QL_IDENTITY, 0} : r->function;
    for (size_t i = begin; i < end; i++) {
        float *y = r->y + i * n;
        if (r->x != r->y)
            memcpy(y, r->x + i * n, n * sizeof *y);
        r->kernels->apply_f32(r->bias, n, inner, y);
    }
    if (r->function.kind == QL_SOFTMAX)
        r->kernels->softmax_f32(end - begin, n, r->y + begin * n);
}

static void apply_flat(void *context, size_t task)
{
    const rows *r = context;
    const size_t first = task * GRAIN, n = ql_least(GRAIN, r->count * r->n - first);
    float *y = r->y + first;
    if (r->x != r->y)
        memcpy(y, r->x + first, n * sizeof *y);
    r->kernels->apply_f32(NULL, n, r->function, y);
}

void ql_apply_f32(const float *x, size_t count, size_t n, const float *bias, ql_function function, float *y)
{
    rows r = {ql_kernels_active(), x, bias, y, count, n, GRAIN / (n ? n : 1) + 1, function};
    const uint64_t cost = cost_ns(function.kind, count * n);
    if (n > 0 && (bias || function.kind == QL_SOFTMAX))
        ql_parallel(ql_divided_up(count, r.at_once), cost, apply_rows, &r);
    else if (n > 0)
        ql_parallel(ql_divided_up(count * n, GRAIN), cost, apply_flat, &r);
}

/* ---- gradients ---------------------------------------------------------------------------------- */

typedef struct columns {
    const ql_kernels *kernels;
    const float *z;
    float *gradient, *sums;
    size_t rows, n;
    ql_function function;
} columns;

static void gradient_of_columns(void *context, size_t task)
{
    const columns *c = context;
    const size_t first = task * COLUMN_GRAIN;
    const float *z = c->z ? c->z + first : c->gradient + first;
    c->kernels->function_gradient_f32(z, c->rows, ql_least(COLUMN_GRAIN, c->n - first), c->n, c->function,
                                      c->gradient + first, c->sums + first);
}

/* Writes the gradients of the logits of one row over those of the probabilities p. */
static void through_softmax(const float *p, size_t n, float *gradient)
{
    double mean = 0;
    for (size_t j = 0; j < n; j++)
        mean += (double)p[j] * (double)gradient[j];
    for (size_t j = 0; j < n; j++)
        gradient[j] = (float)((double)p[j] * ((double)gradient[j] - mean));
}

void ql_function_gradient_f32(const float *z, size_t count, size_t n, ql_function function, float *gradient,
                              float *sums)
{
    assert(z || function.kind == QL_IDENTITY);
    if (function.kind == QL_SOFTMAX) {
        for (size_t i = 0; i < count; i++)
            through_softmax(z + i * n, n, gradient + i * n);
        function.kind = QL_IDENTITY;
    }
    columns c = {ql_kernels_active(), z, gradient, sums, count, n, function};
    ql_parallel(ql_divided_up(n, COLUMN_GRAIN), 2 * cost_ns(function.kind, count * n), gradient_of_columns, &c);
}
