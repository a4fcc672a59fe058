"""Codes of any list of values, and the lists that fit given data best."""

import math
from fractions import Fraction
from functools import cache

import numpy as np
from reference.basics import F32


def nearest_code(t, codebook):
    """The code of the codebook's value nearest to each t, as real numbers: of two equally near the even code, and of
    two even or two odd codes that of the lesser value. NaN is taken for 0, infinities go to the ends. Values that are
    not finite have no code; of equal ones the first has."""
    finite = np.flatnonzero(np.isfinite(codebook))
    values, first = np.unique(codebook[finite].astype(np.float64), return_index=True)
    codes = finite[first]
    t = np.where(np.isnan(t), F32(0), t).astype(np.float64)
    upper = np.searchsorted(values, t).clip(min(1, len(values) - 1), len(values) - 1)
    lower = np.maximum(upper - 1, 0)
    low, high = values[lower], values[upper]
    side = 2 * t - (low + high)  # within 1e-15 of |low| + |high|; infinite if t is
    for i in np.argwhere(np.abs(side) <= 1e-12 * (np.abs(low) + np.abs(high))):
        i = tuple(i)
        exact = 2 * Fraction(t[i]) - Fraction(low[i]) - Fraction(high[i])
        side[i] = (exact > 0) - (exact < 0)
    odd_to_even = (codes[lower] % 2 == 1) & (codes[upper] % 2 == 0)
    wins = (side > 0) | ((side == 0) & odd_to_even)
    return np.where(wins, codes[upper], codes[lower]).astype(np.uint8)


def quantize_codebook(x, scale, codebook):
    """nearest_code(x / scale). codebook: (entries,) for all, or one for each element: x.shape + (entries,)."""
    with np.errstate(all="ignore"):
        t = np.asarray(x, F32) / np.asarray(scale, F32)
    if codebook.ndim == 1:
        return nearest_code(t, codebook)
    codes = [nearest_code(t[i], codebook[i]) for i in np.ndindex(t.shape)]
    return np.array(codes, np.uint8).reshape(t.shape)


def dequantize_codebook(codes, scale, codebook):
    """x = scale * codebook[code], with codebooks as above."""
    own = np.broadcast_to(codebook, (*codes.shape, codebook.shape[-1]))
    values = np.take_along_axis(own, codes[..., None].astype(np.intp), -1)[..., 0]
    with np.errstate(all="ignore"):
        return np.asarray(scale, F32) * values


def codebook_error(x, codebook, weights=None):
    """The summed squared distance of x from the nearest entries, in float64."""
    x, entries = np.ravel(x).astype(np.float64), np.asarray(codebook, np.float64)
    thresholds = (entries[1:] + entries[:-1]) / 2
    distance = x - entries[np.searchsorted(thresholds, x)]
    return float(np.dot(distance**2, np.ones(x.size) if weights is None else np.ravel(weights)))


def filled_up(values, entries):
    """The distinct float32 values, ascending, and the next greater floats up to as many as asked for."""
    values = list(np.unique(np.asarray(values, F32) + F32(0)))
    while len(values) < entries:
        values.append(np.nextafter(values[-1], F32(np.inf)))
    return np.array(values, F32)


def kmeans(x, entries, weights=None):
    """The codebook of the least codebook_error: cells of sorted values, all cuts tried."""
    x = np.asarray(x, np.float64)
    weights = np.ones(x.size) if weights is None else np.asarray(weights, np.float64)
    values = np.unique(x[weights > 0])
    mass = np.array([weights[x == value].sum() for value in values])
    n, cells = len(values), min(entries, len(values))

    def mean(i, j):
        return values[i] + np.dot(mass[i:j], values[i:j] - values[i]) / mass[i:j].sum()

    @cache
    def cost(i, j):
        return np.dot(mass[i:j], (values[i:j] - mean(i, j)) ** 2)

    best = [[(cost(0, j), 0) if j else (math.inf, 0) for j in range(n + 1)]]
    for _ in range(1, cells):
        best.append(
            [min([(best[-1][i][0] + cost(i, j), i) for i in range(j)] or [(math.inf, 0)]) for j in range(n + 1)]
        )
    means, end = [], n
    for layer in reversed(best):
        start = layer[end][1]
        means.append(mean(start, end))
        end = start
    return filled_up(means, entries)


def quantiles(x, entries, weights=None):
    """Entry i: the least value at or below which (i + 0.5) / entries of the mass lies."""
    order = np.argsort(x)
    weights = np.ones(np.size(x)) if weights is None else np.asarray(weights, np.float64)
    mass = np.cumsum(weights[order])
    wanted = (np.arange(entries) + 0.5) / entries * mass[-1]
    return filled_up(np.asarray(x, F32)[order][np.searchsorted(mass, wanted)], entries)
