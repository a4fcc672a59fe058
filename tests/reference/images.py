"""Float32 images (count, height, width, channels): convolution, pools, and their gradients.

`padding` is (top, bottom, left, right), `stride` and `dilation` are (height, width).
"""

import numpy as np
from reference.basics import F32, fma


def pixels(length, size, stride, dilation, before, after):
    """For each window along an axis the numbers of its pixels, which may lie outside."""
    count = (length + before + after - (size - 1) * dilation - 1) // stride + 1
    return [[i * stride + u * dilation - before for u in range(size)] for i in range(count)]


def axes(shape, kernel, stride, dilation, padding):
    rows = pixels(shape[1], kernel[0], stride[0], dilation[0], *padding[:2])
    return rows, pixels(shape[2], kernel[1], stride[1], dilation[1], *padding[2:])


def columns(x, kernel, stride, dilation, padding):
    """The pixels of each window, 0 outside: (count, out_h, out_w, kernel_h, kernel_w, channels)."""
    rows, cols = axes(x.shape, kernel, stride, dilation, padding)
    low = max(0, *(-i for r in (*rows, *cols) for i in r))
    high = max(0, *(i for r in (*rows, *cols) for i in r))
    padded = np.pad(x, ((0, 0), (low, high), (low, high), (0, 0)))
    rows, cols = np.array(rows) + low, np.array(cols) + low
    return padded[:, rows[:, None, :, None], cols[None, :, None, :]]


def add_columns(gradient, shape, stride, dilation, padding):
    """Adds each element of columns to its pixel, windows ascending, in their precision."""
    x = np.zeros(shape, gradient.dtype)
    rows, cols = axes(shape, gradient.shape[3:5], stride, dilation, padding)
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            for u, r in enumerate(row):
                for v, c in enumerate(col):
                    if 0 <= r < shape[1] and 0 <= c < shape[2]:
                        x[:, r, c] += gradient[:, i, j, u, v]
    return x


def conv(x, weight, stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0), groups=1):
    """sum_{u,v,c} of pixel times weight, one fma each, in order, from 0; padding is zeros."""
    kh, kw, channels, out = weight.shape
    seen = columns(x, (kh, kw), stride, dilation, padding)
    group = np.arange(out) // (out // groups)
    total = np.zeros((*seen.shape[:3], out), F32)
    for u in range(kh):
        for v in range(kw):
            for c in range(channels):
                total = fma(seen[:, :, :, u, v, group * channels + c], weight[u, v, c], total)
    return total


def depthwise_input_gradient(gradient, weight, shape, stride, dilation, padding):
    """Of weights (kernel_h, kernel_w, channels): one fma each, windows ascending."""
    x = np.zeros(shape, F32)
    rows, cols = axes(shape, weight.shape[:2], stride, dilation, padding)
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            for u, r in enumerate(row):
                for v, c in enumerate(col):
                    if 0 <= r < shape[1] and 0 <= c < shape[2]:
                        x[:, r, c] = fma(gradient[:, i, j], weight[u, v], x[:, r, c])
    return x


def depthwise_weight_gradient(x, gradient, kernel, stride, dilation, padding, stretch):
    """One fma each within `stretch` rows of windows, whose sums are added in float64. Pixels outside do not count."""
    count, out_h, out_w, channels = gradient.shape
    rows, cols = axes(x.shape, kernel, stride, dilation, padding)
    total = np.zeros((*kernel, channels))
    for first in range(0, count * out_h, stretch):
        sums = np.zeros((*kernel, channels), F32)
        for n in range(first, min(count * out_h, first + stretch)):
            image, i = divmod(n, out_h)
            for u, r in enumerate(rows[i]):
                for j in range(out_w):
                    for v, c in enumerate(cols[j]):
                        if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                            sums[u, v] = fma(x[image, r, c], gradient[image, i, j], sums[u, v])
        total += sums
    return total.astype(F32)


def max_pool(x, size, stride, padding):
    """The greatest element of each window and channel, or the first NaN, and the pixel where it lies."""
    rows, cols = axes(x.shape, size, stride, (1, 1), padding)
    y = np.full((len(x), len(rows), len(cols), x.shape[3]), -np.inf, F32)
    index = np.full(y.shape, -1, np.int32)
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            for r in (r for r in row if 0 <= r < x.shape[1]):
                for c in (c for c in col if 0 <= c < x.shape[2]):
                    most, here = y[:, i, j], x[:, r, c]
                    wins = (here > most) | (np.isnan(here) & ~np.isnan(most)) | (index[:, i, j] < 0)
                    y[:, i, j] = np.where(wins, here, most)
                    index[:, i, j] = np.where(wins, r * x.shape[2] + c, index[:, i, j])
    return y, index


def max_pool_gradient(gradient, index, shape):
    x = np.zeros((shape[0], shape[1] * shape[2], shape[3]), F32)
    n, c = np.arange(shape[0])[:, None], np.arange(shape[3])[None]
    for i in range(gradient.shape[1]):
        for j in range(gradient.shape[2]):
            x[n, index[:, i, j], c] += gradient[:, i, j]
    return x.reshape(shape)


def average_pool(x, size, stride, padding):
    """The mean of each window and channel, in float64, rounded once; padding does not count."""
    rows, cols = axes(x.shape, size, stride, (1, 1), padding)
    y = np.empty((len(x), len(rows), len(cols), x.shape[3]), F32)
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            total, count = np.zeros((len(x), x.shape[3])), 0
            for r in (r for r in row if 0 <= r < x.shape[1]):
                for c in (c for c in col if 0 <= c < x.shape[2]):
                    total, count = total + x[:, r, c], count + 1
            y[:, i, j] = total / count
    return y


def average_pool_gradient(gradient, shape, size, stride, padding):
    x = np.zeros(shape, F32)
    rows, cols = axes(shape, size, stride, (1, 1), padding)
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            inside = [(r, c) for r in row for c in col if 0 <= r < shape[1] and 0 <= c < shape[2]]
            for r, c in inside:
                x[:, r, c] += gradient[:, i, j] / F32(len(inside))
    return x
