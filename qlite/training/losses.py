"""Losses: a figure and its gradient with respect to the raw outputs, both in float32 and stable.

A loss takes raw outputs (samples, units), targets as `targets_of` gives them, and the share of each sample, whose sum
is 1: w_i / sum(w) of the batch's weights w, which is the weighted mean of PyTorch. (Keras divides by the number of
samples instead.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlite import _check
from qlite.nn.predictor import VALUES, Predictor
from qlite.training import kernels
from qlite.training.network import Samples

#: ``loss(raw, targets, share)`` returns the figure and its gradient.
Loss = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[float, np.ndarray]]
HUBER_DELTA = 1.0


def mse(raw: np.ndarray, targets: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of ``(raw - y)**2``."""
    error = raw - targets
    return _mean(error * error, share), error * (2 * _per_value(raw, share))


def mae(raw: np.ndarray, targets: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of ``|raw - y|``; its gradient is 0 where they are equal."""
    error = raw - targets
    return _mean(np.abs(error), share), np.sign(error) * _per_value(raw, share)


def huber(raw: np.ndarray, targets: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of ``e**2 / 2`` where ``|e| <= 1`` and ``|e| - 1/2`` elsewhere, e = raw - y (Huber 1964)."""
    error = raw - targets
    near = np.clip(error, -HUBER_DELTA, HUBER_DELTA)
    return _mean(near * (error - near / 2), share), near * _per_value(raw, share)


def _mean(values: np.ndarray, share: np.ndarray) -> float:
    return float(np.dot(values.mean(axis=1, dtype=np.float64), share))


def _per_value(raw: np.ndarray, share: np.ndarray) -> np.ndarray:
    return (share / np.float32(raw.shape[1]))[:, None]


@dataclass(frozen=True)
class CrossEntropy:
    """``-sum_i t_i log softmax(raw)_i``; of a label t is 1 - smoothing for its class, plus smoothing / classes."""

    smoothing: float = 0.0

    def __call__(self, raw: np.ndarray, targets: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
        if self.smoothing and targets.ndim == 2:
            targets = targets * np.float32(1 - self.smoothing) + np.float32(self.smoothing / raw.shape[1])
        return kernels.cross_entropy(raw, targets, share, self.smoothing)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """``log(1 + exp(-z)) + (1 - t) z`` of the logit z; t is the probability of the second class, drawn to 1/2 by
    smoothing as `CrossEntropy` does."""

    smoothing: float = 0.0

    def __call__(self, raw: np.ndarray, targets: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
        targets = targets * (1 - self.smoothing) + self.smoothing / 2
        z = raw.astype(np.float64)
        odds = np.exp(-np.abs(z))
        value = np.log1p(odds) + np.maximum(z, 0) - targets * z
        probability = np.where(z >= 0, 1, odds) / (1 + odds)
        return _mean(value, share), ((probability - targets) * share[:, None]).astype(np.float32)


LOSSES: dict[str, Callable[[float], Loss]] = {
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "mse": lambda smoothing: mse,
    "mae": lambda smoothing: mae,
    "huber": lambda smoothing: huber,
}


def names_for(task: str) -> tuple[str, ...]:
    """The losses of a task, the usual one first."""
    if task in VALUES:
        return ("mse", "mae", "huber")
    return ("binary_cross_entropy",) if task == "binary" else ("cross_entropy",)


def loss_of(loss: Any, task: str, smoothing: float) -> Loss:
    """The loss of this name (None: the usual one of the task), or a function of the user's."""
    if not 0 <= smoothing < 1:
        raise ValueError(f"label_smoothing: expected 0 <= x < 1, got {smoothing}")
    if smoothing and (task in VALUES or callable(loss)):
        raise ValueError("label_smoothing: expected 0 for a loss that is no cross entropy")
    if callable(loss):
        return UserLoss(loss)
    allowed = names_for(task)
    if loss in LOSSES and loss not in allowed:
        raise ValueError(f"loss: expected {' or '.join(map(repr, allowed))} for task={task!r}, got {loss!r}")
    name = allowed[0] if loss is None else _check.choice("loss", loss, tuple(LOSSES))
    return LOSSES[name](smoothing)


@dataclass(frozen=True)
class UserLoss:
    """A function ``(raw, targets) -> (figure, gradient)``, checked at each call."""

    function: Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]

    def __call__(self, raw: np.ndarray, targets: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
        result = self.function(raw, targets)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"loss: expected a function that returns (figure, gradient), got {type(result).__name__}")
        figure = _check.numbers("loss", result[0])
        if figure.shape != ():
            raise ValueError(f"loss: expected a figure that is one number, got shape {figure.shape}")
        gradient = np.array(_check.real_array("loss", result[1]))  # a copy, which the way back writes over
        if gradient.shape != raw.shape:
            raise ValueError(f"loss: expected a gradient of shape {raw.shape}, got {gradient.shape}")
        return float(figure), gradient


@dataclass(frozen=True)
class Objective:
    """What training makes small: a loss, and with a teacher ``(1 - weight) loss + weight distillation``.

    Distillation (Hinton et al. 2015) is ``T**2`` times the cross entropy between the teacher's probabilities and the
    student's, both of logits / T; for values, the mean squared difference from the teacher's. Of two classes the second
    is the likelier one where the raw output is above `threshold`.
    """

    loss: Loss
    teacher: Predictor | None = None
    weight: float = 0.5
    temperature: float = 2.0
    threshold: float = 0.0

    def __call__(self, x: Samples, raw: np.ndarray, targets: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.loss(raw, targets, share)
        if self.teacher is None:
            return value, gradient
        distance, pull = self._distillation(self.teacher(x), raw, share)
        return (1 - self.weight) * value + self.weight * distance, _mixed(gradient, pull, self.weight)

    def _distillation(self, wanted: np.ndarray, raw: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
        assert self.teacher is not None
        if self.teacher.task in VALUES:
            return mse(raw, wanted, share)
        t = np.float32(self.temperature)
        odds = self.teacher._probability(wanted) ** (1 / self.temperature)
        probability = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
        if self.teacher.task == "binary":
            value, gradient = BinaryCrossEntropy()(raw / t, probability[:, 1:], share)
        else:
            value, gradient = kernels.cross_entropy(raw / t, probability, share, 0.0)
        return float(t * t) * value, t * gradient


def _mixed(a: np.ndarray, b: np.ndarray, weight: float) -> np.ndarray:
    return np.float32(1 - weight) * a + np.float32(weight) * b
