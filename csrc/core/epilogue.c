/* What becomes of sums, from the scales of a product's operands and result. */
#include <string.h>

#include "qlite.h"

size_t ql_epilogue_bytes(size_t n)
{
    return 2 * n * sizeof(float);
}

static ql_status fill_fixed(const ql_output *o, size_t n, int32_t *mantissa, int32_t *exponent)
{
    for (size_t j = 0; j < n; j++) {
        double real = (double)o->input_scale * (double)o->weight_scale[j] / (double)o->scale;
        if (ql_quantize_multiplier(real, mantissa + j, exponent + j) != QL_OK)
            return QL_EINVAL;
    }
    return QL_OK;
}

static ql_status fill_multiplier(const ql_output *o, size_t n, float *multiplier)
{
    bool valid = true;
    for (size_t j = 0; j < n; j++) {
        float product = o->input_scale * o->weight_scale[j];
        multiplier[j] = product / o->scale;
        valid &= multiplier[j] < 0x1p30f;
    }
    return valid ? QL_OK : QL_EINVAL;
}

ql_status ql_epilogue_fill(const ql_output *o, size_t n, void *memory, ql_epilogue *epilogue)
{
    float *first = memory, *second = first + n;
    *epilogue = (ql_epilogue){.store = o->store,
                              .scale = first,
                              .offset = second,
                              .low = o->low,
                              .high = o->high,
                              .multiplier = first,
                              .mantissa = memory,
                              .exponent = (int32_t *)memory + n,
                              .zero_point = o->zero_point,
                              .qmin = o->qmin,
                              .qmax = o->qmax};
    switch (o->store) {
    case QL_STORE_F32:
        for (size_t j = 0; j < n; j++)
            first[j] = o->input_scale * o->weight_scale[j];
        memset(second, 0, n * sizeof *second);
        return QL_OK;
    case QL_STORE_X8:
        return fill_multiplier(o, n, first);
    case QL_STORE_X8_FIXED:
        return fill_fixed(o, n, memory, (int32_t *)memory + n);
    default:
        return QL_EINVAL;
    }
}
