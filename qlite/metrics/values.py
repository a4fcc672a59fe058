"""Figures of predicted values."""

from typing import Any

import numpy as np

from qlite import _check


def mse(y: Any, predicted: Any) -> float:
    """Mean squared error, ``mean((y - predicted)**2)``; NaN for NaN.

    Parameters
    ----------
    y, predicted : array_like of numbers, (samples,) or (samples, outputs)

    Raises
    ------
    TypeError, ValueError
        Something else than real numbers, other shapes, no samples.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    y, predicted = value_pair(y, predicted)
    return float(np.mean(np.square(y - predicted)))


def rmse(y: Any, predicted: Any) -> float:
    """Root of the mean squared error of each output, averaged over the outputs; NaN for NaN.

    Parameters
    ----------
    y, predicted : array_like of numbers, (samples,) or (samples, outputs)

    Raises
    ------
    TypeError, ValueError
        See `mse`.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.rmse([1.0, 2.0], [0.0, 1.0])
    1.0
    """
    y, predicted = value_pair(y, predicted)
    return float(np.mean(np.sqrt(np.mean(np.square(y - predicted), axis=0))))


def mae(y: Any, predicted: Any) -> float:
    """Mean absolute error, ``mean(abs(y - predicted))``; NaN for NaN.

    Parameters
    ----------
    y, predicted : array_like of numbers, (samples,) or (samples, outputs)

    Raises
    ------
    TypeError, ValueError
        See `mse`.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.mae([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    y, predicted = value_pair(y, predicted)
    return float(np.mean(np.abs(y - predicted)))


def r2(y: Any, predicted: Any) -> float:
    """Coefficient of determination, ``1 - sum((y - predicted)**2) / sum((y - mean(y))**2)``, averaged over outputs.

    An output that is constant in `y` has 1 where it is predicted exactly, else 0.

    Parameters
    ----------
    y, predicted : array_like of numbers, (samples,) or (samples, outputs)

    Raises
    ------
    TypeError, ValueError
        See `mse`; fewer than two samples.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """
    y, predicted = value_pair(y, predicted)
    if len(y) < 2:
        raise ValueError(f"y: expected at least 2 samples, got {len(y)}")
    error = np.square(y - predicted).sum(axis=0)
    return float(np.mean(explained(error, np.square(y - y.mean(axis=0)).sum(axis=0))))


def explained(error: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """``1 - error / spread``, element by element; without a spread 1 for no error and 0 for some."""
    share = np.divide(error, spread, out=np.where(error > 0, 1.0, error), where=spread > 0)
    return 1 - share


def value_pair(y: Any, predicted: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values in float64."""
    y, predicted = _check.numbers("y", y), _check.numbers("predicted", predicted)
    if y.ndim not in (1, 2) or y.size == 0:
        raise ValueError(f"y: expected shape (samples,) or (samples, outputs), at least one value, got {y.shape}")
    if predicted.shape != y.shape:
        raise ValueError(f"predicted: expected shape {y.shape}, as y, got {predicted.shape}")
    return y.astype(np.float64, copy=False), predicted.astype(np.float64, copy=False)
