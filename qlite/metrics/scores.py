"""Figures of scores: a number for each class, of which the right one should be the highest."""

from typing import Any

import numpy as np

from qlite import _check
from qlite.metrics.labels import as_labels, expect_kind, places


def top_k_accuracy(y: Any, score: Any, *, k: int = 2, classes: Any = None) -> float:
    """Share of samples whose class is among the `k` of the highest scores.

    Of equal scores the first class counts as the highest, as in `Predictor.predict`: for ``k=1`` this is the accuracy.

    Parameters
    ----------
    y : array_like of labels, (samples,)
    score : array_like of numbers, (samples, classes)
        Probabilities or logits.
    k : int
    classes : array_like, (classes,), optional
        The labels of the columns, sorted; 0, 1, 2... by default.

    Raises
    ------
    TypeError, ValueError
        Other shapes, no samples, NaN, labels that are no class, `k` out of 1..classes.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.top_k_accuracy([0, 1, 2], [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.5, 0.3, 0.2]], k=2)
    0.6666666666666666
    """
    return float(np.mean(top_k_hits(y, score, k, classes)))


def top_k_hits(y: Any, score: Any, k: int, classes: Any = None) -> np.ndarray:
    """Which samples `top_k_accuracy` counts: bool, (samples,)."""
    column, score = columns_of_labels("score", y, score, classes)
    if _check.integer("k", k, 1) > score.shape[1]:
        raise ValueError(f"k: expected 1 to {score.shape[1]}, the number of classes, got {k}")
    score = _with_ranks(score)
    own = np.take_along_axis(score, column[:, None], axis=1)
    ahead = (score > own) | ((score == own) & (np.arange(score.shape[1]) < column[:, None]))
    return ahead.sum(axis=1) < k


def roc_auc(y: Any, score: Any, *, classes: Any = None) -> float:
    """Area under the ROC curve: how probable it is that a sample of a class has a higher score for it than another one.

    Equal scores count half. For several classes each is held against the rest, and the areas are averaged.

    Parameters
    ----------
    y : array_like of labels, (samples,)
    score : array_like of numbers, (samples,) or (samples, classes)
        Of the second of two classes; or one column for each class.
    classes : array_like, (classes,), optional
        The labels, sorted; all that occur in `y` by default.

    Raises
    ------
    TypeError, ValueError
        Other shapes, no samples, NaN, labels that are no class, a class without samples or with all of them.

    References
    ----------
    Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic curve", 1982.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    column, score = auc_columns(y, score, classes)
    return float(np.mean([_area(column == i, score[:, i]) for i in auc_classes(score.shape[1])]))


def auc_classes(count: int) -> range:
    """The classes whose areas are averaged: of two the second one alone, whose area is that of the first."""
    return range(1, 2) if count == 2 else range(count)


def cross_entropy(y: Any, probability: Any, classes: Any = None) -> float:
    """Mean of ``-log(probability of the right class)``, in nats; a probability of 0 counts as the smallest float64.

    Parameters
    ----------
    y : array_like of labels, (samples,)
    probability : array_like of numbers, (samples, classes)
        Rows that sum to 1, as from `Predictor.predict_proba`.
    classes : array_like, (classes,), optional
        The labels of the columns, sorted; 0, 1, 2... by default.

    Raises
    ------
    TypeError, ValueError
        Other shapes, no samples, labels that are no class, probabilities below 0 or above 1.

    Examples
    --------
    >>> import qlite as ql
    >>> round(ql.metrics.cross_entropy([0, 1], [[0.5, 0.5], [0.25, 0.75]]), 4)
    0.4904
    """
    return float(np.mean(log_losses(y, probability, classes)))


def log_losses(y: Any, probability: Any, classes: Any = None) -> np.ndarray:
    """What each sample adds to `cross_entropy`: float64, (samples,)."""
    column, probability = columns_of_labels("probability", y, probability, classes)
    if ((probability < 0) | (probability > 1)).any():
        raise ValueError(f"probability: expected 0 to 1, got {probability.min()} to {probability.max()}")
    right = np.take_along_axis(probability, column[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(right, np.finfo(np.float64).tiny))


def _area(is_positive: np.ndarray, score: np.ndarray) -> float:
    """Mann and Whitney's statistic over its largest value: pairs in the right order, equal ones by half."""
    _, rank, counts = np.unique(score, return_inverse=True, return_counts=True)
    middle = counts.cumsum() - (counts - 1) / 2
    positives = np.count_nonzero(is_positive)
    above = middle[rank[is_positive]].sum() - positives * (positives + 1) / 2
    return above / (positives * (len(score) - positives))


def auc_columns(y: Any, score: Any, classes: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the column of each sample's class, and scores (samples, classes) in float64 that have ranks."""
    y, score = as_labels("y", y), _check.numbers("score", score)
    classes = np.unique(y) if classes is None else as_labels("classes", classes)
    if score.ndim == 1:
        score = np.stack([-score.astype(np.float64), score], axis=1)
    if score.ndim == 2 and len(classes) == 1:
        raise ValueError(f"y: expected samples of two classes or more, got {classes[0]!r} alone")
    column, score = columns_of_labels("score", y, score, classes)
    missing = np.setdiff1d(np.arange(score.shape[1]), column)
    if len(missing):
        raise ValueError(f"y: expected samples of each class, got none of {classes[missing[0]]!r}")
    return column, _with_ranks(score)


def columns_of_labels(name: str, y: Any, scores: Any, classes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the column of each sample's class, and scores (samples, classes) in float64."""
    y, scores = as_labels("y", y), _check.numbers(name, scores).astype(np.float64, copy=False)
    if scores.ndim != 2 or len(scores) != len(y):
        raise ValueError(f"{name}: expected shape ({len(y)}, classes), got {scores.shape}")
    classes = np.arange(scores.shape[1]) if classes is None else as_labels("classes", classes)
    if len(classes) != scores.shape[1] or (classes[1:] <= classes[:-1]).any():
        raise ValueError(f"classes: expected {scores.shape[1]} labels, ascending, got {classes}")
    expect_kind("classes", classes, y)
    return places("y", y, classes), scores


def _with_ranks(score: np.ndarray) -> np.ndarray:
    if np.isnan(score).any():
        raise ValueError("score: expected no NaN, which has no rank")
    return score
