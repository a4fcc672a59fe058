"""Figures by the names that `Predictor.evaluate` takes."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from qlite import _check
from qlite.metrics.labels import AVERAGES, accuracy, f1, precision, recall
from qlite.metrics.scores import cross_entropy, roc_auc, top_k_accuracy
from qlite.metrics.values import mae, mse, r2, rmse

#: Figures of ``(y, predicted)``, labels; without an average in the name it is that of the classes.
OF_LABELS: dict[str, Callable[[Any, Any], float]] = {"accuracy": accuracy} | {
    name: partial(figure, average=average)
    for figure in (precision, recall, f1)
    for name, average in ((figure.__name__, "macro"), *((f"{figure.__name__}_{a}", a) for a in AVERAGES))
}
#: Figures of ``(y, probability, classes=labels)``; "top_3_accuracy" and its like are too.
OF_SCORES: dict[str, Callable[..., float]] = {"cross_entropy": cross_entropy, "roc_auc": roc_auc}
#: Figures of ``(y, predicted)``, values.
OF_VALUES: dict[str, Callable[[Any, Any], float]] = {"mse": mse, "rmse": rmse, "mae": mae, "r2": r2}
#: Figures that are the better the lower they are.
ERRORS = ("cross_entropy", "mse", "rmse", "mae")


def checked(name: str, value: Any, classes: int) -> str:
    """Return `value` if it names a figure for so many classes, or for values if there are none.

    `name` is for the error.
    """
    if classes and isinstance(value, str) and 0 < top_k(value) <= classes:
        return value
    top = [f"top_{k}_accuracy" for k in (2, classes) if 2 <= k <= classes]
    return _check.choice(name, value, (*OF_LABELS, *dict.fromkeys(top), *OF_SCORES) if classes else tuple(OF_VALUES))


def top_k(name: str) -> int:
    """Return k of "top_<k>_accuracy", 0 for other names."""
    match = re.fullmatch(r"top_([1-9][0-9]*)_accuracy", name)
    return int(match[1]) if match else 0


def needs_scores(name: str) -> bool:
    """Whether a figure is one of scores."""
    return name in OF_SCORES or top_k(name) > 0


def of_scores(name: str, y: np.ndarray, probability: np.ndarray, classes: np.ndarray) -> float:
    """Return a figure of scores."""
    if k := top_k(name):
        return top_k_accuracy(y, probability, k=k, classes=classes)
    return OF_SCORES[name](y, probability, classes=classes)


def drop(name: str, before: float, after: float) -> float:
    """Return by how much a figure became worse."""
    return after - before if name in ERRORS else before - after
