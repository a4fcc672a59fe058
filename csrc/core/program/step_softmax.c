/* The softmax step: codes to codes along the last axis, by one of three rules (ql_softmax_x8). Inside a plan codes are
 * u8; softmax sees differences only, so that this changes nothing but the zero point of its result. */
#include "core/program/step.h"

enum { INPUTS, OUTPUT, REQUANT };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"requant", QL_VALUE_TEXT},
    {NULL, 0},
};

/* The state of a step is its rule here. */
static const struct {
    const char *name;
    ql_softmax_rule rule;
} rules[] = {{"float", QL_SOFTMAX_FLOAT}, {"fixed", QL_SOFTMAX_FIXED}, {"aarch64", QL_SOFTMAX_AARCH64}};

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (step->input_count != 1 || !ql_is_x8(in) || in->type != out->type || !ql_have_same_shape(in, out) ||
        in->rank == 0 || ql_has_row_scale(in) || ql_has_row_scale(out))
        return QL_EINVAL;
    if (out->scale != 0x1p-8f || out->bits != 8 || ql_zero_point_u8(out) != 0)
        return QL_EINVAL;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (strcmp(v[REQUANT].text, rules[i].name) == 0) {
            step->state = (void *)&rules[i].rule;
            return ql_softmax_x8(NULL, 0, ql_row_length(in), false, in->scale, 1.0f, rules[i].rule, NULL);
        }
    }
    return QL_EINVAL;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *in = buffers + step->inputs[0];
    (void)ql_softmax_x8(block->data[step->inputs[0]], block->samples * ql_row_count(in), ql_row_length(in), false,
                        in->scale, 1.0f, *(const ql_softmax_rule *)step->state, block->data[step->output]);
}

const ql_op ql_op_softmax = {
    .kind = "softmax", .fields = fields, .prepare = prepare, .run = run, .sharing = QL_OVER_INPUT};
