/* Pooling. */
#include "harness.h"

/* Windows of n channels, as far apart as they like; the last ends where x does. */
static ql_windows any_windows(size_t channels, size_t group, size_t *size)
{
    ql_windows w = {.n = (size_t)between(1, 4), .rows = (size_t)between(1, 4), .cols = 1 + group % 8};
    if (channels < 8 && bits() % 2)
        w.cols = (size_t)between(1, 300); /* rows of few channels go by other ways where they are long */
    w.channels = channels;
    w.step = channels * (size_t)between(0, 3);
    w.row_stride = (w.cols + bits() % 3) * channels;
    *size = (w.n - 1) * w.step + (w.rows - 1) * w.row_stride + w.cols * channels;
    return w;
}

static results pool(ql_max_pool_kernel *kernel, unsigned forms, size_t n, size_t group)
{
    size_t size;
    const ql_windows w = any_windows(n, group, &size);
    uint8_t *x = any_codes(2, size), *y = array(RESULT, w.n * n);
    kernel(x, &w, (ql_byte_form)(bits() % forms), y);
    return (results){y, w.n * n, false};
}

static results max_pool(const ql_kernels *kernels, size_t n, size_t group)
{
    return pool(kernels->max_pool_x8, QL_BYTES_DOWNWARD + 1, n, group);
}

static results avg_pool(const ql_kernels *kernels, size_t n, size_t group)
{
    return pool(kernels->avg_pool_x8, QL_BYTES_DOWNWARD, n, group);
}

/* Few pixels, or more than 16 bits hold the sums of. */
static results sum_windows(const ql_kernels *kernels, size_t n, size_t group)
{
    size_t size;
    ql_windows w = any_windows(n, group, &size);
    if (bits() % 4 == 0) {
        w.n = w.rows = 1;
        w.cols = (1 << 20) / n / 3;
        size = w.cols * n;
    }
    uint8_t *x = any_codes(2, size);
    int32_t *sum = array(RESULT, w.n * n * sizeof *sum);
    kernels->sum_windows_u8_s32(x, &w, between(-(1 << 30), 1 << 30), sum);
    return (results){sum, w.n * n * sizeof *sum, false};
}

const subject pool_subjects[] = {
    {"max_pool_x8", max_pool},
    {"avg_pool_x8", avg_pool},
    {"sum_windows_u8_s32", sum_windows},
    {0},
};
