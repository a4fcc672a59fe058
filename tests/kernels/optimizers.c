/* Steps of optimizers. */
#include <string.h>

#include "harness.h"

/* The parameter, and both moments behind it; the second moments are not negative. */
static results step(ql_optimizer_kernel *kernel, size_t n, bool keeps_first)
{
    const float unit = 1.0f;
    const ql_update update = {
        .gradient_scale = 0.5,
        .limit = 3,
        .decay = bits() % 2 ? 0.01 : 0,
        .shrink = 0.99,
        .rate = 0.1,
        .momentum = 0.9,
        .memory = 0.99,
        .root = 1.5,
        .epsilon = 1e-8,
        .nesterov = bits() % 2,
    };
    float *out = array(RESULT, 3 * n * sizeof *out), *first = out + n, *second = first + n;
    const float *gradient = any_values(2, n, &unit, n + 1);
    memcpy(out, any_values(3, n, &unit, n + 1), n * sizeof *out);
    memcpy(first, any_values(4, n, &unit, n + 1), n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        second[i] = (float)between(0, 1000);
    kernel(&update, out, gradient, keeps_first ? first : NULL, second, n);
    return floats(out, 3 * n, false);
}

static results sgd(const ql_kernels *kernels, size_t n, size_t group)
{
    return step(kernels->sgd_f32, n, group % 2);
}

static results adam(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    return step(kernels->adam_f32, n, true);
}

static results rmsprop(const ql_kernels *kernels, size_t n, size_t group)
{
    return step(kernels->rmsprop_f32, n, group % 2);
}

const subject optimizers_subjects[] = {
    {"sgd_f32", sgd},
    {"adam_f32", adam},
    {"rmsprop_f32", rmsprop},
    {0},
};
