/* The activating step: an activation of floats, softmax along the last axis. */
#include "core/base/memory.h"
#include "core/program/step.h"

enum { INPUTS, OUTPUT, FUNCTION, SLOPE };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"function", QL_VALUE_TEXT},
    {"slope", QL_VALUE_FLOAT},
    {NULL, 0},
};

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    ql_function function = {.slope = (float)v[SLOPE].real};
    if (step->input_count != 1 || in->type != QL_F32 || out->type != QL_F32 || !ql_have_same_shape(in, out) ||
        in->rank == 0)
        return QL_EINVAL;
    if (!ql_function_from_name(v[FUNCTION].text, &function.kind) || !(function.slope > 0 && function.slope <= 1))
        return QL_EINVAL;
    ql_function *state = malloc(sizeof *state);
    if (!state)
        return QL_ENOMEM;
    *state = function;
    step->state = state;
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *in = buffers + step->inputs[0];
    const ql_function *function = step->state;
    ql_apply_f32(block->data[step->inputs[0]], block->samples * ql_row_count(in), ql_row_length(in), NULL, *function,
                 block->data[step->output]);
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_activate = {
    .kind = "activate", .fields = fields, .prepare = prepare, .run = run, .sharing = QL_OVER_INPUT, .destroy = destroy};
