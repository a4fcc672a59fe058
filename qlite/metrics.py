"""How good predictions are, and how close two sets of outputs are."""

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


def sqnr_db(exact: np.ndarray, approximate: np.ndarray) -> float:
    """Signal to quantization noise: ``10 log10(sum exact**2 / sum (exact - approximate)**2)``."""
    exact = np.asarray(exact, np.float64)
    noise = np.sum(np.square(exact - approximate))
    signal = np.sum(np.square(exact))
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")
