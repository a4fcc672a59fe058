"""Types, the parameter of every element, and the product that is rounded once."""

import numpy as np

F32 = np.float32
INT32 = np.iinfo(np.int32)
TINY, HUGE = np.finfo(F32).tiny, np.finfo(F32).max  # the smallest normal float32, and the greatest


def code_dtype(qmin, qmax):
    """The dtype of codes from qmin to qmax: 8 bits where they fit, else 16."""
    candidates = (np.int8, np.int16) if qmin < 0 else (np.uint8, np.uint16)
    return next(np.dtype(t) for t in candidates if np.iinfo(t).min <= qmin and qmax <= np.iinfo(t).max)


def spread(parameter, shape, group_size=0, group_axis=0):
    """The parameter of every element of data of this shape: along `group_axis` neighbours in groups of `group_size`
    share one, of which the last may be shorter; along the others it broadcasts."""
    parameter = np.asarray(parameter)
    if group_size and parameter.ndim == len(shape) and parameter.shape[group_axis] not in (1, shape[group_axis]):
        parameter = np.repeat(parameter, group_size, axis=group_axis)
        parameter = np.take(parameter, range(shape[group_axis]), axis=group_axis)
    return np.broadcast_to(parameter.reshape(()) if parameter.size == 1 else parameter, shape)


def at_least(y, low):
    """low where y is less than low, else y: NaN stays NaN."""
    return np.where(y < F32(low), F32(low), y).astype(F32)


def fma(x, y, z):
    """float32(x * y + z), rounded once. x * y must be exact in float64, which it is for a float32 and a code.

    The sum in float64 is rounded to odd (its lowest bit is set when something was lost); a second rounding to the
    much shorter float32 then gives what a single one gives (Boldo and Melquiond 2008).
    """
    product, addend = x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)
    with np.errstate(invalid="ignore"):
        total = product + addend
        part = total - product
        lost = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64)
    toward = np.where((lost > 0) == (total > 0), 1, -1)
    inexact_even = np.isfinite(total) & (lost != 0) & (bits & 1 == 0)
    with np.errstate(over="ignore", under="ignore"):
        return np.where(inexact_even, bits + toward, bits).view(np.float64).astype(F32)
