/* The integer transposed convolution: every pixel of 8-bit codes adds its product with a kernel of 8-bit weights to the
 * sums around its place in the result; these are exact, and become one of the results of sums.h. Activations with
 * scales of their own have one for each sample.
 *
 * An update packs anew: how many terms the weights are split in depends on them. */
#include "core/conv/transposed.h"
#include "core/program/images.h"
#include "core/program/sums.h"

enum { STRIDE = QL_SUMS_FIELD_COUNT };

static const ql_field fields[] = {
    QL_SUMS_FIELDS, {"stride", QL_VALUE_INTS}, {"padding", QL_VALUE_INTS}, {"output_padding", QL_VALUE_INTS}, {NULL, 0},
};

/* Weights, and what is computed from them and the grids. */
typedef struct form {
    ql_transposed weights;
    void *columns, *arrays; /* of the epilogue; of the terms */
    ql_terms terms;
} form;

typedef struct conv_state {
    form now, next;
} conv_state;

static void free_form(form *f)
{
    ql_transposed_free(&f->weights);
    free(f->columns);
    free(f->arrays);
    *f = (form){.columns = NULL};
}

static void destroy(void *state)
{
    conv_state *s = state;
    free_form(&s->now);
    free_form(&s->next);
    free(s);
}

static bool take_shape(const ql_step *step, const ql_buffer *buffers, const ql_value *v, ql_expansion *shape)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const ql_buffer from = ql_one_image(in), to = ql_one_image(out);
    const ql_array *weight = &v[QL_FIELD_WEIGHT].array;
    return step->input_count == 1 && ql_sums_fit_buffers(step, buffers, v) &&
           (!ql_has_row_scale(in) || ql_scale_count(buffers, in) == 1) && ql_have_same_images(in, out) &&
           ql_take_expansion(&from, &to, weight, v + STRIDE, shape) && ql_are_weights(v, 4, weight->shape);
}

static ql_status fill_form(const ql_buffer *in, const ql_buffer *out, const ql_value *v, const ql_expansion *shape,
                           form *f)
{
    const ql_array *w = &v[QL_FIELD_WEIGHT].array;
    const int32_t *bias = ql_sums_bias(in, v);
    ql_epilogue epilogue;
    ql_status status =
        ql_transposed_pack(w->data, w->type == QL_S8, ql_data(&v[QL_FIELD_WEIGHT_ZERO_POINT]), shape, &f->weights);
    if (status != QL_OK)
        return status;
    if (!ql_transposed_fits(&f->weights, ql_sums_reach(in), bias))
        return QL_EOVERFLOW;
    f->columns = ql_alloc(1, ql_epilogue_bytes(shape->channels));
    f->arrays = ql_alloc(1, ql_transposed_terms_bytes(&f->weights));
    if (!f->columns || !f->arrays)
        return QL_ENOMEM;
    status = ql_sums_epilogue(in, out, v, f->columns, &epilogue);
    if (status == QL_OK)
        ql_transposed_terms_fill(&f->weights, bias, ql_has_row_scale(in) ? 0 : ql_zero_point_u8(in), &epilogue,
                                 f->arrays, &f->terms);
    return status;
}

/* Makes the form that comes next. */
static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    conv_state *s = step->state;
    ql_expansion shape;
    free_form(&s->next);
    if (!take_shape(step, buffers, v, &shape))
        return QL_EINVAL;
    const ql_status status = fill_form(buffers + step->inputs[0], buffers + step->output, v, &shape, &s->next);
    if (status != QL_OK)
        free_form(&s->next);
    return status;
}

/* Takes the form that comes next. A plan has measured the one before: no more threads get memory. */
static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)buffers, (void)v;
    conv_state *s = step->state;
    if (s->now.columns)
        s->next.weights.geometry.threads = s->now.weights.geometry.threads;
    free_form(&s->now);
    s->now = s->next;
    s->next = (form){.columns = NULL};
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    conv_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    step->state = s;
    const ql_status status = check(buffers, v, step);
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    update(buffers, v, step);
    step->weight_bytes = ql_transposed_bytes(&s->now.weights);
    return QL_OK;
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const ql_transposed *t = &((const conv_state *)step->state)->now.weights;
    const bool is_dynamic = ql_has_row_scale(buffers + step->inputs[0]);
    samples *= ql_image_count(buffers + step->inputs[0]);
    return (ql_cost){.workspace =
                         is_dynamic ? ql_transposed_scaled_workspace(t) : ql_stages_workspace(&t->geometry, samples),
                     .ns = ql_conv_cost_ns(&t->geometry, samples)};
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const form *f = &((const conv_state *)step->state)->now;
    const ql_buffer *in = buffers + step->inputs[0];
    const uint8_t *x = block->data[step->inputs[0]];
    void *y = block->data[step->output];
    const size_t samples = block->samples * ql_image_count(in);
    if (ql_has_row_scale(in))
        ql_transposed_run_scaled(&f->weights, &f->terms, x, samples, block->data[in->row_scale],
                                 block->data[in->row_zero_point], y, block->workspace);
    else
        ql_transposed_run(&f->weights, &f->terms, x, samples, y, block->workspace);
}

const ql_op ql_op_conv_transpose = {.kind = "conv_transpose",
                                    .fields = fields,
                                    .prepare = prepare,
                                    .run = run,
                                    .check = check,
                                    .update = update,
                                    .measure = measure,
                                    .destroy = destroy};
