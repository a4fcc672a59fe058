/* Fully connected steps whose weights have scales for groups of neighbours along the depth, and zero points perhaps:
 *
 *   gemm_grouped       integer sums of a group, float32 over the groups (ql_linear_grouped in qlite.h). Of floats, rows
 *                      become codes at scales of their own. Codes on one grid are multiplied with 128 taken off, a' =
 *                      a - 128 and z' = z - 128; what z' adds to the result is part of the offset,
 *                          offset[j] = bias[j] - z' * s_a * sum_g s_w[g][j] * sum_{p in g} (w[p][j] - z_w[g][j])
 *                      in float64, groups ascending, rounded once.
 *                      Weights on a codebook are for floats alone: as integers they have up to 8 bits.
 *   gemm_grouped_f32   float32 alone: weights are dequantized on the way (ql_gemm_grouped_f32).
 *
 * An update packs anew: there is no packing into memory that is there. */
#include "core/base/memory.h"
#include "core/gemm/gemm.h"
#include "core/gemm/grouped.h"
#include "core/program/weights.h"

enum { CODEBOOK = QL_WEIGHT_FIELD_COUNT, GROUP_SIZE };

static const ql_field fields[] = {
    QL_WEIGHT_FIELDS,
    {"codebook", QL_VALUE_ARRAY | QL_VALUE_NONE},
    {"group_size", QL_VALUE_INT},
    {NULL, 0},
};

/* Weights and what is added to their product. */
typedef struct form {
    ql_grouped *weight;
    float *offset; /* [n] */
    ql_activation activation;
} form;

typedef struct grouped_state {
    form now, next;
} grouped_state;

static void free_form(form *f)
{
    ql_grouped_free(f->weight);
    free(f->offset);
    *f = (form){NULL, NULL, QL_ACTIVATION_NONE};
}

static void destroy(void *state)
{
    grouped_state *s = state;
    free_form(&s->now);
    free_form(&s->next);
    free(s);
}

static bool is_table(const ql_value *value, ql_type type, size_t rows, size_t columns)
{
    const ql_array *a = &value->array;
    return value->kind == QL_VALUE_ARRAY && a->type == type && a->rank == 2 && a->shape[0] == rows &&
           a->shape[1] == columns;
}

/* Returns how many bits the codes need, out of the two widths that there are forms for. */
static int width_of(const ql_array *w)
{
    uint8_t beyond = 0;
    const uint8_t *codes = w->data;
    for (size_t i = 0; i < w->shape[0] * w->shape[1]; i++)
        beyond |= w->type == QL_S8 ? (uint8_t)(codes[i] + 8) & 0xF0 : codes[i] & 0xF0;
    return beyond ? 8 : 4;
}

/* Takes a codebook out of a value; returns whether it is one, or none. */
static bool take_codebook(const ql_value *value, ql_grouped_codes *w)
{
    const ql_array *a = &value->array;
    if (value->kind == QL_VALUE_NONE)
        return true;
    w->codebook = a->data;
    w->entries = a->rank == 1 ? a->shape[0] : 0;
    if (w->entries > QL_TABLE_ENTRIES)
        w->bits = 8;
    return a->type == QL_F32 && w->entries >= 2 && w->entries <= QL_MAX_ENTRIES;
}

/* Takes weights out of values; returns whether they fit the buffers. Zero points have to be codes of their width. */
static bool take_codes(const ql_step *step, const ql_buffer *buffers, const ql_value *v, ql_grouped_codes *w)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const size_t k = ql_row_length(in), n = ql_row_length(out);
    const int64_t group = v[GROUP_SIZE].integer;
    if (step->input_count != 1 || out->type != QL_F32 || !ql_have_same_rows(in, out) || group < 1)
        return false;
    const size_t groups = k / (size_t)group + (k % (size_t)group != 0);
    const bool has_zero_point = v[QL_FIELD_WEIGHT_ZERO_POINT].kind != QL_VALUE_NONE;
    if (!(is_table(&v[QL_FIELD_WEIGHT], QL_S8, k, n) || is_table(&v[QL_FIELD_WEIGHT], QL_U8, k, n)) ||
        !is_table(&v[QL_FIELD_WEIGHT_SCALE], QL_F32, groups, n) || !ql_is_vector(&v[QL_FIELD_BIAS], QL_F32, n) ||
        (has_zero_point && !is_table(&v[QL_FIELD_WEIGHT_ZERO_POINT], QL_S32, groups, n)))
        return false;
    *w = (ql_grouped_codes){.k = k,
                            .n = n,
                            .group = (size_t)group,
                            .codes = ql_data(&v[QL_FIELD_WEIGHT]),
                            .is_signed = v[QL_FIELD_WEIGHT].array.type == QL_S8,
                            .bits = width_of(&v[QL_FIELD_WEIGHT].array),
                            .scale = ql_data(&v[QL_FIELD_WEIGHT_SCALE]),
                            .zero_point = ql_data(&v[QL_FIELD_WEIGHT_ZERO_POINT])};
    const int32_t lowest = w->is_signed ? -8 : 0;
    for (size_t i = 0; w->zero_point && i < groups * n; i++) {
        if (w->zero_point[i] < lowest || w->zero_point[i] > lowest + 15)
            w->bits = 8;
    }
    return take_codebook(&v[CODEBOOK], w);
}

/* Sum over the groups of scale * sum of (code - zero point), for column j. */
static double column_sum(const ql_grouped_codes *w, size_t j)
{
    double total = 0.0;
    for (size_t first = 0, g = 0; first < w->k; first += w->group, g++) {
        const int32_t zero_point = w->zero_point ? w->zero_point[g * w->n + j] : 0;
        int64_t sum = 0;
        for (size_t p = first; p < w->k && p < first + w->group; p++) {
            const uint8_t code = w->codes[p * w->n + j];
            sum += (w->is_signed ? (int8_t)code : code) - zero_point;
        }
        total += (double)w->scale[g * w->n + j] * (double)sum;
    }
    return total;
}

static void fill_offset(const ql_buffer *in, const ql_grouped_codes *w, const float *bias, float *offset)
{
    const double factor = ql_is_x8(in) ? (double)(ql_zero_point_u8(in) - 128) * (double)in->scale : 0.0;
    for (size_t j = 0; j < w->n; j++) {
        offset[j] = bias ? bias[j] : 0.0f;
        if (ql_is_x8(in))
            offset[j] = (float)((double)offset[j] - factor * column_sum(w, j));
    }
}

static ql_status make(const ql_buffer *buffers, const ql_value *v, const ql_step *step, ql_pack_for purpose, form *f)
{
    ql_grouped_codes w;
    if (!take_codes(step, buffers, v, &w) || !ql_activation_from_name(ql_text(&v[QL_FIELD_ACTIVATION]), &f->activation))
        return QL_EINVAL;
    const ql_buffer *in = buffers + step->inputs[0];
    const bool are_codes =
        ql_is_x8(in) && !ql_has_row_scale(in) && purpose == QL_PACK_INTEGER && w.bits <= 4 && !w.codebook;
    if (in->type != QL_F32 && !are_codes)
        return QL_EINVAL;
    f->offset = ql_alloc(w.n, sizeof *f->offset);
    const ql_status status = f->offset ? ql_pack_grouped(purpose, &w, &f->weight) : QL_ENOMEM;
    if (status != QL_OK)
        return status;
    if (purpose == QL_PACK_INTEGER && !ql_grouped_fits(f->weight, 128))
        return QL_EOVERFLOW;
    fill_offset(in, &w, ql_data(&v[QL_FIELD_BIAS]), f->offset);
    return QL_OK;
}

static ql_status make_next(const ql_buffer *buffers, const ql_value *v, const ql_step *step, ql_pack_for purpose)
{
    grouped_state *s = step->state;
    free_form(&s->next);
    const ql_status status = make(buffers, v, step, purpose, &s->next);
    if (status != QL_OK)
        free_form(&s->next);
    return status;
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    return make_next(buffers, v, step, QL_PACK_INTEGER);
}

static ql_status check_f32(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    return make_next(buffers, v, step, QL_PACK_FLOAT);
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)buffers, (void)v;
    grouped_state *s = step->state;
    free_form(&s->now);
    s->now = s->next;
    s->next = (form){NULL, NULL, QL_ACTIVATION_NONE};
}

static ql_status prepare_for(const ql_buffer *buffers, const ql_value *v, ql_step *step, ql_pack_for purpose)
{
    grouped_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    step->state = s;
    const ql_status status = make_next(buffers, v, step, purpose);
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    update(buffers, v, step);
    step->weight_bytes = ql_grouped_describe(s->now.weight).nbytes;
    return QL_OK;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare_for(buffers, v, step, QL_PACK_INTEGER);
}

static ql_status prepare_f32(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare_for(buffers, v, step, QL_PACK_FLOAT);
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    enum { PRODUCTS_PER_NS = 200 };
    const ql_grouped *w = ((const grouped_state *)step->state)->now.weight;
    const size_t rows = samples * ql_row_count(buffers + step->output);
    return (ql_cost){.workspace = w->purpose == QL_PACK_INTEGER ? ql_grouped_workspace(w, rows) : 0,
                     .ns = (uint64_t)((double)rows * (double)w->k * (double)w->n / PRODUCTS_PER_NS)};
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const form *f = &((const grouped_state *)step->state)->now;
    const ql_buffer *in = buffers + step->inputs[0];
    const void *data = block->data[step->inputs[0]];
    const ql_grouped_input a = {.x = in->type == QL_F32 ? data : NULL,
                                .codes = data,
                                .scale = in->scale,
                                .m = block->samples * ql_row_count(in)};
    const ql_grouped_options options = {f->offset, f->activation};
    if (!ql_grouped_begin(f->weight, &a, block->workspace))
        *block->nonfinite = true;
    ql_grouped_run(f->weight, &a, &options, block->data[step->output], block->workspace);
}

/* The product cannot fail: the weights were packed for it. */
static void run_f32(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const form *f = &((const grouped_state *)step->state)->now;
    const size_t rows = block->samples * ql_row_count(buffers + step->output), n = f->weight->n;
    const ql_clamps clamps = ql_activation_clamps(f->activation);
    float *y = block->data[step->output];
    (void)ql_gemm_grouped_f32(block->data[step->inputs[0]], rows, f->weight, y);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < n; j++) {
            float v = y[i * n + j] + f->offset[j];
            v = v < clamps.low ? clamps.low : v;
            y[i * n + j] = v > clamps.high ? clamps.high : v;
        }
    }
}

const ql_op ql_op_gemm_grouped = {.kind = "gemm_grouped",
                                  .fields = fields,
                                  .prepare = prepare,
                                  .run = run,
                                  .check = check,
                                  .update = update,
                                  .measure = measure,
                                  .destroy = destroy,
                                  .checks_finite = true};
const ql_op ql_op_gemm_grouped_f32 = {.kind = "gemm_grouped_f32",
                                      .fields = fields,
                                      .prepare = prepare_f32,
                                      .run = run_f32,
                                      .check = check_f32,
                                      .update = update,
                                      .measure = measure,
                                      .destroy = destroy};
