"""The state of a calibrator, and what the methods that search it minimize."""

import math

import numpy as np
from reference.basics import F32
from reference.sums import minmax

HISTOGRAM_MIN_EXPONENT = -126  # bins are not narrower than the smallest normal float32
HISTOGRAM_MANTISSA_BITS = 24  # nor than the spacing of floats at the greatest magnitude


def histogram(x, bins):
    """What a calibrator remembers of all values x of a channel, in any order and any number of pieces: a dict.

    Bin b counts the values, zeros left out, with floor(x / 2**exponent) == origin + b. The exponent is the least at
    which `bins` bins reach from min to max."""
    x = np.asarray(x, F32).ravel()
    low, high = (float(bound) for bound in minmax(x))
    exponent, origin = HISTOGRAM_MIN_EXPONENT, 0
    if x.size:
        magnitude = max(-low, high)
        if magnitude > 0:
            exponent = max(exponent, math.frexp(magnitude)[1] - HISTOGRAM_MANTISSA_BITS)
        while math.floor(high * 2.0**-exponent) - math.floor(low * 2.0**-exponent) >= bins:
            exponent += 1
        origin = math.floor(low * 2.0**-exponent)
    numbers = np.floor(x[x != 0].astype(np.float64) * 2.0**-exponent).astype(np.int64)
    counts = np.bincount(numbers - origin, minlength=bins)
    state = {"min": low, "max": high, "exponent": exponent, "origin": origin}
    return state | {"count": x.size, "zeros": x.size - numbers.size}, counts


def bin_edges(state, bins):
    """Left edges of the bins and one right edge more, in float64."""
    return (state["origin"] + np.arange(bins + 1)) * 2.0 ** state["exponent"]


def count_beyond(state, counts, low, high):
    """How many values lie outside [low, high], as if each bin's were spread evenly over it; min and max cut the first
    and the last bin. high = inf, low = -inf: that end is open."""
    edges = np.clip(bin_edges(state, len(counts)), state["min"], state["max"])
    width = np.maximum(np.diff(edges), 1e-300)
    above = counts @ np.clip((edges[1:] - high) / width, 0, 1)
    below = counts @ np.clip((low - edges[:-1]) / width, 0, 1)
    return above + below + state["zeros"] * (not low <= 0 <= high)


def grid_steps(state, counts, scale, zero_point, qmin, qmax):
    """Bins' middles in steps of the grid: before and after rounding and clamping."""
    edges = bin_edges(state, len(counts))
    real = (edges[:-1] + edges[1:]) / 2 / float(scale)
    return real, np.rint(np.clip(real, qmin - int(zero_point), qmax - int(zero_point)))


def expected_error(state, counts, levels):
    """What the mse method minimizes: the squared error when every value takes the nearest of the levels, a bin's values
    lying evenly in it. min and max cut the first and the last bin; exact zeros are where they are."""
    levels = np.unique(np.asarray(levels, np.float64))
    thresholds = (levels[1:] + levels[:-1]) / 2
    edges = np.clip(bin_edges(state, len(counts)), state["min"], state["max"])
    cuts = np.unique(np.concatenate([edges, np.clip(thresholds, state["min"], state["max"])]))
    left, right = cuts[:-1], cuts[1:]
    owner = np.searchsorted(edges, left, side="right") - 1
    level = levels[np.searchsorted(thresholds, (left + right) / 2)]
    with np.errstate(divide="ignore", invalid="ignore"):
        density = counts[owner] / (edges[1:] - edges[:-1])[owner]
    even = density @ (((right - level) ** 3 - (left - level) ** 3) / 3)
    points = np.flatnonzero((edges[1:] == edges[:-1]) & (counts > 0))  # max may stand on the last bin's left edge
    nearest = [np.abs(levels - x).min() ** 2 for x in (*edges[points], 0.0)]
    return float(even + np.dot(nearest, [*counts[points], state["zeros"]]))


def squared_error(state, counts, scale, zero_point, qmin, qmax):
    """The expected error of a uniform grid."""
    return expected_error(state, counts, float(scale) * (np.arange(qmin, qmax + 1) - int(zero_point)))


def divergence(state, counts, scale, zero_point, qmin, qmax):
    """What the entropy method minimizes: the Kullback-Leibler divergence of the quantized histogram q from the
    data's p. p: clipped counts are moved to the outermost bins of the range. q: each level's unclipped counts are
    spread evenly over the level's filled bins; at least 1e-9 each. A range of fewer bins than there are codes is out
    of the question: everything clipped to a single bin would have no divergence at all."""
    real, nearest = grid_steps(state, counts, scale, zero_point, qmin, qmax)
    below, above = real < qmin - int(zero_point) - 0.5, real > qmax - int(zero_point) + 0.5
    inside, reach = counts * ~(below | above), np.flatnonzero(~(below | above))
    if reach.size < qmax - qmin + 1 or not inside.any():
        return math.inf
    p = inside.astype(np.float64)
    p[reach[0]] += counts[below].sum()
    p[reach[-1]] += counts[above].sum()
    q, filled = np.zeros_like(p), np.flatnonzero(p > 0)
    _, level = np.unique(nearest[filled], return_inverse=True)
    q[filled] = (np.bincount(level, inside[filled]) / np.bincount(level))[level]
    p, q = p / counts.sum(), np.maximum(q / inside.sum(), 1e-9)
    return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))
