"""How close two sets of outputs are."""

from typing import Any

import numpy as np

from qlite import _check


def sqnr_db(exact: Any, approximate: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """Signal to quantization noise, ``10 log10(sum exact**2 / sum (exact - approximate)**2)``; inf without noise.

    Parameters
    ----------
    exact, approximate : array_like of numbers, of the same shape
    axis : int or tuple of int, optional
        Axes that the sums run over; all of them by default.

    Returns
    -------
    float64 or ndarray of it, dB

    Raises
    ------
    TypeError, ValueError
        Something else than real numbers; other shapes.

    Examples
    --------
    >>> import qlite as ql
    >>> round(float(ql.metrics.sqnr_db([3.0, 4.0], [3.0, 4.5])), 6)
    20.0
    """
    exact, approximate = _check.numbers("exact", exact), _check.numbers("approximate", approximate)
    if approximate.shape != exact.shape:
        raise ValueError(f"approximate: expected shape {exact.shape}, as exact, got {approximate.shape}")
    exact = exact.astype(np.float64, copy=False)
    return decibels(np.square(exact).sum(axis), np.square(exact - approximate).sum(axis))


def decibels(signal: Any, noise: Any) -> Any:
    """``10 log10(signal / noise)`` of two powers; inf without noise, NaN for NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(noise == 0, np.inf, 10 * np.log10(signal / noise))[()]


def cosine(product: Any, a_power: Any, b_power: Any) -> Any:
    """Cosine of the angle between two vectors by the sums of ``a * b``, ``a**2`` and ``b**2``; 1 if both are zero."""
    lengths, both_zero = np.sqrt(a_power) * np.sqrt(b_power), (a_power == 0) & (b_power == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lengths > 0, product / lengths, np.where(both_zero, 1.0, 0.0))[()]
