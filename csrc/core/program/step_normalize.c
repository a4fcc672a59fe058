/* The normalizing step: y = (x - mean) / scale along the last axis, a subtraction and a division, each rounded to
 * float32.
 *
 * Why not fold it into the first layer's weights (W / scale): features of different ranges would then share one grid,
 * and those of small range would all become the same code. Why not multiply by 1 / scale: the bits would differ from
 * those of NumPy. It is one pass over the input, next to a product of the same width. */
#include <string.h>

#include "core/base/memory.h"
#include "core/program/step.h"

enum { INPUTS, OUTPUT, MEAN, SCALE };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"mean", QL_VALUE_ARRAY},
    {"scale", QL_VALUE_ARRAY},
    {NULL, 0},
};

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    const size_t n = ql_row_length(buffers + step->output);
    return ql_is_vector(&v[MEAN], QL_F32, n) && ql_are_scales(&v[SCALE], n) ? QL_OK : QL_EINVAL;
}

/* The state: mean[n], then scale[n]. */
static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const size_t n = ql_row_length(buffers + step->output);
    float *state = step->state;
    memcpy(state, ql_data(&v[MEAN]), n * sizeof *state);
    memcpy(state + n, ql_data(&v[SCALE]), n * sizeof *state);
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (step->input_count != 1 || in->type != QL_F32 || out->type != QL_F32 || !ql_have_same_shape(in, out) ||
        in->rank == 0 || check(buffers, v, step) != QL_OK)
        return QL_EINVAL;
    step->state = ql_alloc(2 * ql_row_length(in), sizeof(float));
    if (!step->state)
        return QL_ENOMEM;
    update(buffers, v, step);
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *in = buffers + step->inputs[0];
    const size_t rows = block->samples * ql_row_count(in), n = ql_row_length(in);
    const float *x = block->data[step->inputs[0]], *mean = step->state, *scale = mean + n;
    float *y = block->data[step->output];
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < n; j++)
            y[i * n + j] = (x[i * n + j] - mean[j]) / scale[j];
    }
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_normalize = {.kind = "normalize",
                               .fields = fields,
                               .prepare = prepare,
                               .run = run,
                               .sharing = QL_OVER_INPUT,
                               .check = check,
                               .update = update,
                               .destroy = destroy};
