"""Numbers to codes of uniform grids and back, element by element."""

import numpy as np
from reference.basics import F32, code_dtype, spread


def uniform(seed, index):
    """24 random bits for each index of an element, as float32 in [0, 1): a hash, in 64-bit arithmetic of the seed
    (splitmix64) and in 32-bit arithmetic of the index (a mixer of three multiplications)."""
    key = (seed + 0x9E3779B97F4A7C15) % 2**64
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) % 2**64
    key ^= key >> 31
    index = np.asarray(index, np.uint64)
    low, high = (index & np.uint64(2**32 - 1)).astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    h = low ^ np.uint32(key % 2**32)
    h = (h ^ (h >> np.uint32(17))) * np.uint32(0xED5AD4BB)
    h = (h ^ (h >> np.uint32(11))) + np.uint32(key >> 32) + high * np.uint32(0x9E3779B9)
    h = h * np.uint32(0xAC4C1B51)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x31848BAB)
    h = h ^ (h >> np.uint32(14))
    return (h >> np.uint32(8)).astype(F32) * F32(2.0**-24)


def round_even(t, seed):
    return np.rint(t)


def round_away(t, seed):
    """To the nearest; of two, to the one farther from zero."""
    return np.trunc(t) + np.sign(t) * (np.abs(t - np.trunc(t)) >= F32(0.5))


def round_stochastic(t, seed):
    """Up with the probability that the fraction says; the number of an element counts in C order."""
    u = uniform(seed, np.arange(t.size).reshape(t.shape))
    return np.floor(t) + (u < t - np.floor(t))


ROUND = {"even": round_even, "away": round_away, "stochastic": round_stochastic}


def steps(x, scale, zero_point, qmin, qmax, rounding="even", seed=0, **groups):
    """clamp(round(x / scale), qmin - z, qmax - z): how many steps of `scale` x lies from zero. NaN is 0 steps."""
    x = np.asarray(x, F32)
    zero_point = spread(zero_point, x.shape, **groups)
    with np.errstate(all="ignore"):
        nearest = ROUND[rounding](x / spread(scale, x.shape, **groups).astype(F32), seed)
    nearest = np.where(np.isnan(x), F32(0), nearest)
    return np.clip(nearest, (qmin - zero_point).astype(F32), (qmax - zero_point).astype(F32)).astype(np.int32)


def quantize(x, scale, zero_point, qmin, qmax, rounding="even", seed=0, **groups):
    """code = steps + z."""
    nearest = steps(x, scale, zero_point, qmin, qmax, rounding, seed, **groups)
    return (nearest + spread(zero_point, np.shape(x), **groups)).astype(code_dtype(qmin, qmax))


def dequantize(codes, scale, zero_point, **groups):
    """x = float32(code - z) * scale."""
    scale, zero_point = (spread(parameter, codes.shape, **groups) for parameter in (scale, zero_point))
    with np.errstate(over="ignore", under="ignore"):
        return (codes.astype(np.int32) - zero_point.astype(np.int32)).astype(F32) * scale.astype(F32)


def fake_quantize(x, scale, zero_point, qmin, qmax, rounding="even", seed=0, **groups):
    """dequantize(quantize(x))."""
    codes = quantize(x, scale, zero_point, qmin, qmax, rounding, seed, **groups)
    return dequantize(codes, scale, zero_point, **groups)


def in_range(x, scale, zero_point, qmin, qmax, **groups):
    """Whether qmin <= rint(x / scale) + z <= qmax; NaN is not."""
    x = np.asarray(x, F32)
    with np.errstate(all="ignore"):
        code = np.rint(x / spread(scale, x.shape, **groups).astype(F32)) + spread(zero_point, x.shape, **groups)
    return (qmin <= code) & (code <= qmax)
