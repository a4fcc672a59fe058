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

static uint8_t flip_of(const ql_buffer *buffer)
{
    return buffer->type == QL_S8 ? 0x80 : 0;
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    const ql_buffer *out = buffers + step->output;
    const ql_array *table = &v[TABLE].array;
    if (table->type != out->type || table->rank != 1 || table->shape[0] != CODES)
        return QL_EINVAL;
    const uint8_t *codes = table->data, flip = flip_of(out);
    bool are_codes = true;
    for (size_t i = 0; i < CODES; i++)
        are_codes &= (codes[i] ^ flip) >= ql_qmin_u8(out) && (codes[i] ^ flip) <= ql_qmax_u8(out);
    return are_codes ? QL_OK : QL_EINVAL;
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const uint8_t in_flip = flip_of(buffers + step->inputs[0]), out_flip = flip_of(buffers + step->output);
    const uint8_t *from = v[TABLE].array.data;
    uint8_t *to = step->state;
    for (size_t i = 0; i < CODES; i++)
        to[i] = from[i ^ in_flip] ^ out_flip;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (step->input_count != 1 || !ql_is_x8(in) || !ql_is_x8(out) || !ql_have_same_shape(in, out) ||
        ql_has_row_scale(in) || ql_has_row_scale(out) || check(buffers, v, step) != QL_OK)
        return QL_EINVAL;
    step->state = malloc(CODES);
    if (!step->state)
        return QL_ENOMEM;
    update(buffers, v, step);
    return QL_OK;
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

const ql_op ql_op_lookup = {.kind = "lookup",
                            .fields = fields,
                            .prepare = prepare,
                            .run = run,
                            .sharing = QL_OVER_INPUT,
                            .check = check,
                            .update = update,
                            .destroy = destroy};
