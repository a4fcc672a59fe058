/* The normalizing step: y = (x - mean) / scale, a subtraction and a division, each rounded to float32.
 *
 * Why not fold it into the first layer's weights (W / scale): features of different ranges would then share one grid,
 * and those of small range would all become the same code. Why not multiply by 1 / scale: the bits would differ from
 * those of NumPy. It is one pass over the input, next to a product of the same width. */
#include <string.h>

#include "core/base/memory.h"
#include "core/program/step.h"

enum { INPUT, OUTPUT, MEAN, SCALE };

static const ql_field fields[] = {
    {"input", QL_FIELD_BUFFER},
    {"output", QL_FIELD_BUFFER},
    {"mean", QL_FIELD_ARRAY},
    {"scale", QL_FIELD_ARRAY},
    {NULL, 0},
};

/* The state: mean[width], then scale[width]. */
static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->input, *out = buffers + step->output;
    const size_t n = in->width;
    if (in->type != QL_F32 || out->type != QL_F32 || out->width != n || !v[MEAN].array.data)
        return QL_EINVAL;
    if (!ql_is_vector(&v[MEAN].array, QL_F32, n) || !ql_are_scales(&v[SCALE].array, n))
        return QL_EINVAL;
    float *state = ql_alloc(2 * n, sizeof *state);
    if (!state)
        return QL_ENOMEM;
    memcpy(state, v[MEAN].array.data, n * sizeof *state);
    memcpy(state + n, v[SCALE].array.data, n * sizeof *state);
    step->state = state;
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const size_t n = buffers[step->input].width;
    const float *x = block->data[step->input], *mean = step->state, *scale = mean + n;
    float *y = block->data[step->output];
    for (size_t i = 0; i < block->rows; i++) {
        for (size_t j = 0; j < n; j++)
            y[i * n + j] = (x[i * n + j] - mean[j]) / scale[j];
    }
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_normalize = {
    .kind = "normalize", .fields = fields, .prepare = prepare, .run = run, .destroy = destroy};
