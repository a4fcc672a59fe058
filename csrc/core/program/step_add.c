/* The adding step: y = a + b, element by element, rounded to float32 once. */
#include "core/program/step.h"

static const ql_field fields[] = {{"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {NULL, 0}};

static ql_status prepare(const ql_buffer *buffers, const ql_value *values, ql_step *step)
{
    (void)values;
    if (step->input_count != 2)
        return QL_EINVAL;
    const ql_buffer *a = buffers + step->inputs[0], *b = buffers + step->inputs[1], *y = buffers + step->output;
    const bool are_floats = a->type == QL_F32 && b->type == QL_F32 && y->type == QL_F32;
    return are_floats && ql_have_same_shape(a, b) && ql_have_same_shape(a, y) ? QL_OK : QL_EINVAL;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const size_t n = block->samples * ql_sample_size(buffers + step->output);
    const float *a = block->data[step->inputs[0]], *b = block->data[step->inputs[1]];
    float *y = block->data[step->output];
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

const ql_op ql_op_add = {.kind = "add", .fields = fields, .prepare = prepare, .run = run, .sharing = QL_OVER_INPUT};
