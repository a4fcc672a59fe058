/* The integer convolution: images of 8-bit codes by windows of 8-bit weights, exact sums, perhaps with a residual, one
 * of the results of sums.h, kept to what the activation lets through. Activations with scales of their own have one for
 * each sample.
 *
 * An update packs anew: how many terms the weights are split in depends on them. */
#include "core/conv/winograd.h"
#include "core/program/images.h"
#include "core/program/sums.h"

enum { GROUPS = QL_SUMS_FIELD_COUNT, STRIDE, DILATION, PADDING };

static const ql_field fields[] = {
    QL_SUMS_FIELDS,
    {"groups", QL_VALUE_INT},
    {"stride", QL_VALUE_INTS},
    {"dilation", QL_VALUE_INTS},
    {"padding", QL_VALUE_INTS},
    {NULL, 0},
};

/* Weights, and what is computed from them and the grids. */
typedef struct form {
    ql_filter *filter;
    void *columns, *arrays; /* of the epilogue; of the terms */
    ql_geometry geometry;
    ql_terms terms;
} form;

typedef struct conv_state {
    form now, next;
} conv_state;

static void free_form(form *f)
{
    ql_filter_free(f->filter);
    free(f->columns);
    free(f->arrays);
    *f = (form){.filter = NULL};
}

static void destroy(void *state)
{
    conv_state *s = state;
    free_form(&s->now);
    free_form(&s->next);
    free(s);
}

/* Takes the windows out of values; returns whether everything fits the buffers. */
static bool take_window(const ql_step *step, const ql_buffer *buffers, const ql_value *v, ql_step_window *window)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const ql_buffer from = ql_one_image(in), to = ql_one_image(out);
    size_t shape[4];
    return ql_sums_fit_buffers(step, buffers, v) && (!ql_has_row_scale(in) || ql_scale_count(buffers, in) == 1) &&
           ql_have_same_images(in, out) &&
           ql_take_convolution(&from, &to, &v[QL_FIELD_WEIGHT].array, v + GROUPS, window, shape) &&
           ql_are_weights(v, 4, shape) && (step->input_count == 1 || shape[2] > 1 || v[GROUPS].integer == 1);
}

/* Returns the buffer of a residual, or NULL. */
static const ql_buffer *residual_of(const ql_step *step, const ql_buffer *buffers)
{
    return step->input_count == 2 ? buffers + step->inputs[1] : NULL;
}

/* Packs weights for units of so many pixels. */
static ql_status pack(const ql_value *v, const ql_step_window *sides, size_t unit, ql_filter **filter)
{
    const ql_array *w = &v[QL_FIELD_WEIGHT].array;
    const int32_t *zero_point = ql_data(&v[QL_FIELD_WEIGHT_ZERO_POINT]);
    const bool is_signed = w->type == QL_S8;
    if (unit > 1)
        return ql_filter_pack_unit(w->data, is_signed, w->shape, zero_point, sides->stride[1], unit, filter);
    return ql_filter_pack(w->data, is_signed, w->shape, zero_point, (size_t)v[GROUPS].integer, sides->dilation[1] > 1,
                          filter);
}

/* Fills the terms of packed weights, each column's as often as a unit has pixels. */
static ql_status fill_terms(const ql_buffer *in, const ql_buffer *residual, const ql_buffer *out, const ql_value *v,
                            size_t unit, form *f)
{
    ql_epilogue epilogue;
    ql_residual_columns with_residual = {.most = NULL};
    const size_t n = ql_row_length(out), bytes = ql_epilogue_bytes(n), repeated_bytes = ql_repeated_bytes(unit * n);
    const int32_t *bias = ql_sums_bias(in, v);
    f->columns = ql_alloc(1, bytes + repeated_bytes + (residual ? ql_residual_bytes(unit * n) : 0));
    f->arrays = ql_alloc(1, ql_terms_bytes(f->filter));
    if (!f->columns || !f->arrays)
        return QL_ENOMEM;
    void *repeated = (char *)f->columns + bytes;
    if (residual) {
        if (!ql_sums_residual(in, residual, v, n, unit, (char *)repeated + repeated_bytes, &with_residual))
            return QL_EOVERFLOW;
        bias = with_residual.bias;
    } else if (bias && unit > 1) {
        ql_repeat_s32(bias, n, unit, repeated); /* then it is the epilogue's */
        bias = repeated;
    }
    if (!ql_filter_fits(f->filter, ql_sums_reach(in), residual ? with_residual.most : bias))
        return QL_EOVERFLOW;
    const ql_status status = ql_sums_epilogue(in, out, v, f->columns, &epilogue);
    if (status != QL_OK)
        return status;
    ql_terms_fill(&f->geometry, bias, ql_has_row_scale(in) ? 0 : ql_zero_point_u8(in), &epilogue, f->arrays, &f->terms);
    if (unit > 1)
        ql_repeat_columns(&epilogue, n, unit, unit * n, repeated, &f->terms.epilogue);
    f->terms.residual = with_residual.residual;
    return QL_OK;
}

static ql_status fill_form(const ql_buffer *in, const ql_buffer *residual, const ql_buffer *out, const ql_value *v,
                           const ql_step_window *sides, form *f)
{
    size_t from[2], to[2], unit = 1;
    ql_image_lengths(in, from);
    ql_image_lengths(out, to);
    const ql_images x = {.height = from[0], .width = from[1], .channels = ql_row_length(in)};
    ql_window window = {.stride = {sides->stride[0], sides->stride[1]},
                        .dilation = {sides->dilation[0], sides->dilation[1]},
                        .before = {sides->padding[0], sides->padding[2]},
                        .out = {to[0], to[1]}};
    if (v[GROUPS].integer == 1 && sides->dilation[1] == 1)
        unit = ql_unit_of(ql_kernels_active()->gemm_u8s8s32, v[QL_FIELD_WEIGHT].array.shape, &window);
    window.stride[1] *= unit;
    window.out[1] /= unit;
    ql_status status = pack(v, sides, unit, &f->filter);
    if (status == QL_OK)
        status = ql_geometry_init(f->filter, &x, &window, &f->geometry);
    const size_t side = status == QL_OK ? ql_winograd_side(&f->geometry) : 0;
    if (side) {
        status = ql_filter_transform(f->filter, ql_data(&v[QL_FIELD_WEIGHT]), side);
        f->geometry.window_ns = ql_winograd_window_ns(&f->geometry);
    }
    return status == QL_OK ? fill_terms(in, residual, out, v, unit, f) : status;
}

/* Makes the form that comes next. */
static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    conv_state *s = step->state;
    ql_step_window window;
    free_form(&s->next);
    if (!take_window(step, buffers, v, &window))
        return QL_EINVAL;
    const ql_buffer in = ql_one_image(buffers + step->inputs[0]), out = ql_one_image(buffers + step->output);
    const ql_status status = fill_form(&in, residual_of(step, buffers), &out, v, &window, &s->next);
    if (status != QL_OK)
        free_form(&s->next);
    return status;
}

/* Takes the form that comes next. A plan has measured the one before: what was no product then stays none, and no more
 * threads get memory. */
static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)buffers, (void)v;
    conv_state *s = step->state;
    if (s->now.filter) {
        s->next.geometry.is_product &= s->now.geometry.is_product;
        s->next.geometry.threads = s->now.geometry.threads;
        free_form(&s->now);
    }
    s->now = s->next;
    s->next = (form){.filter = NULL};
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
    step->weight_bytes = ql_filter_describe(s->now.filter).nbytes;
    return QL_OK;
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const ql_geometry *g = &((const conv_state *)step->state)->now.geometry;
    const bool is_dynamic = ql_has_row_scale(buffers + step->inputs[0]);
    samples *= ql_image_count(buffers + step->inputs[0]);
    return (ql_cost){.workspace = is_dynamic ? ql_conv_scaled_workspace(g) : ql_conv_workspace(g, samples),
                     .ns = ql_conv_cost_ns(g, samples)};
}

static void run_with_residual(const form *f, const uint8_t *x, size_t samples, const uint8_t *residual, void *y,
                              void *workspace)
{
    ql_terms own = f->terms;
    own.residual.codes = residual;
    ql_conv_run(&f->geometry, &own, x, samples, y, workspace);
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const form *f = &((const conv_state *)step->state)->now;
    const ql_buffer *in = buffers + step->inputs[0];
    const uint8_t *x = block->data[step->inputs[0]];
    void *y = block->data[step->output];
    const size_t samples = block->samples * ql_image_count(in);
    if (ql_has_row_scale(in))
        ql_conv_run_scaled(&f->geometry, &f->terms, x, samples, block->data[in->row_scale],
                           block->data[in->row_zero_point], y, block->workspace);
    else if (step->input_count == 1)
        ql_conv_run(&f->geometry, &f->terms, x, samples, y, block->workspace);
    else
        run_with_residual(f, x, samples, block->data[step->inputs[1]], y, block->workspace);
}

const ql_op ql_op_conv = {.kind = "conv",
                          .fields = fields,
                          .prepare = prepare,
                          .run = run,
                          .check = check,
                          .update = update,
                          .measure = measure,
                          .destroy = destroy};
