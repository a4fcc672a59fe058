/* Sums of products in steps: which results there are, and the epilogues that make them. */
#include "core/program/sums.h"

#include <math.h>
#include <string.h>

#include "core/gemm/gemm.h"

bool ql_rule_from_name(const char *requant, ql_store *store)
{
    *store = strcmp(requant, "fixed") == 0 ? QL_STORE_X8_FIXED : QL_STORE_X8;
    return *store == QL_STORE_X8_FIXED || strcmp(requant, "float") == 0;
}

void ql_output_on_grid(const ql_buffer *out, ql_output *output)
{
    output->scale = out->scale;
    output->zero_point = out->zero_point;
    output->qmin = ql_qmin_u8(out) - ql_flip(out);
    output->qmax = ql_qmax_u8(out) - ql_flip(out);
}

/* Fills what `output` says but for a buffer's grid, in the form in which plans hold codes. */
static ql_status fill_columns(ql_output *output, const ql_value *requant, const ql_buffer *out, void *columns,
                              ql_epilogue *epilogue)
{
    if (ql_is_x8(out)) {
        (void)ql_rule_from_name(requant->text, &output->store);
        ql_output_on_grid(out, output);
    }
    const ql_status status = ql_epilogue_fill(output, ql_row_length(out), columns, epilogue);
    epilogue->zero_point += ql_flip(out);
    epilogue->qmin += ql_flip(out);
    epilogue->qmax += ql_flip(out);
    return status;
}

ql_status ql_fill_epilogue(float input_scale, const ql_value *weight_scale, const ql_value *activation,
                           const ql_value *requant, const ql_buffer *out, void *columns, ql_epilogue *epilogue)
{
    ql_output output = {.store = QL_STORE_F32, .input_scale = input_scale, .weight_scale = ql_data(weight_scale)};
    (void)ql_activation_from_name(ql_text(activation), &output.activation);
    return fill_columns(&output, requant, out, columns, epilogue);
}

/* Returns whether a curve is one of codes by rule A without an activation, with slopes where it has some. */
static bool curve_fits(const ql_buffer *out, const ql_value *v, ql_store store)
{
    ql_curve curve;
    const bool has_slopes = v[QL_FIELD_SLOPE].kind == QL_VALUE_ARRAY;
    if (!ql_curve_from_name(ql_text(&v[QL_FIELD_CURVE]), &curve) || has_slopes != (curve == QL_CURVE_PRELU) ||
        !ql_is_vector(&v[QL_FIELD_SLOPE], QL_F32, ql_row_length(out)))
        return false;
    return curve == QL_CURVE_NONE ||
           (ql_is_x8(out) && store == QL_STORE_X8 && v[QL_FIELD_ACTIVATION].kind == QL_VALUE_NONE);
}

/* Returns whether a second input is a residual of such results. */
static bool residual_fits(const ql_step *step, const ql_buffer *buffers, ql_store store)
{
    if (step->input_count != 2)
        return step->input_count == 1;
    const ql_buffer *in = buffers + step->inputs[0], *residual = buffers + step->inputs[1];
    const ql_buffer *out = buffers + step->output;
    return residual->type == QL_U8 && !ql_has_row_scale(residual) && !ql_has_row_scale(in) &&
           ql_have_same_shape(residual, out) && store == QL_STORE_X8 && out->type != QL_S32;
}

bool ql_sums_fit_buffers(const ql_step *step, const ql_buffer *buffers, const ql_value *v)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool is_dynamic = ql_has_row_scale(in);
    ql_store store;
    if (!(is_dynamic ? in->type == QL_U8 : ql_is_x8(in)) || out->rank == 0 ||
        !ql_is_vector(&v[QL_FIELD_BIAS], is_dynamic ? QL_F32 : QL_S32, ql_row_length(out)) ||
        !ql_rule_from_name(v[QL_FIELD_REQUANT].text, &store) || !curve_fits(out, v, store) ||
        !residual_fits(step, buffers, store))
        return false;
    if (out->type == QL_S32)
        return !is_dynamic && v[QL_FIELD_ACTIVATION].kind == QL_VALUE_NONE;
    return out->type == QL_F32 || (ql_is_x8(out) && !is_dynamic && !ql_has_row_scale(out));
}

const int32_t *ql_sums_bias(const ql_buffer *in, const ql_value *v)
{
    return ql_has_row_scale(in) ? NULL : ql_data(&v[QL_FIELD_BIAS]);
}

int32_t ql_sums_reach(const ql_buffer *in)
{
    return ql_has_row_scale(in) ? 255 : ql_code_reach(ql_zero_point_u8(in));
}

/* Finds the factor and the shift of a residual of so many steps of the sums; returns false where it is too great. */
static bool split_ratio(float ratio, int32_t *factor, int32_t *shift)
{
    enum { FACTOR_BITS = 23, MOST_SHIFT = 31 };
    int exponent;
    if (!(ratio < (float)(1 << FACTOR_BITS)))
        return false;
    (void)frexpf(ratio, &exponent);
    *shift = FACTOR_BITS - exponent < MOST_SHIFT ? FACTOR_BITS - exponent : MOST_SHIFT;
    *factor = (int32_t)rint(ldexp((double)ratio, *shift));
    return true;
}

size_t ql_residual_bytes(size_t n)
{
    return 4 * n * sizeof(int32_t);
}

bool ql_sums_residual(const ql_buffer *in, const ql_buffer *residual, const ql_value *v, size_t n, size_t times,
                      void *memory, ql_residual_columns *columns)
{
    const float *weight_scale = ql_data(&v[QL_FIELD_WEIGHT_SCALE]);
    const int32_t *bias = ql_sums_bias(in, v), zero_point = ql_zero_point_u8(residual);
    int32_t *factor = memory, *shift = factor + times * n, *own_bias = shift + times * n, *most = own_bias + times * n;
    for (size_t j = 0; j < times * n; j++) {
        const float sum_scale = in->scale * weight_scale[j % n];
        if (!split_ratio(residual->scale / sum_scale, factor + j, shift + j))
            return false;
        const int32_t from_bias = bias ? bias[j % n] : 0, below = zero_point * factor[j] >> shift[j];
        const int64_t above = (255 * factor[j] >> shift[j]) - below, farthest = above > below ? above : below;
        const int64_t both = farthest + (from_bias < 0 ? -(int64_t)from_bias : from_bias);
        if (both > INT32_MAX)
            return false;
        own_bias[j] = (int32_t)((uint32_t)from_bias - (uint32_t)below);
        most[j] = (int32_t)both;
    }
    *columns = (ql_residual_columns){{NULL, factor, shift}, own_bias, most};
    return true;
}

/* Fills columns and epilogue for activations with scales of their own. */
static void fill_dynamic(const ql_value *v, size_t n, float *scale, ql_epilogue *epilogue)
{
    float *offset = scale + n;
    const float *bias = ql_data(&v[QL_FIELD_BIAS]);
    ql_activation activation;
    (void)ql_activation_from_name(ql_text(&v[QL_FIELD_ACTIVATION]), &activation);
    const ql_clamps clamps = ql_activation_clamps(activation);
    memcpy(scale, ql_data(&v[QL_FIELD_WEIGHT_SCALE]), n * sizeof *scale);
    memset(offset, 0, n * sizeof *offset);
    if (bias)
        memcpy(offset, bias, n * sizeof *offset);
    *epilogue =
        (ql_epilogue){.store = QL_STORE_F32, .scale = scale, .offset = offset, .low = clamps.low, .high = clamps.high};
}

ql_status ql_sums_epilogue(const ql_buffer *in, const ql_buffer *out, const ql_value *v, void *columns,
                           ql_epilogue *epilogue)
{
    if (ql_has_row_scale(in)) {
        fill_dynamic(v, ql_row_length(out), columns, epilogue);
        return QL_OK;
    }
    if (out->type == QL_S32) {
        *epilogue = (ql_epilogue){.store = QL_STORE_S32};
        return QL_OK;
    }
    ql_output output = {.store = QL_STORE_F32,
                        .slope = ql_data(&v[QL_FIELD_SLOPE]),
                        .input_scale = in->scale,
                        .weight_scale = ql_data(&v[QL_FIELD_WEIGHT_SCALE])};
    (void)ql_activation_from_name(ql_text(&v[QL_FIELD_ACTIVATION]), &output.activation);
    (void)ql_curve_from_name(ql_text(&v[QL_FIELD_CURVE]), &output.curve);
    return fill_columns(&output, &v[QL_FIELD_REQUANT], out, columns, epilogue);
}
