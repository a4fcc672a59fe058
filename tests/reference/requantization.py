"""Sums in int32 to 8-bit codes, by rule A (float) or B (fixed)."""

import math

import numpy as np
from reference.basics import F32, INT32, code_dtype


def code_clamps(bounds, scale, zero_point, qmin, qmax, fixed=False):
    """The codes of the two bounds of an activation. Rule A: rint(bound / scale + z), each step in float32. Rule B: the
    quotient in float32, rounded half away from zero, + z."""
    with np.errstate(over="ignore"):
        steps = F32(bounds) / F32(scale)
    ends = np.trunc(np.float64(steps) + np.copysign(0.5, steps)) if fixed else np.rint(steps + F32(zero_point))
    return tuple(int(end) for end in np.clip(ends + zero_point if fixed else ends, qmin, qmax))


def requantize_float(acc, multiplier, zero_point, qmin, qmax):
    """Rule A: rint(clamp(float32(acc) * multiplier, qmin - z, qmax - z)) + z."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.asarray(acc).astype(F32) * np.asarray(multiplier, F32)
    clamped = np.clip(scaled, F32(qmin - zero_point), F32(qmax - zero_point))
    return (np.rint(clamped).astype(np.int32) + zero_point).astype(code_dtype(qmin, qmax))


def quantize_multiplier(value):
    """(q, e) with value ~ q * 2**(e - 31) and q in [2**30, 2**31), or (0, 0) for less than 2**-32."""
    mantissa, e = math.frexp(value)
    q = math.floor(mantissa * 2**31 + 0.5)
    if q == 2**31:
        q, e = q // 2, e + 1
    return (0, 0) if e < -31 else (q, e)


def scale_fixed(x, q, e):
    """x times q * 2**(e - 31), in int64: a shift to the left that saturates, a doubled high product rounded to nearest,
    then a division by a power of two rounded half away from zero."""
    q, e = np.asarray(q, np.int64), np.asarray(e, np.int64)
    shifted = np.clip(np.asarray(x).astype(np.int64) << np.maximum(e, 0), INT32.min, INT32.max)
    high = (shifted * q + (1 << 30)) >> 31
    divisor = np.int64(1) << np.maximum(-e, 0)
    return np.sign(high) * ((np.abs(high) + divisor // 2) // divisor)


def requantize_fixed(acc, q, e, zero_point, qmin, qmax):
    """Rule B: clamp(scale_fixed(acc) + z, qmin, qmax)."""
    return np.clip(scale_fixed(acc, q, e) + zero_point, qmin, qmax).astype(code_dtype(qmin, qmax))
