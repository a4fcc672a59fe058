"""Fixed-point arithmetic as runtimes without floats have it (gemmlowp's): on int64 arrays that hold int32.

A raw number of n integer bits stands for ``raw / 2**(31 - n)``.
"""

import math

import numpy as np

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
#: 1/3 with no integer bits, and 48/17, -32/17 with two: where the divisions by Newton's method start.
_THIRD, _START, _STEP = 715827883, 1515870810, -1010580540
#: exp(-1/8), and exp(-2**n) for n = -2 to 4, with no integer bits.
_EXP_EIGHTH = 1895147668
_EXP_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def multiplier(value: float) -> tuple[int, int]:
    """Return (q, e) with ``value ~ q * 2**(e - 31)``, q of 31 bits; (0, 0) below 2**-32."""
    mantissa, e = math.frexp(value)
    q = math.floor(mantissa * 2**31 + 0.5)
    if q == 2**31:
        q, e = q // 2, e + 1
    return (0, 0) if e < -31 else (q, e)


def doubled_high(a: np.ndarray, b: np.ndarray | int, bits: int = 32) -> np.ndarray:
    """Return ``a * b / 2**(bits - 1)``, rounded half up, saturated."""
    return np.minimum((a * b + (1 << (bits - 2))) >> (bits - 1), (1 << (bits - 1)) - 1)


def divided(a: np.ndarray, exponent: int) -> np.ndarray:
    """Return ``a / 2**exponent``, rounded half away from zero."""
    half = (1 << exponent) >> 1
    return np.sign(a) * ((np.abs(a) + half) >> exponent)


def shifted(a: np.ndarray, bits: int) -> np.ndarray:
    """Return ``a * 2**bits``, saturated."""
    return np.clip(a << bits, INT32_MIN, INT32_MAX)


def scaled(a: np.ndarray, value: float) -> np.ndarray:
    """Return ``a * value`` by rule B: see `requantize` with "fixed"."""
    q, e = multiplier(value)
    return divided(doubled_high(shifted(a, max(e, 0)), q), max(-e, 0))


def _reciprocal(half: np.ndarray) -> np.ndarray:
    """1 / half for 1/2 <= half < 1, with two integer bits."""
    x = _START + doubled_high(half, _STEP)
    for _ in range(3):
        x = x + shifted(doubled_high(x, (1 << 29) - doubled_high(half, x)), 2)
    return x


def _half_of_one_and(a: np.ndarray) -> np.ndarray:
    """(1 + a) / 2, rounded half away from zero."""
    total = a + INT32_MAX
    return np.sign(total) * ((np.abs(total) + 1) >> 1)


def _exp_of_negative(a: np.ndarray) -> np.ndarray:
    """e**a for a <= 0 of 4 integer bits, with none."""
    quarter = 1 << 25
    near = (a & (quarter - 1)) - quarter
    t = shifted(near, 4) + (1 << 28)
    squared = doubled_high(t, t)
    fourth = divided(doubled_high(squared, squared), 2)
    series = t + divided(doubled_high(fourth + doubled_high(squared, t), _THIRD) + squared, 1)
    result = _EXP_EIGHTH + doubled_high(series, _EXP_EIGHTH)
    for i, power in enumerate(_EXP_POWERS[:6]):
        result = np.where((near - a) & (quarter << i), doubled_high(result, power), result)
    return np.where(a == 0, INT32_MAX, result)


def sigmoid(a: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + e**-a) of `a` with 4 integer bits, with none."""
    positive = shifted(_reciprocal(_half_of_one_and(_exp_of_negative(-np.abs(a)))), 1)
    return np.where(a > 0, positive, np.where(a < 0, INT32_MAX - positive, 1 << 30))


def tanh(a: np.ndarray) -> np.ndarray:
    """Return tanh(a) of `a` with 4 integer bits, with none."""
    e = _exp_of_negative(shifted(-np.abs(a), 1))
    return np.sign(a) * shifted(_reciprocal(_half_of_one_and(e)) - (1 << 29), 2)
