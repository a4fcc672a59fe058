"""Weights of -1, 0 and 1 times a scale for each output."""

import numpy as np

from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import quantize


def ternary_scale(weight: np.ndarray) -> np.ndarray:
    """Return the scales of least squares for weights (in, out), float32 (1, out).

    An output whose k largest magnitudes become 1 has the scale s = mean of these, and the error ``sum w^2 - k s^2``: of
    all k that with the greatest ``(sum of the k largest)^2 / k`` is the best (Li and Liu 2016, without their
    approximation). Rounding ``w / s`` to the nearest of -1, 0 and 1 gives just these k.
    """
    largest = -np.sort(-np.abs(weight.astype(np.float64)), axis=0)
    total, count = largest.cumsum(axis=0), np.arange(1, len(weight) + 1)[:, None]
    best = (total**2 / count).argmax(axis=0)[None]
    scale = np.take_along_axis(total / count, best, axis=0).astype(np.float32)
    return np.where(scale == 0, np.float32(1), np.maximum(scale, np.finfo(np.float32).smallest_normal))


def quantize_ternary(weight: np.ndarray) -> QArray:
    """Quantize weights (..., out) to -1, 0 and 1 with the scales of least squares."""
    scale = ternary_scale(weight.reshape(-1, weight.shape[-1])).reshape((1,) * (weight.ndim - 1) + (-1,))
    return quantize(weight, 2, axis=weight.ndim - 1, symmetric=True, scale=scale)
