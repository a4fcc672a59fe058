"""Transposed convolutions [images][height][width][channels] with weights [kernel_h][kernel_w][in][out]: pixel (i, j) by
tap (u, v) goes to result (i * stride + u, j * stride + v), of which some are cut off."""

import numpy as np
from reference.basics import F32, INT32, fma


def scattered(x, weight, stride, padding, output_padding, dtype, add):
    """What `add` makes of zeros, (results, pixels, weights of a tap), tap by tap from the last: pixels ascending."""
    (kh, kw, _, out), (height, width) = weight.shape, x.shape[1:3]
    spans = [(n - 1) * s + 1 for n, s in zip((height, width), stride, strict=True)]
    whole = [span + k - 1 + more for span, k, more in zip(spans, (kh, kw), output_padding, strict=True)]
    y = np.zeros((len(x), *whole, out), dtype)
    for u in reversed(range(kh)):
        for v in reversed(range(kw)):
            reached = y[:, u : u + spans[0] : stride[0], v : v + spans[1] : stride[1]]
            reached[...] = add(reached, x, weight[u, v])
    return y[:, padding[0] : whole[0] - padding[1], padding[2] : whole[1] - padding[3]]


def conv_transpose_integer(x, w, zx, zw, stride, padding, output_padding):
    """sum (x - zx)(w - zw[o]) in int64."""
    centred, weight = x.astype(np.int64) - zx, w.astype(np.int64) - np.asarray(zw, np.int64)
    options = stride, padding, output_padding
    acc = scattered(centred, weight, *options, np.int64, lambda y, pixels, tap: y + pixels @ tap)
    if acc.size and (acc.min() < INT32.min or acc.max() > INT32.max):
        raise OverflowError("the sum leaves int32")
    return acc.astype(np.int32)


def conv_transpose(x, weight, stride, padding, output_padding):
    """The same of floats: one fma each, channels ascending within a pixel, from 0."""

    def add(y, pixels, tap):
        for c in range(len(tap)):
            y = fma(pixels[..., c, None], tap[c], y)
        return y

    return scattered(x, weight, stride, padding, output_padding, F32, add)
