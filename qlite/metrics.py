"""How good predictions are, and how close two sets of outputs are."""

from typing import Any

import numpy as np


def accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Share of samples that are predicted right."""
    return float(np.mean(y == predicted))


def recall(y: np.ndarray, predicted: np.ndarray) -> float:
    """Macro recall: the share of each class that is found, averaged over the classes that occur."""
    return float(np.mean([np.mean(predicted[y == label] == label) for label in np.unique(y)]))


def cross_entropy(y: np.ndarray, probability: np.ndarray, classes: np.ndarray) -> float:
    """Mean of ``-log(probability of the right class)``; a probability of 0 counts as the smallest float."""
    right = probability[np.arange(len(y)), np.searchsorted(classes, y)]
    return float(-np.mean(np.log(np.maximum(right, np.finfo(np.float64).tiny))))


def mse(y: np.ndarray, predicted: np.ndarray) -> float:
    """Mean squared error."""
    return float(np.mean(np.square(np.asarray(y, np.float64) - predicted)))


def decibels(signal: Any, noise: Any) -> Any:
    """``10 log10(signal / noise)`` of two powers, inf without noise."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(noise > 0, 10 * np.log10(signal / noise), np.inf)[()]


def sqnr_db(exact: np.ndarray, approximate: np.ndarray, axis: tuple[int, ...] | None = None) -> Any:
    """Signal to quantization noise: ``10 log10(sum exact**2 / sum (exact - approximate)**2)``, inf without noise.

    With `axis` the sums run over these axes.
    """
    exact = np.asarray(exact, np.float64)
    return decibels(np.square(exact).sum(axis), np.square(exact - approximate).sum(axis))


def cosine(product: Any, a_power: Any, b_power: Any) -> Any:
    """Cosine of the angle between two vectors by the sums of ``a * b``, ``a**2`` and ``b**2``; 1 if both are zero."""
    lengths, both_zero = np.sqrt(a_power) * np.sqrt(b_power), (a_power == 0) & (b_power == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lengths > 0, product / lengths, np.where(both_zero, 1.0, 0.0))[()]
