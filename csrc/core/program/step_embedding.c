/* The step that looks up rows of a table by indices: of floats, or of codes with a scale and a zero point for each row,
 * which become floats. Indices outside of the table count as its ends: whoever takes them from a user checks them. */
#include "core/base/memory.h"
#include "core/program/step.h"

enum { INPUTS, OUTPUT, WEIGHT, SCALE, ZERO_POINT };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"weight", QL_VALUE_ARRAY},
    {"weight_scale", QL_VALUE_ARRAY | QL_VALUE_NONE},
    {"weight_zero_point", QL_VALUE_ARRAY | QL_VALUE_NONE},
    {NULL, 0},
};

typedef struct embedding_state {
    size_t entries, n;
    ql_type type;
    void *weight;        /* [entries][n] */
    float *scale;        /* [entries], or NULL */
    int32_t *zero_point; /* [entries], where there are scales */
} embedding_state;

static void destroy(void *state)
{
    embedding_state *s = state;
    free(s->weight);
    free(s->scale);
    free(s->zero_point);
    free(s);
}

/* Returns whether the shape of the result is that of the indices and a row's length. */
static bool shapes_fit(const ql_buffer *in, const ql_buffer *out, const ql_array *w)
{
    return out->rank == in->rank + 1 && memcmp(in->shape, out->shape, in->rank * sizeof *in->shape) == 0 &&
           w->rank == 2 && w->shape[1] == ql_row_length(out);
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const ql_array *w = &v[WEIGHT].array;
    const embedding_state *s = step->state;
    if (s && (w->type != s->type || w->rank != 2 || w->shape[0] != s->entries))
        return QL_EINVAL;
    if (step->input_count != 1 || in->type != QL_S32 || out->type != QL_F32 || !shapes_fit(in, out, w) ||
        w->shape[0] == 0 || w->shape[0] > INT32_MAX)
        return QL_EINVAL;
    if (w->type == QL_F32) {
        const bool has_grid = v[SCALE].kind != QL_VALUE_NONE || v[ZERO_POINT].kind != QL_VALUE_NONE;
        return !has_grid && ql_all_finite(ql_kernels_active(), w->data, w->shape[0] * w->shape[1]) ? QL_OK : QL_EINVAL;
    }
    if ((w->type != QL_S8 && w->type != QL_U8) || !ql_are_scales(&v[SCALE], w->shape[0]) ||
        !ql_is_vector(&v[ZERO_POINT], QL_S32, w->shape[0]))
        return QL_EINVAL;
    return QL_OK;
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)buffers;
    embedding_state *s = step->state;
    const ql_array *w = &v[WEIGHT].array;
    memcpy(s->weight, w->data, s->entries * s->n * ql_type_size(w->type));
    if (s->scale)
        memcpy(s->scale, ql_data(&v[SCALE]), s->entries * sizeof *s->scale);
    const int32_t *zero_point = ql_data(&v[ZERO_POINT]);
    for (size_t i = 0; s->zero_point && i < s->entries; i++)
        s->zero_point[i] = zero_point ? zero_point[i] : 0;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    if (check(buffers, v, step) != QL_OK)
        return QL_EINVAL;
    const ql_array *w = &v[WEIGHT].array;
    embedding_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    s->entries = w->shape[0];
    s->n = w->shape[1];
    s->type = w->type;
    s->weight = ql_alloc(s->entries, s->n * ql_type_size(w->type));
    const bool has_scale = v[SCALE].kind != QL_VALUE_NONE;
    s->scale = has_scale ? ql_alloc(s->entries, sizeof *s->scale) : NULL;
    s->zero_point = has_scale ? ql_alloc(s->entries, sizeof *s->zero_point) : NULL;
    if (!s->weight || (has_scale && !(s->scale && s->zero_point))) {
        destroy(s);
        return QL_ENOMEM;
    }
    step->state = s;
    update(buffers, v, step);
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const embedding_state *s = step->state;
    const int32_t *x = block->data[step->inputs[0]];
    const size_t count = block->samples * ql_sample_size(buffers + step->inputs[0]), n = s->n;
    float *y = block->data[step->output];
    for (size_t i = 0; i < count; i++, y += n) {
        const size_t row = x[i] < 0 ? 0 : ql_least((size_t)x[i], s->entries - 1);
        if (s->scale)
            block->kernels->dequantize_x8_f32((const uint8_t *)s->weight + row * n, n, s->type == QL_S8, s->scale + row,
                                              s->zero_point + row, n, y);
        else
            memcpy(y, (const float *)s->weight + row * n, n * sizeof *y);
    }
}

const ql_op ql_op_embedding = {.kind = "embedding",
                               .fields = fields,
                               .prepare = prepare,
                               .run = run,
                               .check = check,
                               .update = update,
                               .destroy = destroy};
