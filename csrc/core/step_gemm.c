/* The integer fully connected step: 8-bit activations by 8-bit weights, exact sums, one of three results.
 *
 *   8-bit output   bias int32; rule A with f = float32(float32(s_a * s_w) / s_out), or rule B; relu raises qmin to zero
 *   float output   bias int32: y = float32(acc + bias) * float32(s_a * s_w)
 *   float output of activations with a scale per row
 *                  bias float32: y = (float32(acc) * s_row) * s_w + bias */
#include <math.h>
#include <string.h>

#include "core/gemm.h"
#include "core/memory.h"
#include "core/step.h"

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

/* Column parameters, [n] each (init: [n_padded]). */
typedef struct gemm_state {
    ql_packed *weight;
    int32_t *init;
    float *scale; /* the requantization multiplier, or the scale of a float output */
    float *offset;
    int32_t *mantissa, *exponent;
    ql_epilogue epilogue;
} gemm_state;

static void destroy(void *state)
{
    gemm_state *s = state;
    ql_packed_free(s->weight);
    free(s->init);
    free(s->scale);
    free(s->offset);
    free(s->mantissa);
    free(s->exponent);
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

static ql_status allocate(gemm_state *s, size_t n)
{
    s->init = ql_alloc(s->weight->n_padded, sizeof *s->init);
    s->scale = ql_alloc(n, sizeof *s->scale);
    s->offset = ql_alloc(n, sizeof *s->offset);
    s->mantissa = ql_alloc(n, sizeof *s->mantissa);
    s->exponent = ql_alloc(n, sizeof *s->exponent);
    return s->init && s->scale && s->offset && s->mantissa && s->exponent ? QL_OK : QL_ENOMEM;
}

static void fill_float_output(gemm_state *s, const ql_buffer *in, const ql_buffer *out, const ql_value *v)
{
    const float *weight_scale = v[WEIGHT_SCALE].array.data, *bias = v[BIAS].array.data;
    const bool is_dynamic = ql_has_row_scale(in);
    for (size_t j = 0; j < out->width; j++) {
        s->scale[j] = is_dynamic ? weight_scale[j] : in->scale * weight_scale[j];
        s->offset[j] = is_dynamic && bias ? bias[j] : 0;
    }
    s->epilogue =
        (ql_epilogue){.store = QL_STORE_F32, .scale = s->scale, .offset = s->offset, .relu = v[RELU].integer != 0};
}

static ql_status fill_x8_output(gemm_state *s, const ql_buffer *in, const ql_buffer *out, const ql_value *v)
{
    const float *weight_scale = v[WEIGHT_SCALE].array.data;
    for (size_t j = 0; j < out->width; j++) {
        float product = in->scale * weight_scale[j];
        double real = (double)in->scale * (double)weight_scale[j] / (double)out->scale;
        s->scale[j] = product / out->scale;
        if (!isfinite(s->scale[j]) || ql_quantize_multiplier(real, s->mantissa + j, s->exponent + j) != QL_OK)
            return QL_EINVAL;
    }
    int32_t zero_point = ql_zero_point_u8(out);
    s->epilogue = (ql_epilogue){.store = QL_STORE_X8,
                                .requant = {.fixed = v[FIXED].integer != 0,
                                            .multiplier = s->scale,
                                            .mantissa = s->mantissa,
                                            .exponent = s->exponent,
                                            .zero_point = zero_point,
                                            .qmin = v[RELU].integer ? zero_point : 0,
                                            .qmax = 255}};
    return QL_OK;
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
    if (status == QL_OK)
        status = allocate(s, out->width);
    if (status == QL_OK && !ql_gemm_fits(s->weight, reach, bias))
        status = QL_EOVERFLOW;
    if (status == QL_OK && out->type == QL_F32)
        fill_float_output(s, in, out, v);
    else if (status == QL_OK)
        status = fill_x8_output(s, in, out, v);
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    ql_gemm_init(s->weight, bias, zero_point, s->init);
    step->state = s;
    step->workspace = ql_gemm_workspace(s->weight, QL_BLOCK_ROWS, 0);
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const gemm_state *s = step->state;
    const ql_buffer *in = buffers + step->input, *out = buffers + step->output;
    ql_epilogue epilogue = s->epilogue;
    if (ql_has_row_scale(in))
        epilogue.row_scale = block->data[in->row_scale];
    ql_gemm_job job = {.b = s->weight,
                       .a = block->data[step->input],
                       .m = block->rows,
                       .a_stride = in->width,
                       .init = s->init,
                       .row_zero_point = ql_has_row_scale(in) ? block->data[in->row_zero_point] : NULL,
                       .epilogue = &epilogue,
                       .c = block->data[step->output],
                       .c_stride = out->width};
    ql_gemm_run(&job, block->workspace);
}

const ql_op ql_op_gemm = {.kind = "gemm", .fields = fields, .prepare = prepare, .run = run, .destroy = destroy};
