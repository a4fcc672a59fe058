/* Convolutions of channels by themselves. */
#include <stdlib.h>

#include "harness.h"

/* n channels by themselves, windows of a few taps that come from k; in place or with a border. */
static results depthwise(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    const size_t shape[] = {1 + k % 5, 1 + k / 5 % 4, 1, n}, stride = 1 + k % 2, before = k % 3 % 2,
                 extra = 2 * stride + 2;
    uint8_t *codes = any_codes(0, shape[0] * shape[1] * n);
    ql_filter *w;
    if (ql_filter_pack(codes, true, shape, NULL, n, false, &w) != QL_OK)
        exit(2);
    const ql_images x = {.count = 1,
                         .height = shape[0] + extra,
                         .width = shape[1] + extra,
                         .channels = n,
                         .data = any_codes(1, (shape[0] + extra) * (shape[1] + extra) * n),
                         .zero_point = between(0, 255)};
    const ql_window window = {.stride = {stride, stride},
                              .dilation = {1, 1},
                              .before = {before, before},
                              .out = {extra / stride + 1, extra / stride + 1}};
    const ql_epilogue epilogue = any_epilogue(n);
    const size_t size = window.out[0] * window.out[1] * n;
    const size_t bytes = epilogue.store == QL_STORE_S32 || epilogue.store == QL_STORE_F32 ? 4 * size : size;
    void *y = array(RESULT, bytes);
    if (ql_conv(&x, w, &window, NULL, &epilogue, y) != QL_OK)
        exit(2);
    ql_filter_free(w);
    return (results){y, bytes, false};
}

const subject depthwise_subjects[] = {
    {"depthwise_u8s8s32", depthwise},
    {0},
};
