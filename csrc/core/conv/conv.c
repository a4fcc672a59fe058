/* Convolution: checks before anything is written, windows of one pixel, which are a plain product, and images with
 * grids of their own. All other windows are in windows.c. */
#include "core/conv/conv.h"
#include "core/base/listen.h"
#include "core/base/memory.h"
#include "core/gemm/gemm.h"

/* ---- a window of one pixel ---------------------------------------------------------------------- */

static bool is_plain_product(const ql_images *x, const ql_filter *w, const ql_window *window)
{
    return w->packed && ql_filter_segments(w) == 1 && w->shape[1] == 1 && window->stride[0] == 1 &&
           window->stride[1] == 1 && window->before[0] == 0 && window->before[1] == 0 && window->out[0] == x->height &&
           window->out[1] == x->width;
}

/* Multiplies all pixels at once. Tiles are full where rows are short: 1.03 to 1.05 times as fast as in stages at 7 x 7
 * (AVX2, Zen 3), the same from 14 x 14 on. */
static ql_status multiply_pixels(const ql_stage *s, const int32_t *bias)
{
    const ql_images *x = s->x;
    const ql_filter *w = s->w;
    const uint8_t flip = x->is_signed ? 128 : 0;
    const size_t m = x->count * x->height * x->width, starts = ql_filter_start_bytes(w);
    char *memory = ql_alloc(1, starts + ql_gemm_workspace(w->packed[0], m, flip));
    if (!memory)
        return QL_ENOMEM;
    int32_t *start = (int32_t *)memory;
    for (size_t g = 0; g < w->groups; g++) {
        const ql_packed *b = w->packed[g];
        const ql_epilogue epilogue = ql_epilogue_from(s->epilogue, g * b->n);
        ql_gemm_init(b, bias ? bias + g * b->n : NULL, x->zero_point + flip, start);
        const ql_gemm_job job = {.b = b,
                                 .a = x->data + g * w->shape[2],
                                 .m = m,
                                 .a_stride = x->channels,
                                 .flip = flip,
                                 .init = start,
                                 .epilogue = &epilogue,
                                 .c = s->y + g * b->n * s->c_size,
                                 .c_stride = w->shape[3]};
        ql_gemm_run(&job, memory + starts);
    }
    free(memory);
    return QL_OK;
}

/* ---- the entry ---------------------------------------------------------------------------------- */

static bool fits(const ql_filter *w, int32_t reach, const int32_t *bias)
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
    return fits(w, ql_code_reach(x->zero_point + flip), bias) ? QL_OK : QL_EOVERFLOW;
}

static size_t result_bytes(ql_store store)
{
    return store == QL_STORE_S32 || store == QL_STORE_F32 ? 4 : 1;
}

/* Convolves what `check` let pass. */
static ql_status convolve(const ql_images *x, const ql_filter *w, const ql_window *window, const int32_t *bias,
                          const ql_epilogue *epilogue, void *y)
{
    if (x->count == 0 || window->out[0] == 0 || window->out[1] == 0)
        return QL_OK;
    ql_stage s = {
        .x = x, .w = w, .window = window, .epilogue = epilogue, .y = y, .c_size = result_bytes(epilogue->store)};
    return is_plain_product(x, w, window) ? multiply_pixels(&s, bias) : ql_conv_in_stages(&s, bias);
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
    const size_t bytes = window->out[0] * window->out[1] * w->shape[3] * result_bytes(output->store);
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
