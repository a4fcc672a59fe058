/* What the report of an error adds up. */
#include <math.h>
#include <string.h>

#include "harness.h"

/* Integers as floats: codes and zero points. */
static float *any_integers(int slot, size_t n, int32_t low, int32_t high)
{
    float *x = array(slot, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)between(low, high);
    return x;
}

static results slot(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    parameters p = any_parameters(n, 16);
    float *w = any_values(2, n, p.scale, 1), *code = any_integers(3, n, p.qmin, p.qmax);
    float *zero_point = any_integers(4, n, p.qmin, p.qmax);
    int32_t *out = array(RESULT, 3 * n * sizeof *out), *slot = out + n, *mark = slot + n;
    float *value = array(5, n * sizeof *value);
    bool any = kernels->error_slots_f32(w, code, n, p.scale, zero_point, p.qmin, p.qmax, value, slot, mark);
    memcpy(out, floats(value, n, any).data, n * sizeof *value);
    return (results){out, 3 * n * sizeof *out, any};
}

static results add_errors(const ql_kernels *kernels, size_t n, size_t group)
{
    enum { FIELDS = 6 };
    const float unit = 1.0f;
    const bool fold = group % 2;
    const size_t stride = fold ? QL_LANES : n;
    float *w = any_values(2, n, &unit, n + 1), *value = any_values(3, n, &unit, n + 1);
    int32_t *mark = array(4, n * sizeof *mark);
    double *sums = array(RESULT, FIELDS * stride * sizeof *sums);
    for (size_t i = 0; i < n; i++) {
        w[i] = isfinite(w[i]) ? w[i] : 3.0f;
        value[i] = isfinite(value[i]) ? value[i] : 4.0f;
        mark[i] = between(0, QL_CLIPPED | QL_MOVED);
    }
    for (size_t i = 0; i < FIELDS * stride; i++)
        sums[i] = between(0, 1000);
    kernels->add_errors_f64(w, value, mark, n, fold, sums, stride);
    return (results){sums, FIELDS * stride * sizeof *sums, false};
}

const subject error_subjects[] = {
    {"error_slots_f32", slot},
    {"add_errors_f64", add_errors},
    {0},
};
