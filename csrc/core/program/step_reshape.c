/* The reshaping step: the same values in another shape. They are copied only where both lie in the caller's memory. */
#include "core/program/step.h"

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {"shape", QL_VALUE_INTS}, {NULL, 0}};

static ql_status prepare(const ql_buffer *buffers, const ql_value *values, ql_step *step)
{
    (void)values;
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool is_known = in->type == QL_F32 || (ql_is_x8(in) && !ql_has_row_scale(in) && !ql_has_row_scale(out));
    return step->input_count == 1 && is_known && in->type == out->type && in->bits == out->bits &&
                   ql_sample_size(in) == ql_sample_size(out)
               ? QL_OK
               : QL_EINVAL;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *in = buffers + step->inputs[0];
    const void *x = block->data[step->inputs[0]];
    void *y = block->data[step->output];
    if (x != y)
        memcpy(y, x, block->samples * ql_sample_size(in) * ql_type_size(in->type));
}

const ql_op ql_op_reshape = {
    .kind = "reshape", .fields = fields, .prepare = prepare, .run = run, .sharing = QL_SAME_BYTES};
