"""Sums of codes on grids of their own. A grid is (scale, zero point)."""

import math

import numpy as np
from reference.basics import F32
from reference.requantization import quantize_multiplier, scale_fixed


def add_float(a, b, grid_a, grid_b, grid_y, qmin, qmax):
    """XNNPACK's: integers of 21 bits stand for the ratios of scales, ties go up."""
    with np.errstate(under="ignore"):
        ratios = [F32(scale) / F32(grid_y[0]) for scale, _ in (grid_a, grid_b)]
    greatest = max(ratios)
    shift = min(20 - (math.frexp(greatest)[1] - 1), 31)
    total = sum(
        (x.astype(np.int64) - zero_point) * int(np.rint(float(ratio) * 2.0**shift))
        for x, ratio, (_, zero_point) in zip((a, b), ratios, (grid_a, grid_b), strict=True)
    )
    rounded = total + 2 ** (shift - 1)
    assert np.abs(rounded).max(initial=0) < 2**31
    return np.clip((rounded >> shift) + grid_y[1], qmin, qmax).astype(a.dtype)


def add_fixed(a, b, grid_a, grid_b, grid_y, qmin, qmax):
    """TensorFlow Lite's: both at twice the greater scale, 20 bits to the left, by rule B, and their sum once more."""
    (scale_a, zero_a), (scale_b, zero_b), (scale_y, zero_y) = ((float(F32(s)), z) for s, z in (grid_a, grid_b, grid_y))
    both = 2 * max(scale_a, scale_b)
    terms = [
        scale_fixed((x.astype(np.int64) - zero_point) << 20, *quantize_multiplier(scale / both))
        for x, scale, zero_point in ((a, scale_a, zero_a), (b, scale_b, zero_b))
    ]
    steps = scale_fixed(sum(terms), *quantize_multiplier(both / (2**20 * scale_y)))
    return np.clip(steps + zero_y, qmin, qmax).astype(a.dtype)
