"""Tables of 256 codes and softmax."""

import math

import numpy as np
from reference.requantization import quantize_multiplier, scale_fixed

F32 = np.float32


def lookup(codes, table):
    """The entry of each code stands at its byte."""
    return table[codes.view(np.uint8)]


def prelu(x, slope, grid, slope_scale, grid_y, wide, qmin, qmax):
    """TensorFlow Lite's: codes, and products with slopes of integers, by rule B of float32, or `wide`, multipliers."""
    number = np.float64 if wide else F32
    (scale, zero_point), (scale_y, zero_y) = grid, grid_y
    scale, slope_scale, scale_y = number(F32(scale)), number(F32(slope_scale)), number(F32(scale_y))
    with np.errstate(under="ignore"):
        above, below = (quantize_multiplier(float(m)) for m in (scale / scale_y, scale * slope_scale / scale_y))
    steps = x.astype(np.int64) - zero_point
    y = np.where(steps >= 0, scale_fixed(steps, *above), scale_fixed(steps * slope, *below))
    return np.clip(y + zero_y, qmin, qmax).astype(x.dtype)


def softmax_float(x, scale, beta=1.0):
    """In float32, the sum from left to right."""
    lowest = np.iinfo(x.dtype).min
    with np.errstate(over="ignore"):
        power = -(F32(scale) * F32(beta)) * np.arange(256, dtype=F32)
    exp = np.array([math.exp(v) for v in power.tolist()]).astype(F32)
    y = np.empty_like(x)
    for row, result in zip(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]), strict=True):
        e = exp[int(row.max()) - row.astype(np.int64)]
        total = F32(0)
        for value in e:
            total += value
        share = e * (F32(1) / (total * F32(1 / 256)))
        code = np.floor(share) + (share - np.floor(share) >= F32(0.5))
        result[...] = np.minimum(code, 255).astype(np.int64) + lowest
    return y


def softmax_aarch64(x, scale):
    """Exponentials of 16 bits, rule B."""
    lowest = np.iinfo(x.dtype).min
    exp = np.array([math.exp(v) for v in (-F32(scale) * np.arange(256, dtype=F32)).tolist()]).astype(F32)
    exp = np.floor((exp * F32(65535)).astype(np.float64) + 0.5).astype(np.int64)
    y = np.empty_like(x)
    for row, result in zip(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]), strict=True):
        e = exp[int(row.max()) - row.astype(np.int64)]
        q, exponent = quantize_multiplier(float(F32(1) / (F32(e.sum()) * F32(1 / 256))))
        result[...] = np.minimum(scale_fixed(e, q, exponent), 255) + lowest
    return y


# ---- fixed: gemmlowp's arithmetic, on Python's integers. A number of n integer bits is raw / 2^(31 - n). ----------


def times(a, b):
    """The product of raw numbers; its integer bits are the sum of theirs."""
    nudged = a * b + (2**30 if a * b >= 0 else 1 - 2**30)
    return abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)


def shifted(x, exponent):
    """x * 2^exponent, rounded half away from zero or saturated."""
    if exponent < 0:
        return (abs(x) + 2 ** (-exponent - 1)) // 2**-exponent * (1 if x >= 0 else -1)
    return min(max(x * 2**exponent, -(2**31)), 2**31 - 1)


def exp_on_negative(x):
    """e^x of 5 integer bits, with none."""
    if x == 0:
        return 2**31 - 1
    quarter = 2**24
    near = x % quarter - quarter
    t = shifted(near, 5) + 2**28
    squared = times(t, t)
    fourth = shifted(times(squared, squared), -2)
    series = t + shifted(times(fourth + times(squared, t), round(2**31 / 3)) + squared, -1)
    top = round(math.exp(-1 / 8) * 2**31)
    result = top + times(top, series)
    for i in range(7):
        if (near - x) // (quarter << i) % 2:
            result = times(result, round(math.exp(-(2.0 ** (i - 2))) * 2**31))
    return result


def reciprocal(x):
    """1 / (1 + x) of no integer bits, with none."""
    half = (x + 2**31) // 2
    y = round(48 / 17 * 2**29) + times(half, round(-32 / 17 * 2**29))
    for _ in range(3):
        y += shifted(times(y, 2**29 - times(half, y)), 2)
    return shifted(y, 1)


def softmax_fixed(x, scale, beta=1.0):
    """Exponentials of 5 integer bits, a sum of 12."""
    lowest = np.iinfo(x.dtype).min
    real = min(float(F32(scale)) * float(F32(beta)) * 2**26, 2**31 - 1)
    mantissa, exponent = math.frexp(real)
    mantissa = math.floor(mantissa * 2**31 + 0.5)
    if mantissa == 2**31:
        mantissa, exponent = mantissa // 2, exponent + 1
    radius = 31 * 2**26 // 2**exponent
    exp = [exp_on_negative(times(-d * 2**exponent, mantissa)) if d <= radius else 0 for d in range(256)]
    y = np.empty_like(x)
    for row, result in zip(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]), strict=True):
        e = [exp[int(row.max()) - int(v)] for v in row]
        total = sum(shifted(v, -12) for v in e)
        whole_bits = total.bit_length() - 20  # the sum is 2^whole_bits (1 + rest)
        inverse = reciprocal(total * 2 ** (12 - whole_bits) - 2**31)
        result[...] = [min(shifted(times(inverse, v), -(whole_bits + 23)), 255) + lowest for v in e]
    return y
