/* Cross entropy of a softmax and its gradient, row by row: one pass for the greatest logit, one for the exponentials,
 * which wait in the gradient's place, one for the gradient.
 *
 * Why double: the exponential is the core's own (the same bits everywhere), which is of doubles; a batch has few logits
 * beside its weights. */
#include <math.h>

#include "core/base/logarithm.h"
#include "kernels/exponential.h"
#include "qlite.h"

typedef struct row {
    const float *x, *probability; /* NULL: of the label */
    float *gradient;
    size_t n;
    int32_t label;
    double smoothing, share;
} row;

static double target(const row *r, size_t i)
{
    if (r->probability)
        return (double)r->probability[i];
    return r->smoothing / (double)r->n + ((size_t)r->label == i ? 1 - r->smoothing : 0);
}

/* Returns the row's loss. */
static double fill_row(const row *r)
{
    float most = -INFINITY;
    double finite = 0, sum = 0, mass = 0, product = 0;
    for (size_t i = 0; i < r->n; i++) {
        most = r->x[i] > most ? r->x[i] : most;
        finite += (double)r->x[i] * 0;
    }
    if (!(finite == 0)) {
        for (size_t i = 0; i < r->n; i++)
            r->gradient[i] = NAN;
        return NAN;
    }
    for (size_t i = 0; i < r->n; i++) {
        const double t = target(r, i), below = (double)r->x[i] - (double)most, odds = ql_exp(below);
        mass += t;
        product += t * below;
        sum += odds;
        r->gradient[i] = (float)odds;
    }
    for (size_t i = 0; i < r->n; i++)
        r->gradient[i] = (float)(r->share * ((double)r->gradient[i] * (mass / sum) - target(r, i)));
    return mass * ql_log(sum) - product;
}

ql_status ql_cross_entropy_f32(const float *x, size_t rows, size_t n, const ql_targets *targets, const float *share,
                               float *gradient, double *loss)
{
    if (n == 0)
        return QL_EINVAL;
    for (size_t i = 0; targets->label && i < rows; i++) {
        if (targets->label[i] < 0 || (size_t)targets->label[i] >= n)
            return QL_EINVAL;
    }
    double sum = 0;
    for (size_t i = 0; i < rows; i++) {
        const row r = {
            .x = x + i * n,
            .probability = targets->label ? NULL : targets->probability + i * n,
            .gradient = gradient + i * n,
            .n = n,
            .label = targets->label ? targets->label[i] : 0,
            .smoothing = targets->smoothing,
            .share = (double)share[i],
        };
        sum += r.share * fill_row(&r);
    }
    *loss = sum;
    return QL_OK;
}
