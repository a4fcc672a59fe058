/* Convolution: checks before anything is written, and images with grids of their own. */
#include "core/conv/conv.h"
#include "core/base/listen.h"
#include "core/gemm/gemm.h"

bool ql_filter_fits(const ql_filter *w, int32_t reach, const int32_t *bias)
{
    if (!w->packed)
        return ql_reach_fits(w->taps.column_reach, reach, bias, w->shape[3]);
    for (size_t g = 0; g < w->groups; g++) {
        const ql_packed *b = w->packed[g];
        if (!ql_gemm_fits(b, reach, bias ? bias + g * b->n : NULL))
            return false;
    }
    return true;
}

static ql_status check(const ql_images *x, const ql_filter *w, const ql_window *window, const int32_t *bias)
{
    const int32_t flip = x->is_signed ? 128 : 0;
    if (x->channels != w->groups * w->shape[2] || x->zero_point < -flip || x->zero_point > 255 - flip ||
        (window->dilation[1] > 1 && w->by_row && w->shape[1] > 1))
        return QL_EINVAL;
    return ql_filter_fits(w, ql_code_reach(x->zero_point + flip), bias) ? QL_OK : QL_EOVERFLOW;
}

/* Convolves what `check` let pass. */
static ql_status convolve(const ql_images *x, const ql_filter *w, const ql_window *window, const int32_t *bias,
                          const ql_epilogue *epilogue, void *y)
{
    ql_geometry geometry;
    ql_terms terms;
    size_t bytes;
    if (x->count == 0 || window->out[0] == 0 || window->out[1] == 0)
        return QL_OK;
    const ql_status status = ql_geometry_init(w, x, window, &geometry);
    if (status != QL_OK)
        return status;
    const size_t arrays = ql_terms_bytes(w);
    if (__builtin_add_overflow(arrays, ql_conv_workspace(&geometry, x->count), &bytes))
        return QL_ENOMEM;
    char *memory = ql_alloc(1, bytes);
    if (!memory)
        return QL_ENOMEM;
    ql_terms_fill(&geometry, bias, x->zero_point + geometry.flip, epilogue, memory, &terms);
    ql_conv_run(&geometry, &terms, x->data, x->count, y, memory + arrays);
    free(memory);
    return QL_OK;
}

ql_status ql_conv(const ql_images *x, const ql_filter *w, const ql_window *window, const int32_t *bias,
                  const ql_epilogue *epilogue, void *y)
{
    const ql_status status = check(x, w, window, bias);
    return status == QL_OK ? convolve(x, w, window, bias, epilogue, y) : status;
}

ql_status ql_conv_scaled(const ql_images *x, const ql_filter *w, const ql_window *window, const int32_t *bias,
                         const ql_output *output, void *y)
{
    void *columns = ql_alloc(1, ql_epilogue_bytes(w->shape[3]));
    if (!columns)
        return QL_ENOMEM;
    ql_epilogue epilogue;
    ql_status status = ql_epilogue_fill(output, w->shape[3], columns, &epilogue);
    if (status == QL_OK)
        status = ql_conv(x, w, window, bias, &epilogue, y);
    free(columns);
    return status;
}

/* An image on a grid of its own, with its bias and epilogue. */
typedef struct one_image {
    ql_images x;
    const int32_t *bias;
    ql_epilogue epilogue;
} one_image;

static ql_status take_image(const ql_images *x, const ql_image_grids *grids, const ql_filter *w,
                            const ql_output *output, size_t index, void *columns, one_image *one)
{
    ql_output own = *output;
    own.input_scale = grids->scale[index];
    one->x = *x;
    one->x.count = 1;
    one->x.data += index * x->height * x->width * x->channels;
    one->x.zero_point = grids->zero_point[index];
    one->bias = grids->bias ? grids->bias + index * w->shape[3] : NULL;
    return ql_epilogue_fill(&own, w->shape[3], columns, &one->epilogue);
}

ql_status ql_conv_images(const ql_images *x, const ql_image_grids *grids, const ql_filter *w, const ql_window *window,
                         const ql_output *output, void *y)
{
    const size_t bytes = window->out[0] * window->out[1] * w->shape[3] * (output->store == QL_STORE_F32 ? 4 : 1);
    one_image one;
    void *columns = ql_alloc(1, ql_epilogue_bytes(w->shape[3]));
    if (!columns)
        return QL_ENOMEM;
    ql_status status = QL_OK;
    for (size_t i = 0; i < x->count && status == QL_OK; i++) {
        status = take_image(x, grids, w, output, i, columns, &one);
        if (status == QL_OK)
            status = check(&one.x, w, window, one.bias);
    }
    for (size_t i = 0; i < x->count && status == QL_OK && !ql_stop_wanted(); i++) {
        status = take_image(x, grids, w, output, i, columns, &one);
        if (status == QL_OK)
            status = convolve(&one.x, w, window, one.bias, &one.epilogue, (char *)y + i * bytes);
    }
    free(columns);
    return status;
}
