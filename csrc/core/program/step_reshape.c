/* The reshaping step: the same values in another shape. A copy, at the speed of memory in L2, next to a product of the
 * same width; a plan whose buffers could share a place would need lives of both to be joined. */
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
    const size_t width = in->type == QL_F32 ? sizeof(float) : 1;
    memcpy(block->data[step->output], block->data[step->inputs[0]], block->samples * ql_sample_size(in) * width);
}

const ql_op ql_op_reshape = {.kind = "reshape", .fields = fields, .prepare = prepare, .run = run};
