/* Steps of optimizers, in pieces that threads can take on in any order: every element is its own. */
#include "core/base/parallel.h"
#include "core/base/sizes.h"
#include "kernels/kernels.h"

enum {
    PIECE = 16384,        /* elements, a multiple of all vectors; 256 KiB of four arrays */
    NS_PER_PIECE = 10000, /* adam on a Zen 3 core, the arrays in the L2 cache */
};

typedef struct work {
    ql_optimizer_kernel *kernel;
    const ql_update *update;
    float *parameter, *first, *second;
    const float *gradient;
    size_t n;
} work;

static float *at(float *array, size_t i)
{
    return array ? array + i : NULL;
}

static void update_piece(void *context, size_t i)
{
    const work *w = context;
    const size_t begin = i * PIECE;
    w->kernel(w->update, w->parameter + begin, w->gradient + begin, at(w->first, begin), at(w->second, begin),
              ql_least(PIECE, w->n - begin));
}

ql_status ql_optimize_f32(ql_optimizer optimizer, const ql_update *update, float *parameter, const float *gradient,
                          float *first, float *second, size_t n)
{
    const ql_kernels *kernels = ql_kernels_active();
    ql_optimizer_kernel *const of[] = {
        [QL_SGD] = kernels->sgd_f32, [QL_ADAM] = kernels->adam_f32, [QL_RMSPROP] = kernels->rmsprop_f32};
    if ((optimizer == QL_ADAM && !first) || (optimizer != QL_SGD && !second))
        return QL_EINVAL;
    work w = {of[optimizer], update, parameter, first, second, gradient, n};
    const size_t pieces = ql_divided_up(n, PIECE);
    ql_parallel(pieces, (uint64_t)pieces * NS_PER_PIECE, update_piece, &w);
    return QL_OK;
}
