/* The looking-up step: codes to codes by a table of 256. Which function it tabulates, only the program has to know.
 * Inside a plan codes are u8, so that the table is reordered here where they are signed outside. */
#include "core/base/memory.h"
#include "core/program/step.h"

enum { INPUTS, OUTPUT, TABLE, FUNCTION, SLOPE, CODES = 256 };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER},
    {"table", QL_VALUE_ARRAY},    {"function", QL_VALUE_TEXT | QL_VALUE_NONE},
    {"slope", QL_VALUE_FLOAT},    {NULL, 0},
};

static ql_status update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const ql_array *table = &v[TABLE].array;
    if (table->type != out->type || table->rank != 1 || table->shape[0] != CODES)
        return QL_EINVAL;
    const uint8_t in_flip = in->type == QL_S8 ? 0x80 : 0, out_flip = out->type == QL_S8 ? 0x80 : 0;
    const uint8_t *from = table->data;
    uint8_t *to = step->state;
    for (size_t i = 0; i < CODES; i++)
        to[i] = from[i ^ in_flip] ^ out_flip;
    return QL_OK;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (step->input_count != 1 || !ql_is_x8(in) || !ql_is_x8(out) || !ql_have_same_shape(in, out) ||
        ql_has_row_scale(in) || ql_has_row_scale(out))
        return QL_EINVAL;
    step->state = malloc(CODES);
    if (!step->state)
        return QL_ENOMEM;
    const ql_status status = update(buffers, v, step);
    if (status != QL_OK)
        free(step->state);
    return status;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const size_t n = block->samples * ql_sample_size(buffers + step->output);
    block->kernels->lookup_x8(block->data[step->inputs[0]], n, step->state, block->data[step->output]);
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_lookup = {
    .kind = "lookup", .fields = fields, .prepare = prepare, .run = run, .update = update, .destroy = destroy};
