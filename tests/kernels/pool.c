/* Pooling. */
#include "harness.h"

/* Windows of n channels, as far apart as they like; the last ends where x does. */
static ql_windows any_windows(size_t channels, size_t group, size_t *size)
{
    ql_windows w = {.n = (size_t)between(1, 4), .rows = (size_t)between(1, 4), .cols = 1 + group % 8};
    w.channels = channels;
    w.step = channels * (size_t)between(0, 3);
    w.row_stride = (w.cols + bits() % 3) * channels;
    *size = (w.n - 1) * w.step + (w.rows - 1) * w.row_stride + w.cols * channels;
    return w;
}

static results pool(ql_max_pool_kernel *kernel, size_t n, size_t group)
{
    size_t size;
    const ql_windows w = any_windows(n, group, &size);
    const bool is_signed = bits() % 2;
    uint8_t *x = any_codes(2, size), *y = array(RESULT, w.n * n);
    kernel(x, &w, is_signed, y);
    return (results){y, w.n * n, false};
}

static results max_pool(const ql_kernels *kernels, size_t n, size_t group)
{
    return pool(kernels->max_pool_x8, n, group);
}

static results avg_pool(const ql_kernels *kernels, size_t n, size_t group)
{
    return pool(kernels->avg_pool_x8, n, group);
}

const subject pool_subjects[] = {
    {"max_pool_x8", max_pool},
    {"avg_pool_x8", avg_pool},
    {0},
};
