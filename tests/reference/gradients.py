"""What passes back through grids, straight-through, and what their scales get (Esser et al. 2020)."""

import numpy as np
from reference.basics import F32

#: Rows whose sums are added in float32; theirs are added in float64.
BLOCK_ROWS = 128


def sum_rows(terms):
    """The sum of each column, in blocks of rows, one row after the other."""
    total = np.zeros(terms.shape[1])
    for first in range(0, len(terms), BLOCK_ROWS):
        block = np.zeros(terms.shape[1], F32)
        for row in terms[first : first + BLOCK_ROWS]:
            block += row
        total += block
    return total


def through(t, gradient, low, high, moves_inside):
    """What passes, and each element's part of the scale's gradient; t is in steps from zero."""
    r = np.rint(t)
    inside = (low <= r) & (r <= high)
    within = r - t if moves_inside else F32(0)
    return np.where(inside, gradient, F32(0)), gradient * np.where(inside, within, np.clip(r, low, high))


def quantize_gradient(x, gradient, scale, zero_point, group, qmin, qmax, moves_inside=True):
    """The gradients of x, and of the scales (groups, columns) that each `group` rows share."""
    own = [np.repeat(p, group, axis=0)[: len(x)] for p in (scale, zero_point)]
    low, high = (qmin - own[1]).astype(F32), (qmax - own[1]).astype(F32)
    passed, parts = through(x / own[0], gradient, low, high, moves_inside)
    sums = [sum_rows(parts[first : first + group]) for first in range(0, len(x), group)]
    return passed, np.stack(sums).astype(F32)


def requantize_gradient(sums, gradient, multiplier, steps, moves_inside=True):
    """The gradients of the sums' values, of the bias and of the output's scale."""
    low, high, floor, ceiling = map(F32, steps)
    u = sums.astype(F32) * multiplier
    passed, parts = through(np.clip(u, floor, ceiling), gradient, low, high, moves_inside)
    passed = np.where((floor < u) & (u < ceiling), passed, F32(0))
    total = 0.0
    for part in sum_rows(parts):
        total += part
    return passed, sum_rows(passed).astype(F32), total
