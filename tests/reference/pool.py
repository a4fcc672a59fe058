"""Pooling of codes and floats, [images][height][width][channels]."""

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


def pixels(part):
    """The pixels of windows, rows first, each (images, channels)."""
    return (part[:, i, j] for i in range(part.shape[1]) for j in range(part.shape[2]))


def greatest(part):
    """The greatest pixel, or the first NaN; of equal ones the first."""
    first, *others = pixels(part)
    for pixel in others:
        first = np.where((pixel > first) | (np.isnan(pixel) & ~np.isnan(first)), pixel, first)
    return first


def mean_float64(part):
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum((pixel.astype(np.float64) for pixel in pixels(part)), start=np.float64(0))
        return total / (part.shape[1] * part.shape[2])


def max_pool_float(x, size, stride, padding):
    return pooled(x, size, stride, padding, greatest)


def avg_pool_float(x, size, stride, padding):
    """Sums in float64, rounded once after the division."""
    return pooled(x, size, stride, padding, mean_float64)
