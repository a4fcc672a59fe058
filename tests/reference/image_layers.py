"""Float layers of images, [images][height][width][channels], in float64: window by window."""

import math

import numpy as np


def sides(padding, lengths, kernel, stride, dilation):
    """((top, bottom), (left, right)) of "same", "valid", a number, or these themselves."""
    if padding == "same":
        result = []
        for length, k, s, d in zip(lengths, kernel, stride, dilation, strict=True):
            total = max((math.ceil(length / s) - 1) * s + (k - 1) * d + 1 - length, 0)
            result.append((total // 2, total - total // 2))
        return tuple(result)
    number = 0 if padding == "valid" else padding
    return ((number, number),) * 2 if isinstance(number, int) else padding


def windows(x, kernel, stride, padding, dilation, outside):
    """For each output pixel (i, j): what its window sees, (images, kernel_h, kernel_w, channels)."""
    x = np.pad(x.astype(np.float64), ((0, 0), *padding, (0, 0)), constant_values=outside)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    height, width = ((n - span) // s + 1 for n, span, s in zip(x.shape[1:3], spans, stride, strict=True))
    for i in range(height):
        for j in range(width):
            rows = slice(i * stride[0], i * stride[0] + spans[0], dilation[0])
            cols = slice(j * stride[1], j * stride[1] + spans[1], dilation[1])
            yield (i, j), x[:, rows, cols]


def by_windows(function, *options):
    """An image of what `function` makes of each window."""
    parts = {place: function(seen) for place, seen in windows(*options)}
    height, width = (n + 1 for n in max(parts))
    return np.stack([np.stack([parts[i, j] for j in range(width)], axis=1) for i in range(height)], axis=1)


def conv2d(x, weight, stride, padding, dilation, groups):
    """sum_{u,v,c} x[u, v, c] * weight[u, v, c, o] of each window, where the group of o has channels of its own."""
    *kernel, channels, outputs = weight.shape
    filters = weight.astype(np.float64).reshape(*kernel, channels, groups, outputs // groups)

    def product(seen):
        parts = seen.reshape(*seen.shape[:3], groups, channels)
        return np.einsum("nuvgc,uvcgo->ngo", parts, filters).reshape(len(x), outputs)

    return by_windows(product, x, kernel, stride, padding, dilation, 0.0)


def max_pool(x, size, stride, padding):
    """float32: the greatest of each window; the padding is none of it."""
    return by_windows(lambda seen: seen.max(axis=(1, 2)), x, size, stride, padding, (1, 1), -np.inf).astype(np.float32)


def average_pool(x, size, stride, padding):
    """float32: the sum of each window in float64, element by element, divided by how many lie inside the image."""

    def mean(seen):
        total = np.zeros((len(seen), seen.shape[3]))
        for u in range(size[0]):
            for v in range(size[1]):
                total += np.nan_to_num(seen[:, u, v])
        return total / (~np.isnan(seen)).sum(axis=(1, 2))

    return by_windows(mean, x, size, stride, padding, (1, 1), np.nan).astype(np.float32)
