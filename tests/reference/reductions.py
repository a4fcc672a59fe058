"""Means, sums and extremes along axes of samples, and rows of length 1. A grid is (scale, zero point)."""

import math

import numpy as np
from reference.basics import F32
from reference.pool import greatest
from reference.requantization import quantize_multiplier, scale_fixed


def elements_first(x, axes):
    """What becomes one element, along the first axis, in C order; behind it the samples and what is kept."""
    moved = np.moveaxis(x, [a + 1 for a in axes], range(len(axes)))
    return moved.reshape(math.prod(moved.shape[: len(axes)]), *moved.shape[len(axes) :])


def sum_float(x, grid_x, grid_y, qmin, qmax, is_mean):
    """XNNPACK's, along the first axis: the sum of the codes as they are, in float32 from there on."""
    count, (scale_x, zero_x), (scale_y, zero_y) = len(x), grid_x, grid_y
    with np.errstate(under="ignore"):
        factor = F32(scale_x) / F32(scale_y)
        if is_mean:
            factor = factor * (F32(1) / F32(count))
        offset = F32(zero_y) - F32(count * zero_x) * factor
        steps = x.sum(axis=0, dtype=np.int64).astype(F32) * factor + offset
    return np.clip(np.rint(steps), qmin, qmax).astype(x.dtype)


def sum_fixed(x, grid_x, grid_y, qmin, qmax, is_mean):
    """TensorFlow Lite's, along the first axis: 1 / count is a part of rule B's multiplier."""
    count, (scale_x, zero_x), (scale_y, zero_y) = len(x) if is_mean else 1, grid_x, grid_y
    mantissa, exponent = quantize_multiplier(float(F32(scale_x)) / float(F32(scale_y)))
    shift = min(count.bit_length() - 1, 31 + exponent)
    total = (x.astype(np.int64) - zero_x).sum(axis=0)
    steps = scale_fixed(total, (mantissa << shift) // count, exponent - shift)
    return np.clip(steps + zero_y, qmin, qmax).astype(x.dtype)


def sum_of_floats(x, is_mean):
    """Along the first axis, in float64, divided and rounded once."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum((part.astype(np.float64) for part in x), start=np.float64(0))
        return (total / (len(x) if is_mean else 1)).astype(F32)


def greatest_of(x):
    """Along the first axis."""
    return greatest(x[None, :, None]) if x.dtype == F32 else x.max(axis=0)


def least_of(x):
    return -greatest_of(-x) if x.dtype == F32 else x.min(axis=0)


def normalized_floats(x):
    """Rows, sums in float64 from left to right."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum((x[:, i].astype(np.float64) ** 2 for i in range(x.shape[1])), start=np.float64(0))
        return (x * (1 / np.maximum(np.sqrt(total), 1e-6))[:, None]).astype(F32)


def normalized_codes(x, zero_point):
    """Rows, on Python's integers; the result has the scale 1/128."""
    y = np.empty_like(x)
    middle = 0 if x.dtype == np.int8 else 128
    for row, result in zip(x.astype(np.int64) - zero_point, y, strict=True):
        mantissa, exponent = inverse_root(int((row**2).sum()))
        result[:] = np.clip(scale_fixed(row, mantissa, exponent + 7) + middle, *range_of(x.dtype))
    return y


def range_of(dtype):
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def inverse_root(total):
    """mantissa and exponent of 1 / sqrt(total): Newton's x * 3/2 - x**3 * a/2 on numbers of 28 fraction bits."""
    if total <= 1:
        return 2**31 - 1, 0
    shift = 11
    while total >= 2**29:
        total, shift = total // 4, shift + 1
    pairs = (31 - total.bit_length()) // 2 - 1
    shift -= pairs
    half = (total * 4**pairs // 2 + 1) // 2
    x = 2**28
    for _ in range(5):
        cube = saturated(doubled_high(doubled_high(x, x), x) * 2**6)
        x = saturated((doubled_high(3 * 2**27, x) - doubled_high(half, cube)) * 2**3)
    x = doubled_high(x, math.floor(math.sqrt(0.5) * 2**31 + 0.5))
    return (x * 2**-shift, 0) if shift < 0 else (x, -shift)


def doubled_high(a, b):
    """a * b / 2**31, to the nearest."""
    nudged = a * b + (2**30 if a * b >= 0 else 1 - 2**30)
    return abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)


def saturated(x):
    return min(max(x, -(2**31)), 2**31 - 1)
