"""Pooling of codes, [images][height][width][channels]."""

import numpy as np


def windows(x, size, stride, padding):
    """For each output pixel (i, j): its place, and what of its window lies inside the image."""
    (top, bottom), (left, right) = padding
    height = (x.shape[1] + top + bottom - size[0]) // stride[0] + 1
    width = (x.shape[2] + left + right - size[1]) // stride[1] + 1
    for i in range(height):
        for j in range(width):
            row, col = i * stride[0] - top, j * stride[1] - left
            yield (i, j), x[:, max(row, 0) : row + size[0], max(col, 0) : col + size[1]]


def pooled(x, size, stride, padding, function):
    parts = dict(windows(x, size, stride, padding))
    height, width = (n + 1 for n in max(parts))
    y = np.empty((x.shape[0], height, width, x.shape[3]), x.dtype)
    for (i, j), part in parts.items():
        y[:, i, j] = function(part)
    return y


def max_pool(x, size, stride, padding):
    return pooled(x, size, stride, padding, lambda part: part.max(axis=(1, 2)))


def mean_away(part):
    """Of integers, rounded half away from zero."""
    count = part.shape[1] * part.shape[2]
    total = part.sum(axis=(1, 2), dtype=np.int64)
    return np.sign(total) * ((np.abs(total) + count // 2) // count)


def avg_pool(x, size, stride, padding):
    return pooled(x, size, stride, padding, mean_away)
