/* The integer fully connected step: rows of 8-bit activations by 8-bit weights, exact sums, one of four results, kept
 * to what the activation lets through.
 *
 *   8-bit output   bias int32; rule A with f = float32(float32(s_a * s_w) / s_out), or rule B
 *   int32 output   bias int32; the sums themselves, without an activation
 *   float output   bias int32: y = float32(acc + bias) * float32(s_a * s_w)
 *   float output of activations with a scale per row
 *                  bias float32: y = (float32(acc) * s_row) * s_w + bias */
#include <string.h>

#include "core/base/memory.h"
#include "core/gemm/gemm.h"
#include "core/program/sums.h"

enum { INPUTS, OUTPUT, WEIGHT, WEIGHT_SCALE, WEIGHT_ZERO_POINT, BIAS, ACTIVATION, REQUANT };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"weight", QL_VALUE_ARRAY},
    {"weight_scale", QL_VALUE_ARRAY},
    {"weight_zero_point", QL_VALUE_ARRAY | QL_VALUE_NONE},
    {"bias", QL_VALUE_ARRAY | QL_VALUE_NONE},
    {"activation", QL_VALUE_TEXT | QL_VALUE_NONE},
    {"requant", QL_VALUE_TEXT},
    {NULL, 0},
};

typedef struct gemm_state {
    ql_packed *weight;
    int32_t *init;                /* [n_padded] */
    void *columns, *next_columns; /* the epilogue's arrays */
    ql_epilogue epilogue, next;
} gemm_state;

static void destroy(void *state)
{
    gemm_state *s = state;
    ql_packed_free(s->weight);
    free(s->init);
    free(s->columns);
    free(s->next_columns);
    free(s);
}

static bool values_fit(const ql_step *step, const ql_buffer *buffers, const ql_value *v)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const size_t k = ql_row_length(in), n = ql_row_length(out);
    const bool is_dynamic = ql_has_row_scale(in);
    ql_activation activation;
    ql_store store;
    if (step->input_count != 1 || !(is_dynamic ? in->type == QL_U8 : ql_is_x8(in)) || !ql_have_same_rows(in, out))
        return false;
    if (!ql_are_weights(&v[WEIGHT], &v[WEIGHT_SCALE], &v[WEIGHT_ZERO_POINT], k, n) ||
        !ql_is_vector(&v[BIAS], is_dynamic ? QL_F32 : QL_S32, n))
        return false;
    if (!ql_activation_from_name(ql_text(&v[ACTIVATION]), &activation) || !ql_rule_from_name(v[REQUANT].text, &store))
        return false;
    if (out->type == QL_S32)
        return !is_dynamic && activation == QL_ACTIVATION_NONE;
    return out->type == QL_F32 || (ql_is_x8(out) && !is_dynamic && !ql_has_row_scale(out));
}

/* The bias that is added to the sums; NULL for rows with scales of their own, where it is added to floats. */
static const int32_t *sums_bias(const ql_buffer *in, const ql_value *v)
{
    return ql_has_row_scale(in) ? NULL : ql_data(&v[BIAS]);
}

/* Returns whether all sums stay in int32: with the greatest weights that there can be, as with most layers, or with
 * these, which takes a pass over them. */
static bool sums_fit(const ql_buffer *in, const ql_value *v)
{
    enum { FARTHEST = 255 };
    const ql_code_matrix w = ql_weight_matrix(&v[WEIGHT], &v[WEIGHT_ZERO_POINT]);
    const int32_t *bias = sums_bias(in, v), reach = ql_has_row_scale(in) ? 255 : ql_code_reach(ql_zero_point_u8(in));
    return (w.k <= INT32_MAX && ql_reach_fits((int64_t)w.k * FARTHEST, reach, bias, w.n)) ||
           ql_reach_fits(ql_weight_reach(&w), reach, bias, w.n);
}

/* Fills columns and epilogue for rows with scales of their own. */
static void fill_dynamic(const ql_value *v, size_t n, float *scale, ql_epilogue *epilogue)
{
    float *offset = scale + n;
    const float *bias = ql_data(&v[BIAS]);
    ql_activation activation;
    (void)ql_activation_from_name(ql_text(&v[ACTIVATION]), &activation);
    const ql_clamps clamps = ql_activation_clamps(activation, 0.0f, 0, 0, 0);
    memcpy(scale, ql_data(&v[WEIGHT_SCALE]), n * sizeof *scale);
    memset(offset, 0, n * sizeof *offset);
    if (bias)
        memcpy(offset, bias, n * sizeof *offset);
    *epilogue =
        (ql_epilogue){.store = QL_STORE_F32, .scale = scale, .offset = offset, .low = clamps.low, .high = clamps.high};
}

/* Fills the columns and the epilogue that come next, where values fit; nothing else changes. */
static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    gemm_state *s = step->state;
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (!values_fit(step, buffers, v))
        return QL_EINVAL;
    if (!sums_fit(in, v))
        return QL_EOVERFLOW;
    if (ql_has_row_scale(in)) {
        fill_dynamic(v, ql_row_length(out), s->next_columns, &s->next);
        return QL_OK;
    }
    if (out->type == QL_S32) {
        s->next = (ql_epilogue){.store = QL_STORE_S32};
        return QL_OK;
    }
    return ql_fill_epilogue(in->scale, &v[WEIGHT_SCALE], &v[ACTIVATION], &v[REQUANT], out, s->next_columns, &s->next);
}

/* Takes what comes next, for the weights that are packed. */
static void adopt(const ql_buffer *in, const ql_value *v, gemm_state *s)
{
    void *columns = s->columns;
    s->columns = s->next_columns;
    s->next_columns = columns;
    s->epilogue = s->next;
    ql_gemm_init(s->weight, sums_bias(in, v), ql_has_row_scale(in) ? 0 : ql_zero_point_u8(in), s->init);
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_code_matrix w = ql_weight_matrix(&v[WEIGHT], &v[WEIGHT_ZERO_POINT]);
    const size_t n = ql_row_length(buffers + step->output);
    gemm_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    step->state = s;
    s->columns = ql_alloc(1, ql_epilogue_bytes(n));
    s->next_columns = ql_alloc(1, ql_epilogue_bytes(n));
    ql_status status = s->columns && s->next_columns ? check(buffers, v, step) : QL_ENOMEM;
    if (status == QL_OK)
        status = ql_pack(QL_PACK_INTEGER, &w, &s->weight);
    if (status == QL_OK && !(s->init = ql_alloc(s->weight->n_padded, sizeof *s->init)))
        status = QL_ENOMEM;
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    adopt(buffers + step->inputs[0], v, s);
    step->weight_bytes = ql_packed_describe(s->weight).nbytes;
    return QL_OK;
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    gemm_state *s = step->state;
    const ql_code_matrix w = ql_weight_matrix(&v[WEIGHT], &v[WEIGHT_ZERO_POINT]);
    ql_repack(s->weight, &w);
    adopt(buffers + step->inputs[0], v, s);
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const gemm_state *s = step->state;
    const size_t rows = samples * ql_row_count(buffers + step->output);
    return (ql_cost){.workspace = ql_gemm_workspace(s->weight, rows, 0), .ns = ql_gemm_cost_ns(s->weight, rows)};
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const gemm_state *s = step->state;
    const ql_buffer *in = buffers + step->inputs[0];
    const bool is_dynamic = ql_has_row_scale(in);
    const ql_gemm_job job = {.b = s->weight,
                             .a = block->data[step->inputs[0]],
                             .m = block->samples * ql_row_count(in),
                             .a_stride = s->weight->k,
                             .init = s->init,
                             .row_zero_point = is_dynamic ? block->data[in->row_zero_point] : NULL,
                             .row_scale = is_dynamic ? block->data[in->row_scale] : NULL,
                             .epilogue = &s->epilogue,
                             .c = block->data[step->output],
                             .c_stride = s->weight->n};
    ql_gemm_run(&job, block->workspace);
}

const ql_op ql_op_gemm = {.kind = "gemm",
                          .fields = fields,
                          .prepare = prepare,
                          .run = run,
                          .check = check,
                          .update = update,
                          .measure = measure,
                          .destroy = destroy};
