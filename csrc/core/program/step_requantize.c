/* The step that makes of a product's sums what the product itself would: 8-bit codes or float32. It is for programs
 * whose sums somebody wants to see, as training does. */
#include "core/base/memory.h"
#include "core/program/sums.h"

enum { INPUTS, OUTPUT, INPUT_SCALE, WEIGHT_SCALE, ACTIVATION, REQUANT };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"input_scale", QL_VALUE_FLOAT},
    {"weight_scale", QL_VALUE_ARRAY},
    {"activation", QL_VALUE_TEXT | QL_VALUE_NONE},
    {"requant", QL_VALUE_TEXT},
    {NULL, 0},
};

typedef struct requantize_state {
    void *columns, *next_columns; /* the epilogue's arrays */
    ql_epilogue epilogue, next;
} requantize_state;

static void destroy(void *state)
{
    requantize_state *s = state;
    free(s->columns);
    free(s->next_columns);
    free(s);
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    requantize_state *s = step->state;
    const ql_buffer *out = buffers + step->output;
    const float input_scale = (float)v[INPUT_SCALE].real;
    ql_activation activation;
    ql_store store;
    if (!ql_scales_are_valid(&input_scale, 1) || !ql_are_scales(&v[WEIGHT_SCALE], ql_row_length(out)) ||
        !ql_activation_from_name(ql_text(&v[ACTIVATION]), &activation) || !ql_rule_from_name(v[REQUANT].text, &store))
        return QL_EINVAL;
    return ql_fill_epilogue(input_scale, &v[WEIGHT_SCALE], &v[ACTIVATION], &v[REQUANT], out, s->next_columns, &s->next);
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)buffers, (void)v;
    requantize_state *s = step->state;
    void *columns = s->columns;
    s->columns = s->next_columns;
    s->next_columns = columns;
    s->epilogue = s->next;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool is_result = out->type == QL_F32 || (ql_is_x8(out) && !ql_has_row_scale(out));
    if (step->input_count != 1 || in->type != QL_S32 || in->rank == 0 || !ql_have_same_shape(in, out) || !is_result)
        return QL_EINVAL;
    requantize_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    step->state = s;
    s->columns = ql_alloc(1, ql_epilogue_bytes(ql_row_length(out)));
    s->next_columns = ql_alloc(1, ql_epilogue_bytes(ql_row_length(out)));
    const ql_status status = s->columns && s->next_columns ? check(buffers, v, step) : QL_ENOMEM;
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    update(buffers, v, step);
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_epilogue *e = &((const requantize_state *)step->state)->epilogue;
    const ql_buffer *out = buffers + step->output;
    const size_t rows = block->samples * ql_row_count(out), n = ql_row_length(out);
    const int32_t *sums = block->data[step->inputs[0]];
    const float row_scale = 1.0f;
    void *y = block->data[step->output];
    switch (e->store) {
    case QL_STORE_X8:
        block->kernels->requantize_s32_x8(sums, n, rows, n, e->multiplier, e->zero_point, e->qmin, e->qmax, y, n);
        break;
    case QL_STORE_X8_FIXED:
        block->kernels->requantize_fixed_s32_x8(sums, n, rows, n, e->mantissa, e->exponent, e->zero_point, e->qmin,
                                                e->qmax, y, n);
        break;
    default:
        for (size_t i = 0; i < rows; i++)
            block->kernels->scale_s32_f32(sums + i * n, n, 1, n, &row_scale, e->scale, e->offset, e->low, e->high,
                                          (float *)y + i * n, n);
    }
}

const ql_op ql_op_requantize = {.kind = "requantize",
                                .fields = fields,
                                .prepare = prepare,
                                .run = run,
                                .check = check,
                                .update = update,
                                .destroy = destroy};
