"""Extremes, moments, and the fixed order in which float64 sums are taken."""

import math

import numpy as np
from reference.basics import F32, spread


def eight_sums(x):
    """Sum of [outer, inner]: along inner in turn to eight partial sums, which are added in pairs."""
    partial = np.zeros(8)
    for row in x:
        for i in range(0, len(row), 8):
            partial[: len(row) - i] += row[i : i + 8]
    pairs = partial[:4] + partial[4:]
    return (pairs[0] + pairs[2]) + (pairs[1] + pairs[3])


def minmax(x, axis=None):
    """Least and greatest value, of everything or of each channel along `axis`. NaN is passed over, both zeros are +0,
    and nothing has +inf and -inf."""
    x = np.asarray(x, F32)
    others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis)
    low = np.fmin.reduce(x, axis=others, initial=np.inf) + F32(0)
    high = np.fmax.reduce(x, axis=others, initial=-np.inf) + F32(0)
    return low, high


def minmax_per_parameter(x, shape, **groups):
    """Least and greatest of the values that share a parameter, in arrays of the parameters' shape; as minmax."""
    x = np.asarray(x, F32)
    number = spread(np.arange(math.prod(shape)).reshape(shape), x.shape, **groups)
    low, high = np.full(math.prod(shape), np.inf, F32), np.full(math.prod(shape), -np.inf, F32)
    np.fmin.at(low, number.ravel(), x.ravel())
    np.fmax.at(high, number.ravel(), x.ravel())
    return (low + F32(0)).reshape(shape), (high + F32(0)).reshape(shape)


def moments(x, shape, **groups):
    """Sums of x, x**2 and |x| over the values that share a parameter: neighbours by eight_sums, these in order."""
    own = spread(np.arange(math.prod(shape)).reshape(shape), x.shape, **groups).ravel()
    values, sums = np.asarray(x, np.float64).ravel(), np.zeros((3, math.prod(shape)))
    for part in np.split(np.arange(values.size), np.flatnonzero(np.diff(own)) + 1):
        v = values[part]
        sums[:, own[part[0]]] += [eight_sums(terms[None]) for terms in (v, v * v, np.abs(v))]
    return sums.reshape(3, *shape)
