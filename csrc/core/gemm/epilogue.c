/* Epilogues: what becomes of a product's sums, from the scales of its operands and its result, and which results an
 * activation lets through. */
#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/array/multiplier.h"
#include "core/base/memory.h"
#include "core/gemm/gemm.h"

static const struct {
    const char *name;
    float low, high;
} activations[] = {
    [QL_ACTIVATION_NONE] = {NULL, -INFINITY, INFINITY},
    [QL_ACTIVATION_RELU] = {"relu", 0.0f, INFINITY},
    [QL_ACTIVATION_RELU6] = {"relu6", 0.0f, 6.0f},
};

bool ql_activation_from_name(const char *name, ql_activation *activation)
{
    *activation = QL_ACTIVATION_NONE;
    if (!name)
        return true;
    for (size_t i = 1; i < sizeof activations / sizeof *activations; i++) {
        if (strcmp(activations[i].name, name) == 0) {
            *activation = (ql_activation)i;
            return true;
        }
    }
    return false;
}

static const char *const curves[] = {
    [QL_CURVE_PRELU] = "prelu",
    [QL_CURVE_HARD_SWISH] = "hard_swish",
    [QL_CURVE_HARD_SIGMOID] = "hard_sigmoid",
};

bool ql_curve_from_name(const char *name, ql_curve *curve)
{
    *curve = QL_CURVE_NONE;
    for (size_t i = 1; name && i < sizeof curves / sizeof *curves; i++) {
        if (strcmp(curves[i], name) == 0)
            *curve = (ql_curve)i;
    }
    return !name || *curve != QL_CURVE_NONE;
}

ql_clamps ql_activation_clamps(ql_activation activation)
{
    return (ql_clamps){activations[activation].low, activations[activation].high};
}

static int32_t code_of(float bound, const ql_output *o)
{
    const float steps = bound / o->scale, zero_point = (float)o->zero_point;
    const float code = o->store == QL_STORE_X8_FIXED ? roundf(steps) + zero_point : rintf(steps + zero_point);
    return (int32_t)fmaxf((float)o->qmin, fminf(code, (float)o->qmax));
}

ql_code_clamps ql_output_clamps(const ql_output *o)
{
    assert(o->store == QL_STORE_X8 || o->store == QL_STORE_X8_FIXED);
    const ql_clamps clamps = ql_activation_clamps(o->activation);
    return (ql_code_clamps){code_of(clamps.low, o), code_of(clamps.high, o)};
}

size_t ql_epilogue_bytes(size_t n)
{
    return 2 * n * sizeof(float);
}

static ql_status fill_fixed(const ql_output *o, size_t n, int32_t *mantissa, int32_t *exponent)
{
    bool valid = true;
    for (size_t j = 0; j < n; j++) {
        double real = (double)o->input_scale * (double)o->weight_scale[j] / (double)o->scale;
        valid &= ql_split_multiplier(real, mantissa + j, exponent + j);
    }
    return valid ? QL_OK : QL_EINVAL;
}

/* `below` is filled for curves that bend. */
static ql_status fill_multiplier(const ql_output *o, size_t n, float *multiplier, float *below)
{
    bool valid = true;
    for (size_t j = 0; j < n; j++) {
        float product = o->input_scale * o->weight_scale[j];
        multiplier[j] = product / o->scale;
        valid &= multiplier[j] < 0x1p30f;
    }
    for (size_t j = 0; j < n && o->curve == QL_CURVE_PRELU; j++) {
        below[j] = multiplier[j] * o->slope[j];
        valid &= fabsf(below[j]) < 0x1p30f;
    }
    return valid ? QL_OK : QL_EINVAL;
}

/* Scales of sums at which neither these nor what a gate makes of them overflow. */
static ql_status fill_gated(const ql_output *o, size_t n, float *scale)
{
    bool valid = true;
    for (size_t j = 0; j < n; j++) {
        scale[j] = o->input_scale * o->weight_scale[j];
        valid &= scale[j] < 0x1p90f;
    }
    return valid ? QL_OK : QL_EINVAL;
}

static ql_status fill_scale(const ql_output *o, size_t n, float *scale)
{
    bool valid = true;
    for (size_t j = 0; j < n; j++) {
        scale[j] = o->input_scale * o->weight_scale[j];
        valid &= scale[j] <= FLT_MAX;
    }
    return valid ? QL_OK : QL_EINVAL;
}

ql_status ql_epilogue_fill(const ql_output *o, size_t n, void *memory, ql_epilogue *epilogue)
{
    float *first = memory, *second = first + n;
    const ql_clamps clamps = ql_activation_clamps(o->activation);
    const bool to_codes = o->store == QL_STORE_X8 || o->store == QL_STORE_X8_FIXED;
    const ql_code_clamps codes = to_codes ? ql_output_clamps(o) : (ql_code_clamps){0};
    *epilogue = (ql_epilogue){.store = o->store,
                              .curve = o->curve,
                              .below = second,
                              .scale = first,
                              .offset = second,
                              .low = clamps.low,
                              .high = clamps.high,
                              .multiplier = first,
                              .mantissa = memory,
                              .exponent = (int32_t *)memory + n,
                              .zero_point = o->zero_point,
                              .qmin = codes.qmin,
                              .qmax = codes.qmax};
    switch (o->store) {
    case QL_STORE_F32:
        if (o->offset)
            memcpy(second, o->offset, n * sizeof *second);
        else
            memset(second, 0, n * sizeof *second);
        return fill_scale(o, n, first);
    case QL_STORE_X8:
        if (o->curve == QL_CURVE_HARD_SWISH || o->curve == QL_CURVE_HARD_SIGMOID) {
            epilogue->factor = (1.0f / 6.0f) / o->scale;
            return fill_gated(o, n, first);
        }
        return fill_multiplier(o, n, first, second);
    case QL_STORE_X8_FIXED:
        return fill_fixed(o, n, memory, (int32_t *)memory + n);
    default:
        return QL_EINVAL;
    }
}

ql_status ql_linear_static(const ql_codes *a, size_t m, const ql_packed *b, const int32_t *bias,
                           const ql_output *output, void *c)
{
    const size_t n = b->n;
    void *memory = ql_alloc(1, ql_epilogue_bytes(n));
    if (!memory)
        return QL_ENOMEM;
    ql_epilogue epilogue;
    ql_status status = ql_epilogue_fill(output, n, memory, &epilogue);
    if (status == QL_OK)
        status = ql_gemm(a, m, b, bias, &epilogue, c);
    free(memory);
    return status;
}

ql_epilogue ql_epilogue_from(const ql_epilogue *e, size_t first)
{
    ql_epilogue own = *e;
    switch (e->store) {
    case QL_STORE_S32:
        break;
    case QL_STORE_F32:
        own.scale += first;
        own.offset += first;
        break;
    case QL_STORE_X8:
        own.multiplier += first;
        own.below += first;
        break;
    case QL_STORE_X8_FIXED:
        own.mantissa += first;
        own.exponent += first;
        break;
    }
    return own;
}
