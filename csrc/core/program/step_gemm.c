/* The integer fully connected step: 8-bit activations by 8-bit weights, exact sums, one of three results.
 *
 *   8-bit output   bias int32; rule A with f = float32(float32(s_a * s_w) / s_out), or rule B; relu raises qmin to zero
 *   float output   bias int32: y = float32(acc + bias) * float32(s_a * s_w)
 *   float output of activations with a scale per row
 *                  bias float32: y = (float32(acc) * s_row) * s_w + bias */
#include <string.h>

#include "core/base/memory.h"
#include "core/gemm/gemm.h"
#include "core/program/step.h"

enum { INPUT, OUTPUT, WEIGHT, WEIGHT_SCALE, WEIGHT_ZERO_POINT, BIAS, RELU, FIXED };

static const ql_field fields[] = {
    {"input", QL_FIELD_BUFFER},
    {"output", QL_FIELD_BUFFER},
    {"weight", QL_FIELD_ARRAY},
    {"weight_scale", QL_FIELD_ARRAY},
    {"weight_zero_point", QL_FIELD_ARRAY},
    {"bias", QL_FIELD_ARRAY},
    {"relu", QL_FIELD_FLAG},
    {"fixed", QL_FIELD_FLAG},
    {NULL, 0},
};

typedef struct gemm_state {
    ql_packed *weight;
    int32_t *init; /* [n_padded] */
    void *columns; /* what the epilogue points to */
    ql_epilogue epilogue;
} gemm_state;

static void destroy(void *state)
{
    gemm_state *s = state;
    ql_packed_free(s->weight);
    free(s->init);
    free(s->columns);
    free(s);
}

static bool values_fit(const ql_buffer *in, const ql_buffer *out, const ql_value *v)
{
    const bool is_dynamic = ql_has_row_scale(in);
    if (!ql_is_x8(in) ||
        !ql_are_weights(&v[WEIGHT].array, &v[WEIGHT_SCALE].array, &v[WEIGHT_ZERO_POINT].array, in->width, out->width))
        return false;
    if (!ql_is_vector(&v[BIAS].array, is_dynamic ? QL_F32 : QL_S32, out->width))
        return false;
    return out->type == QL_F32 || (ql_is_x8(out) && !is_dynamic && !ql_has_row_scale(out));
}

/* Rows with scales of their own: y = (float32(acc) * s_row) * s_w + bias. */
static void fill_dynamic(gemm_state *s, const ql_value *v, size_t n)
{
    float *scale = s->columns, *offset = scale + n;
    memcpy(scale, v[WEIGHT_SCALE].array.data, n * sizeof *scale);
    if (v[BIAS].array.data)
        memcpy(offset, v[BIAS].array.data, n * sizeof *offset);
    else
        memset(offset, 0, n * sizeof *offset);
    const ql_clamps clamps =
        ql_activation_clamps(v[RELU].integer ? QL_ACTIVATION_RELU : QL_ACTIVATION_NONE, 0.0f, 0, 0, 0);
    s->epilogue =
        (ql_epilogue){.store = QL_STORE_F32, .scale = scale, .offset = offset, .low = clamps.low, .high = clamps.high};
}

static ql_status fill_static(gemm_state *s, const ql_buffer *in, const ql_buffer *out, const ql_value *v)
{
    const ql_output output = {.store = out->type == QL_F32     ? QL_STORE_F32
                                       : v[FIXED].integer != 0 ? QL_STORE_X8_FIXED
                                                               : QL_STORE_X8,
                              .input_scale = in->scale,
                              .weight_scale = v[WEIGHT_SCALE].array.data,
                              .activation = v[RELU].integer ? QL_ACTIVATION_RELU : QL_ACTIVATION_NONE,
                              .scale = out->scale,
                              .zero_point = ql_zero_point_u8(out),
                              .qmin = 0,
                              .qmax = 255};
    return ql_epilogue_fill(&output, out->width, s->columns, &s->epilogue);
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->input, *out = buffers + step->output;
    if (!values_fit(in, out, v))
        return QL_EINVAL;
    const ql_array *w = &v[WEIGHT].array;
    const int32_t *bias = ql_has_row_scale(in) ? NULL : v[BIAS].array.data;
    const int32_t zero_point = ql_has_row_scale(in) ? 0 : ql_zero_point_u8(in);
    const int32_t reach = ql_has_row_scale(in) ? 255 : ql_code_reach(zero_point);

    gemm_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    ql_status status = ql_pack(QL_PACK_INTEGER, w->data, w->type == QL_S8, w->shape[0], w->shape[1],
                               v[WEIGHT_ZERO_POINT].array.data, &s->weight);
    if (status == QL_OK) {
        s->init = ql_alloc(s->weight->n_padded, sizeof *s->init);
        s->columns = ql_alloc(1, ql_epilogue_bytes(out->width));
        status = s->init && s->columns ? QL_OK : QL_ENOMEM;
    }
    if (status == QL_OK && !ql_gemm_fits(s->weight, reach, bias))
        status = QL_EOVERFLOW;
    if (status == QL_OK && ql_has_row_scale(in))
        fill_dynamic(s, v, out->width);
    else if (status == QL_OK)
        status = fill_static(s, in, out, v);
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    ql_gemm_init(s->weight, bias, zero_point, s->init);
    step->state = s;
    step->cost_ns = ql_gemm_cost_ns(s->weight, QL_BLOCK_ROWS);
    step->workspace = ql_gemm_workspace(s->weight, QL_BLOCK_ROWS, 0);
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const gemm_state *s = step->state;
    const ql_buffer *in = buffers + step->input, *out = buffers + step->output;
    ql_gemm_job job = {.b = s->weight,
                       .a = block->data[step->input],
                       .m = block->rows,
                       .a_stride = in->width,
                       .init = s->init,
                       .row_zero_point = ql_has_row_scale(in) ? block->data[in->row_zero_point] : NULL,
                       .row_scale = ql_has_row_scale(in) ? block->data[in->row_scale] : NULL,
                       .epilogue = &s->epilogue,
                       .c = block->data[step->output],
                       .c_stride = out->width};
    ql_gemm_run(&job, block->workspace);
}

const ql_op ql_op_gemm = {.kind = "gemm", .fields = fields, .prepare = prepare, .run = run, .destroy = destroy};
