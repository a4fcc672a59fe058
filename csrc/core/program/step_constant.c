/* The step that reads nothing: every sample gets the same value. */
#include <stdlib.h>

#include "core/program/step.h"

enum { INPUTS, OUTPUT, VALUE };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"value", QL_VALUE_ARRAY},
    {NULL, 0},
};

static size_t sample_bytes(const ql_buffer *b)
{
    return ql_sample_size(b) * ql_type_size(b->type);
}

/* Returns whether an array is what a buffer may hold: of its shape and type, codes within its width, finite floats. */
static bool fits(const ql_array *array, const ql_buffer *out)
{
    bool is = array->type == out->type && array->rank == out->rank &&
              memcmp(array->shape, out->shape, out->rank * sizeof *out->shape) == 0;
    const size_t n = is ? ql_sample_size(out) : 0;
    const uint8_t *codes = array->data, flip = (uint8_t)ql_flip(out);
    const float *floats = array->data;
    for (size_t i = 0; is && i < n; i++) {
        if (out->type == QL_F32) {
            is = floats[i] >= -FLT_MAX && floats[i] <= FLT_MAX;
        } else {
            const int32_t code = codes[i] ^ flip;
            is = code >= ql_qmin_u8(out) && code <= ql_qmax_u8(out);
        }
    }
    return is;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *out = buffers + step->output;
    if (!(out->type == QL_F32 || ql_is_x8(out)) || ql_has_row_scale(out) || !fits(&v[VALUE].array, out))
        return QL_EINVAL;
    const size_t bytes = sample_bytes(out);
    uint8_t *value = malloc(bytes);
    if (!value)
        return QL_ENOMEM;
    memcpy(value, v[VALUE].array.data, bytes);
    for (size_t i = 0; out->type == QL_S8 && i < bytes; i++)
        value[i] ^= 0x80;
    step->state = value;
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const size_t bytes = sample_bytes(buffers + step->output);
    uint8_t *y = block->data[step->output];
    for (size_t i = 0; i < block->samples; i++)
        memcpy(y + i * bytes, step->state, bytes);
}

const ql_op ql_op_constant = {
    .kind = "constant", .fields = fields, .prepare = prepare, .run = run, .destroy = free, .reads_nothing = true};
