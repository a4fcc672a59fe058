"""Sums and products of codes on grids of their own. A grid is (scale, zero point)."""

import math

import numpy as np
from reference.basics import F32
from reference.requantization import quantize_multiplier, scale_fixed


def add_float(a, b, grid_a, grid_b, grid_y, qmin, qmax, signs=(1, 1)):
    """XNNPACK's: integers of 21 bits stand for the ratios of scales, ties go up; `signs` (1, -1) subtract."""
    with np.errstate(under="ignore"):
        ratios = [F32(scale) / F32(grid_y[0]) for scale, _ in (grid_a, grid_b)]
    greatest = max(ratios)
    shift = min(20 - (math.frexp(greatest)[1] - 1), 31)
    total = sum(
        (x.astype(np.int64) - zero_point) * int(np.rint(float(ratio) * 2.0**shift)) * sign
        for x, ratio, (_, zero_point), sign in zip((a, b), ratios, (grid_a, grid_b), signs, strict=True)
    )
    rounded = total + 2 ** (shift - 1)
    assert np.abs(rounded).max(initial=0) < 2**31
    return np.clip((rounded >> shift) + grid_y[1], qmin, qmax).astype(a.dtype)


def add_fixed(a, b, grid_a, grid_b, grid_y, qmin, qmax, signs=(1, 1)):
    """TensorFlow Lite's: both at twice the greater scale, 20 bits to the left, by rule B, and their sum once more."""
    (scale_a, zero_a), (scale_b, zero_b), (scale_y, zero_y) = ((float(F32(s)), z) for s, z in (grid_a, grid_b, grid_y))
    both = 2 * max(scale_a, scale_b)
    terms = [
        scale_fixed((x.astype(np.int64) - zero_point) << 20, *quantize_multiplier(scale / both)) * sign
        for x, scale, zero_point, sign in ((a, scale_a, zero_a, signs[0]), (b, scale_b, zero_b, signs[1]))
    ]
    steps = scale_fixed(sum(terms), *quantize_multiplier(both / (2**20 * scale_y)))
    return np.clip(steps + zero_y, qmin, qmax).astype(a.dtype)


def product(a, b, grid_a, grid_b):
    """What codes differ from their zero points by, multiplied."""
    return (a.astype(np.int64) - grid_a[1]) * (b.astype(np.int64) - grid_b[1])


def multiply_float(a, b, grid_a, grid_b, grid_y, qmin, qmax):
    """XNNPACK's: rule A with a factor of float32, rounded twice."""
    scale, zero_point = F32(grid_y[0]), grid_y[1]
    with np.errstate(under="ignore", over="ignore"):
        factor = F32(grid_a[0]) * F32(grid_b[0]) / scale
        steps = np.clip(product(a, b, grid_a, grid_b).astype(F32) * factor, qmin - zero_point, qmax - zero_point)
    return (np.rint(steps).astype(np.int64) + zero_point).astype(a.dtype)


def multiply_aarch64(a, b, grid_a, grid_b, grid_y, qmin, qmax):
    """XNNPACK's on AArch64: the same factor, an exact product, ties up."""
    with np.errstate(under="ignore", over="ignore"):
        factor = F32(grid_a[0]) * F32(grid_b[0]) / F32(grid_y[0])
    mantissa, exponent = math.frexp(min(factor, F32(2**15)))
    steps = product(a, b, grid_a, grid_b) * math.ldexp(mantissa, 24)  # whole, below 2**41
    rounded = np.floor(np.ldexp(steps, exponent - 24) + 0.5)  # exact: 53 bits hold what is not below 2**-12
    return (np.clip(rounded, qmin - grid_y[1], qmax - grid_y[1]).astype(np.int64) + grid_y[1]).astype(a.dtype)


def multiply_fixed(a, b, grid_a, grid_b, grid_y, qmin, qmax):
    """TensorFlow Lite Micro's: rule B with a multiplier of double precision."""
    scale_a, scale_b, scale_y = (float(F32(s)) for s, _ in (grid_a, grid_b, grid_y))
    steps = scale_fixed(product(a, b, grid_a, grid_b), *quantize_multiplier(scale_a * scale_b / scale_y))
    return np.clip(steps + grid_y[1], qmin, qmax).astype(a.dtype)
