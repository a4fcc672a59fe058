"""Codebooks: the values that the codes of a non-uniform grid stand for, in code order, in units of the scale."""

from itertools import product
from typing import Any

import numpy as np

from qlite import _check

#: Bits of the exponent and of the mantissa of small floats, and how many of the highest magnitudes are kept for NaN and
#: infinities. (OCP 8-bit Floating Point Specification and Microscaling Formats Specification, 1.0, 2023.)
SMALL_FLOATS = {
    "fp4": (2, 1, 0),
    "fp6_e2m3": (2, 3, 0),
    "fp6_e3m2": (3, 2, 0),
    "fp8_e4m3": (4, 3, 1),
    "fp8_e5m2": (5, 2, 4),
}


def small_float(exponent_bits: int, mantissa_bits: int, reserved: int) -> np.ndarray:
    """The value of every bit pattern: sign, exponent, mantissa; NaN for the reserved ones.

    ``(-1)**sign * 2**(exponent - bias) * (1 + mantissa / 2**mantissa_bits)``, the bias ``2**(exponent_bits - 1) - 1``;
    exponent 0 are the subnormals.

    Examples
    --------
    >>> from qlite.grids.codebooks import small_float
    >>> small_float(2, 1, 0)[:8].tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    """
    exponent, mantissa = np.divmod(np.arange(1 << exponent_bits + mantissa_bits), 1 << mantissa_bits)
    fraction = mantissa / (1 << mantissa_bits) + (exponent > 0)
    magnitude = np.ldexp(fraction, np.maximum(exponent, 1) - ((1 << exponent_bits - 1) - 1))
    magnitude[len(magnitude) - reserved :] = np.nan
    return np.concatenate([magnitude, -magnitude]).astype(np.float32)


def normal_float(bits: int) -> np.ndarray:
    """Quantiles of a normal distribution, scaled to [-1, 1], with an exact zero (NF4: Dettmers et al., *QLoRA*, 2023).

    ``2**(bits - 1)`` values above zero and one fewer below it, evenly spaced in probability.

    Examples
    --------
    >>> from qlite.grids.codebooks import normal_float
    >>> normal_float(3).round(2)
    array([-1.  , -0.54, -0.25,  0.  ,  0.18,  0.38,  0.62,  1.  ],
          dtype=float32)
    """
    from statistics import NormalDist

    half, normal = 1 << bits - 1, NormalDist()
    last = 1 - (1 / (4 * half) + 1 / (4 * half - 2)) / 2
    above, below = (
        [normal.inv_cdf(p) for p in np.linspace(last, 0.5, count + 1)[:-1].tolist()] for count in (half, half - 1)
    )
    return (np.array([-v for v in below] + [0.0] + above[::-1]) / above[0]).astype(np.float32)


def log2(bits: int) -> np.ndarray:
    """Powers of two, ``+-2**-i``, and zero (Miyashita et al., *Logarithmic Data Representation*, 2016).

    Examples
    --------
    >>> from qlite.grids.codebooks import log2
    >>> log2(3).tolist()
    [-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]
    """
    powers = np.ldexp(np.float32(1), -np.arange((1 << bits - 1) - 1))
    return np.concatenate([-powers, [0], powers[::-1]]).astype(np.float32)


#: Values as published (Dettmers et al., 2023, appendix E): `normal_float(4)` up to the last float32 digits.
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)

#: Exponents of the powers that `apot` adds up, term by term, for each width of a code.
APOT_TERMS = {
    3: ((1, 2, 3),),
    4: ((1, 2, 4), (3,)),
    5: ((1, 3, 5), (2, 4, 6)),
    7: ((1, 4, 7), (2, 5, 8), (3, 6, 9)),
}


def apot(bits: int) -> np.ndarray:
    """Sums of powers of two, one from each term or nothing (Li et al., *Additive Powers-of-Two Quantization*, 2020).

    Examples
    --------
    >>> from qlite.grids.codebooks import apot
    >>> apot(4)[7:]
    array([0. , 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1. ], dtype=float32)
    """
    terms = [[0.0, *np.exp2(-np.array(exponents))] for exponents in APOT_TERMS[bits]]
    sums = np.unique([sum(term) for term in product(*terms)])
    return (np.concatenate([-sums[:0:-1], sums]) / sums[-1]).astype(np.float32)


def sign(bits: int) -> np.ndarray:
    """Minus and plus one."""
    return np.array([-1, 1], np.float32)


#: Entries of a codebook, and their greatest magnitude as integers, that integer products have a form for.
INTEGER_ENTRIES, INTEGER_REACH = 16, 127


def integer_codebook(book: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Return entries as int8 of at most 127, and what a step of these stands for.

    The greatest power of two of which all entries are multiples, or, where more than 127 of it were needed, a 127th of
    the greatest magnitude: entries are up to half a step beside their integers then.

    Examples
    --------
    >>> import numpy as np
    >>> from qlite.grids.codebooks import integer_codebook
    >>> table, step = integer_codebook(np.float32([-6, 0.5, 3]))
    >>> table.tolist(), float(step)
    ([-12, 1, 6], 0.5)
    """
    sizes = np.abs(book[book != 0]).astype(np.float64)
    ratios = [size.as_integer_ratio() for size in sizes.tolist()]
    lowest = min(((n & -n).bit_length() - d.bit_length() for n, d in ratios), default=0)
    step = np.float32(2.0**lowest)
    if sizes.size and np.float32(sizes.max()) / step > INTEGER_REACH:
        step = np.float32(sizes.max()) / np.float32(INTEGER_REACH)
    return np.clip(np.rint(book / step), -INTEGER_REACH, INTEGER_REACH).astype(np.int8), step


def put_zero(book: np.ndarray) -> None:
    """Set the entry of each codebook (..., entries) that is nearest to 0 to 0; the order stays."""
    nearest = np.nanargmin(np.abs(book), axis=-1, keepdims=True)
    np.put_along_axis(book, nearest, np.float32(0), axis=-1)


def checked(name: str, value: Any) -> np.ndarray:
    """Return a copy of a codebook of the user's, float32: 2 to 256 finite, ascending values along the last axis."""
    book = _check.scales(name, value).copy()
    if book.ndim == 0 or not 2 <= book.shape[-1] <= 256:
        raise ValueError(f"{name}: expected 2 to 256 values along the last axis, got shape {book.shape}")
    _check.finite(name, book)
    wrong = np.argwhere(book[..., 1:] <= book[..., :-1])
    if len(wrong):
        *row, i = wrong[0]
        before, after = book[*row, i : i + 2]
        raise ValueError(f"{name}: expected ascending values, got {after} after {before}")
    return book
