"""From labels and values to what losses compare with, and how much each sample counts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from qlite import _check
from qlite.nn.model import Model
from qlite.nn.predictor import VALUES

#: How far the probabilities of a sample may be from 1 in sum.
PROBABILITY_SLACK = 1e-3


def targets_of(model: Model, y: Any, samples: int, name: str = "y") -> np.ndarray:
    """Return labels as int32 positions among the classes; probabilities and values as float32 (samples, units).

    Labels of two classes are probabilities of the second. `name` is for errors.
    """
    y = _check.numbers(name, y) if model.task in VALUES else _check.labels(name, y)
    units = model.output_shape[-1]
    if y.ndim == 0 or len(y) != samples:
        raise ValueError(f"{name}: expected one for each of {samples} samples, got shape {y.shape}")
    if model.task in VALUES:
        return _values(name, y, units)
    if model.task == "multiclass" and y.shape == (samples, units):
        return _probabilities(name, y)
    if y.shape not in ((samples,), (samples, 1)):
        also = f", or probabilities ({samples}, {units})" if model.task == "multiclass" else ""
        raise ValueError(f"{name}: expected labels of shape ({samples},){also}, got shape {y.shape}")
    y = y.reshape(samples)
    if model.task == "binary":
        if y.dtype.kind == "f" and model.classes is None:
            return _probabilities(name, y[:, None])
        return _positions(name, y, model.classes, 2).astype(np.float32)[:, None]
    return _positions(name, y, model.classes, units)


def _values(name: str, y: np.ndarray, units: int) -> np.ndarray:
    if y.shape == (len(y),) and units == 1:
        y = y[:, None]
    if y.shape != (len(y), units):
        raise ValueError(f"{name}: expected shape ({len(y)}, {units}), got {y.shape}")
    return _check.finite(name, _check.scales(name, y))


def _probabilities(name: str, y: np.ndarray) -> np.ndarray:
    y = _check.finite(name, _check.scales(name, y.astype(np.float32) if y.dtype.kind == "b" else y))
    if (y < 0).any() or (y > 1).any():
        raise ValueError(
            f"{name}: expected probabilities from 0 to 1, got {y[(y < 0) | (y > 1)].flat[0]}, which would be a value "
            f"for a model of task='regression'"
        )
    sums = y.sum(axis=1)
    if y.shape[1] > 1 and (np.abs(sums - 1) > PROBABILITY_SLACK).any():
        raise ValueError(f"{name}: expected rows whose sum is 1, got {sums[np.abs(sums - 1).argmax()]}")
    return y


def _positions(name: str, y: np.ndarray, classes: np.ndarray | None, count: int) -> np.ndarray:
    labels = np.arange(count) if classes is None else classes
    kinds = ("iub" if count == 2 else "iu") if classes is None else labels.dtype.kind
    if y.dtype.kind not in kinds and not (classes is not None and {y.dtype.kind, kinds} <= set("iuf")):
        expected = f"integers, 0 to {count - 1}" if classes is None else f"labels out of {labels}, {labels.dtype}"
        hint = " (the model's classes= gives it names)" if classes is None and y.dtype.kind == "U" else ""
        raise TypeError(f"{name}: expected {expected}, got {y.dtype}{hint}")
    positions = np.minimum(np.searchsorted(labels, y), count - 1).astype(np.int32)
    if (strange := labels[positions] != y).any():
        raise ValueError(f"{name}: expected labels out of {labels}, got {np.unique(y[strange])[:4]} too")
    return positions


def is_labels(targets: np.ndarray) -> bool:
    """Whether targets say a class of each sample, not probabilities or values."""
    return targets.dtype == np.int32 or (targets.shape[1] == 1 and bool(np.isin(targets, (0, 1)).all()))


def weights_of(
    model: Model, targets: np.ndarray, class_weight: Any, sample_weight: Any, name: str = "sample_weight"
) -> np.ndarray | None:
    """Return how much each sample counts, float32, or None: all the same. `name` is for errors of `sample_weight`."""
    weights = None
    if sample_weight is not None:
        weights = _check.finite(name, _check.scales(name, sample_weight))
        if weights.shape != (len(targets),):
            raise ValueError(f"{name}: expected shape ({len(targets)},), got {weights.shape}")
        if (weights < 0).any():
            raise ValueError(f"{name}: expected none below 0, got {weights.min()}")
    if class_weight is not None:
        own = _class_weights(model, targets, class_weight)
        with np.errstate(over="ignore"):
            weights = own if weights is None else _check.finite("class_weight", weights * own)
    return weights


def _class_weights(model: Model, targets: np.ndarray, class_weight: Any) -> np.ndarray:
    is_binary = model.task == "binary"
    if model.task in VALUES or not is_labels(targets):
        raise ValueError("class_weight: expected None where y holds no labels")
    positions = targets.astype(np.int32).reshape(len(targets))
    if isinstance(class_weight, str):
        _check.choice("class_weight", class_weight, ("balanced",))
        counts = np.bincount(positions)
        return (len(positions) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)[positions]
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight: expected 'balanced' or a dict by label, got {type(class_weight).__name__}")
    labels = model._labels(2 if is_binary else model.output_shape[-1]).tolist()
    if unknown := [label for label in class_weight if label not in labels]:
        raise ValueError(f"class_weight: expected labels out of {labels}, got {unknown[:4]}")
    weights = np.ones(len(labels), np.float32)
    for i, label in enumerate(labels):
        if label in class_weight:
            weights[i] = _class_weight(class_weight[label])
    return weights[positions]


def _class_weight(value: Any) -> np.ndarray:
    weight = _check.scales("class_weight", value)
    if weight.shape != ():
        raise ValueError(f"class_weight: expected a number for each label, got shape {weight.shape}")
    if not 0 <= weight < np.inf:
        raise ValueError(f"class_weight: expected finite weights of at least 0, got {weight}")
    return weight
