/* Pools and products of floats, channel by channel. */
#include <math.h>
#include <string.h>

#include "harness.h"

static float *any_floats(int slot, size_t n)
{
    return any_values(slot, n, &(float){1.0f}, SIZE_MAX);
}

/* Windows of n channels; the last ends where x does. */
static ql_windows any_windows(size_t channels, size_t group, size_t *size)
{
    ql_windows w = {.n = (size_t)between(1, 4), .rows = (size_t)between(1, 4), .cols = 1 + group % 8};
    w.channels = channels;
    w.step = channels * (size_t)between(0, 3);
    w.row_stride = (w.cols + bits() % 3) * channels;
    *size = (w.n - 1) * w.step + (w.rows - 1) * w.row_stride + w.cols * channels;
    return w;
}

/* Results, and behind them where they lie. */
static results max_pool(const ql_kernels *kernels, size_t n, size_t group)
{
    size_t size;
    const ql_windows w = any_windows(n, group, &size);
    const float *x = any_floats(2, size);
    float *y = array(RESULT, 2 * w.n * n * sizeof *y);
    const int32_t pixel = between(0, 1000);
    if (bits() % 2) {
        kernels->max_pool_f32(x, &w, pixel, y, (int32_t *)(y + w.n * n));
    } else {
        kernels->max_pool_f32(x, &w, pixel, y, NULL);
        memset(y + w.n * n, 0, w.n * n * sizeof *y);
    }
    (void)floats(y, w.n * n, 0);
    return (results){y, 2 * w.n * n * sizeof *y, 0};
}

static results min_windows(const ql_kernels *kernels, size_t n, size_t group)
{
    size_t size;
    const ql_windows w = any_windows(n, group, &size);
    const float *x = any_floats(2, size);
    float *y = array(RESULT, w.n * n * sizeof *y);
    kernels->min_windows_f32(x, &w, y);
    return floats(y, w.n * n, 0);
}

static results average_windows(const ql_kernels *kernels, size_t n, size_t group)
{
    size_t size;
    const ql_windows w = any_windows(n, group, &size);
    const float *x = any_floats(2, size);
    float *y = array(RESULT, w.n * n * sizeof *y);
    kernels->average_windows_f32(x, &w, between(1, 40), y);
    return floats(y, w.n * n, 0);
}

static results add_products(const ql_kernels *kernels, size_t channels, size_t group)
{
    const size_t n = 1 + group % 7, x_step = channels * (size_t)between(0, 2) + bits() % 3;
    const size_t y_step = channels + bits() % 3;
    const float *x = any_floats(2, (n - 1) * x_step + channels), *w = any_floats(3, channels);
    float *y = any_floats(RESULT, (n - 1) * y_step + channels);
    kernels->add_products_f32(x, x_step, w, n, channels, y, y_step);
    return floats(y, (n - 1) * y_step + channels, 0);
}

static results add_dots(const ql_kernels *kernels, size_t channels, size_t n)
{
    const size_t x_step = channels * (size_t)between(0, 2) + bits() % 3;
    const float *x = any_floats(2, (n - 1) * x_step + channels), *y = any_floats(3, n * channels);
    float *sums = any_floats(RESULT, channels);
    kernels->add_dots_f32(x, x_step, y, n, channels, sums);
    return floats(sums, channels, 0);
}

static results add_bias(const ql_kernels *kernels, size_t cols, size_t group)
{
    const size_t rows = 1 + group % 7, x_stride = cols + bits() % 3, y_stride = cols + bits() % 3;
    const float *x = any_floats(2, (rows - 1) * x_stride + cols), *bias = any_floats(3, cols);
    float *y = any_floats(RESULT, (rows - 1) * y_stride + cols);
    const float low = bits() % 2 ? 0.0f : -INFINITY, high = bits() % 2 ? 6.0f : INFINITY;
    kernels->add_bias_f32(x, x_stride, rows, cols, bias, low, high, y, y_stride);
    return floats(y, (rows - 1) * y_stride + cols, 0);
}

static results depthwise_row(const ql_kernels *kernels, size_t channels, size_t group)
{
    enum { MOST_TAPS = 5 };
    size_t offset[MOST_TAPS], reach = 0;
    const size_t taps = 1 + group % MOST_TAPS, n = (size_t)between(1, 10), step = channels * (size_t)between(1, 2);
    for (size_t t = 0; t < taps; t++) {
        offset[t] = bits() % 50;
        reach = offset[t] > reach ? offset[t] : reach;
    }
    ql_depthwise_row row = {.x = any_floats(2, (n - 1) * step + reach + channels),
                            .x_step = step,
                            .n = n,
                            .channels = channels,
                            .taps = taps,
                            .offset = offset,
                            .w = any_floats(3, taps * channels),
                            .bias = any_floats(4, channels),
                            .low = bits() % 2 ? 0.0f : -INFINITY,
                            .y = array(RESULT, n * channels * sizeof(float))};
    row.high = bits() % 2 ? 6.0f : INFINITY;
    kernels->depthwise_row_f32(&row);
    return floats(row.y, n * channels, 0);
}

const subject images_subjects[] = {
    {"max_pool_f32", max_pool},
    {"min_windows_f32", min_windows},
    {"average_windows_f32", average_windows},
    {"add_products_f32", add_products},
    {"add_dots_f32", add_dots},
    {"add_bias_f32", add_bias},
    {"depthwise_row_f32", depthwise_row},
    {0},
};
