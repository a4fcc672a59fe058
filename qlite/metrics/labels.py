"""Figures of predicted labels: which class was given to samples of which class."""

from typing import Any

import numpy as np

from qlite import _check

AVERAGES = ("macro", "micro", "weighted")


def accuracy(y: Any, predicted: Any) -> float:
    """Share of samples whose label is right: ``mean(predicted == y)``.

    Parameters
    ----------
    y, predicted : array_like of labels, (samples,)
        Integers, floats, strings or bools.

    Raises
    ------
    TypeError, ValueError
        Something else than labels, other shapes, no samples, NaN.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.accuracy([0, 1, 2, 2], [0, 1, 1, 2])
    0.75
    """
    y, predicted = label_pair(y, predicted)
    return float(np.mean(y == predicted))


def precision(y: Any, predicted: Any, *, average: str | None = "macro", labels: Any = None) -> Any:
    """Share of the samples given to a class that belong to it: ``right / predicted`` of each class, averaged.

    Parameters
    ----------
    y, predicted : array_like of labels, (samples,)
    average : {"macro", "micro", "weighted", None}
        The mean over classes; the figure of all samples together; the mean weighted by how often a class occurs in
        `y`; no average.
    labels : array_like, (classes,), optional
        The classes, in the order of the result without an average; all that occur, sorted, by default.

    Returns
    -------
    float, or float64 ndarray of shape (classes,) for ``average=None``
        A class that is never predicted has 0.

    Raises
    ------
    TypeError, ValueError
        Something else than labels, other shapes, no samples, NaN; `labels` repeat or lack one that occurs; an average
        that there is not.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.precision(["a", "b", "b"], ["a", "a", "b"], average=None)
    array([0.5, 1. ])
    """
    return _of_classes("precision", y, predicted, average, labels)


def recall(y: Any, predicted: Any, *, average: str | None = "macro", labels: Any = None) -> Any:
    """Share of a class that is found: ``right / actual`` of each class, averaged.

    Parameters
    ----------
    y, predicted, average, labels
        See `precision`.

    Returns
    -------
    float, or float64 ndarray of shape (classes,) for ``average=None``
        A class that does not occur in `y` has 0.

    Raises
    ------
    TypeError, ValueError
        See `precision`.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.recall(["a", "b", "b", "b"], ["a", "a", "b", "b"])
    0.8333333333333333
    """
    return _of_classes("recall", y, predicted, average, labels)


def f1(y: Any, predicted: Any, *, average: str | None = "macro", labels: Any = None) -> Any:
    """Harmonic mean of precision and recall: ``2 right / (predicted + actual)`` of each class, averaged.

    Parameters
    ----------
    y, predicted, average, labels
        See `precision`.

    Returns
    -------
    float, or float64 ndarray of shape (classes,) for ``average=None``
        A class without a right sample has 0.

    Raises
    ------
    TypeError, ValueError
        See `precision`.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.f1([0, 1, 1, 1], [0, 0, 1, 1], average=None).round(3)
    array([0.667, 0.8  ])
    """
    return _of_classes("f1", y, predicted, average, labels)


def confusion_matrix(y: Any, predicted: Any, *, labels: Any = None) -> np.ndarray:
    """Count how often each class (rows) was given each label (columns).

    Parameters
    ----------
    y, predicted, labels
        See `precision`.

    Returns
    -------
    ndarray of int64, (classes, classes)

    Raises
    ------
    TypeError, ValueError
        See `precision`.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.metrics.confusion_matrix(["a", "b", "b"], ["a", "a", "b"])
    array([[1, 0],
           [1, 1]])
    """
    actual, given, labels = class_numbers(y, predicted, labels)
    count = len(labels)
    return np.bincount(actual * count + given, minlength=count * count).reshape(count, count)


def averaged(
    kind: str, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray, average: str | None, counted: Any = True
) -> np.ndarray:
    """Precision, recall or f1 from how many samples of each class (last axis) are right, predicted and actual.

    The macro average is over the classes that are `counted`.
    """
    if average == "micro":
        right, predicted, actual = (count.sum(axis=-1, keepdims=True) for count in (right, predicted, actual))
    part, whole = {
        "precision": (right, predicted),
        "recall": (right, actual),
        "f1": (2 * right, predicted + actual),
    }[kind]
    share = np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)
    if average is None:
        return share
    if average == "micro":
        return share[..., 0]
    if average == "weighted":
        return (share * actual).sum(axis=-1) / actual.sum(axis=-1)
    return share.mean(axis=-1, where=counted)


def _of_classes(kind: str, y: Any, predicted: Any, average: str | None, labels: Any) -> Any:
    if average is not None:
        _check.choice("average", average, AVERAGES)
    actual, given, labels = class_numbers(y, predicted, labels)
    right = np.bincount(actual[actual == given], minlength=len(labels))
    counts = [np.bincount(numbers, minlength=len(labels)) for numbers in (given, actual)]
    result = averaged(kind, right, counts[0], counts[1], average)
    return result if average is None else float(result)


def as_labels(name: str, value: Any) -> np.ndarray:
    """Return labels as a vector of integers, floats, strings or bools."""
    array = _check.labels(name, value)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name}: expected labels of shape (samples,), at least one, got {array.shape}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name}: expected labels, got NaN")
    return array


def expect_kind(name: str, labels: np.ndarray, y: np.ndarray) -> None:
    """Refuse strings where `y` has numbers, and the other way round."""
    if (labels.dtype.kind == "U") != (y.dtype.kind == "U"):
        raise ValueError(f"{name}: expected labels as in y, {y.dtype}, got {labels.dtype}")


def places(name: str, values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return where each value stands among ascending classes; `name` is for the error."""
    place = np.searchsorted(classes, values).clip(max=len(classes) - 1)
    is_wrong = classes[place] != values
    if is_wrong.any():
        raise ValueError(f"{name}: expected labels out of {classes}, got {np.unique(values[is_wrong])[:4]} too")
    return place


def class_numbers(y: Any, predicted: Any, labels: Any = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `y` and `predicted` as numbers of classes, and the classes."""
    y, predicted = label_pair(y, predicted)
    if labels is None:
        labels, numbers = np.unique(np.concatenate([y, predicted]), return_inverse=True)
        return numbers[: len(y)], numbers[len(y) :], labels
    labels = as_labels("labels", labels)
    expect_kind("labels", labels, y)
    order = np.argsort(labels, kind="stable")
    ascending = labels[order]
    if (ascending[1:] == ascending[:-1]).any():
        raise ValueError(f"labels: expected different ones, got {labels}")
    return order[places("y", y, ascending)], order[places("predicted", predicted, ascending)], labels


def label_pair(y: Any, predicted: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return two vectors of labels of the same length and kind."""
    y, predicted = as_labels("y", y), as_labels("predicted", predicted)
    if predicted.shape != y.shape:
        raise ValueError(f"predicted: expected shape {y.shape}, as y, got {predicted.shape}")
    expect_kind("predicted", predicted, y)
    return y, predicted
