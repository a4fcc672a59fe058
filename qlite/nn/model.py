"""What float and integer models have in common: from raw outputs to labels, probabilities and figures."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from qlite import _check, metrics

OUTPUTS = ("softmax", "sigmoid", "identity")
METRICS = ("accuracy", "recall", "cross_entropy", "mse")


class Model(ABC):
    """A model whose call gives raw outputs, one row per sample.

    Attributes
    ----------
    output : {"softmax", "sigmoid", "identity"}
        What the raw outputs are: logits of several classes, the logit of the second of two classes, or values.
    classes : ndarray or None
        The labels, sorted; None stands for 0, 1, 2...
    """

    output: str
    classes: np.ndarray | None

    def _set_output(self, output: str, classes: Any, units: int) -> None:
        self.output = _check.choice("output", output, OUTPUTS)
        if output == "sigmoid" and units != 1:
            raise ValueError(f"output: expected 'softmax' or 'identity' for {units} outputs, got 'sigmoid'")
        if output == "softmax" and units == 1:
            raise ValueError("output: expected 'sigmoid' or 'identity' for 1 output, got 'softmax'")
        count = 2 if output == "sigmoid" else units
        if classes is not None:
            classes = np.asarray(classes)
            if output == "identity":
                raise ValueError("classes: expected None for output='identity'")
            if classes.shape != (count,) or len(np.unique(classes)) != count or np.any(classes != np.sort(classes)):
                raise ValueError(f"classes: expected {count} sorted, different labels, got {classes!r}")
        self.classes = classes

    @abstractmethod
    def __call__(self, x: Any) -> np.ndarray:
        """Return the raw outputs: logits or values, float32 of shape (samples, units)."""

    def _labels(self, units: int) -> np.ndarray:
        return np.arange(units) if self.classes is None else self.classes

    def predict(self, x: Any) -> np.ndarray:
        """Return the label of each sample, or for ``output="identity"`` the values (one value each: a vector)."""
        raw = self(x)
        if self.output == "identity":
            return raw[:, 0] if raw.shape[1] == 1 else raw
        if self.output == "sigmoid":
            return self._labels(2)[(raw[:, 0] > 0).astype(np.intp)]
        return self._labels(raw.shape[1])[raw.argmax(axis=1)]

    def predict_proba(self, x: Any) -> np.ndarray:
        """Return the probability of each class, float64 of shape (samples, classes).

        Raises
        ------
        ValueError
            The model gives values, not classes.
        """
        if self.output == "identity":
            raise ValueError("output: expected a model with classes ('softmax' or 'sigmoid'), got 'identity'")
        raw = self(x).astype(np.float64)
        if self.output == "sigmoid":
            raw = np.hstack([np.zeros_like(raw), raw])
        odds = np.exp(raw - raw.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def evaluate(self, x: Any, y: Any, metrics: Sequence[str] | None = None) -> dict[str, float]:
        """Measure the model on labelled data.

        Parameters
        ----------
        x : array_like
            Samples.
        y : array_like
            Their labels, or values for ``output="identity"``.
        metrics : sequence of {"accuracy", "recall", "cross_entropy", "mse"}, optional
            ``("accuracy", "recall")`` by default, ``("mse",)`` for values. Recall is averaged over the classes.

        Raises
        ------
        ValueError
            A metric that there is not or that does not fit the output; no samples; labels that do not match.
        """
        is_value = self.output == "identity"
        names = (("mse",) if is_value else ("accuracy", "recall")) if metrics is None else metrics
        for name in (names,) if isinstance(names, str) else names:
            _check.choice("metrics", name, ("mse",) if is_value else METRICS[:3])
        y = np.asarray(y)
        if len(y) == 0 or len(y) != len(x):
            raise ValueError(f"y: expected one label for each of the {len(x)} samples (at least 1), got {len(y)}")
        return {name: self._metric(name, x, y) for name in ((names,) if isinstance(names, str) else names)}

    def _metric(self, name: str, x: Any, y: np.ndarray) -> float:
        if name != "cross_entropy":
            return getattr(metrics, name)(y, self.predict(x))
        probability = self.predict_proba(x)
        labels = self._labels(probability.shape[1])
        if not np.isin(y, labels).all():
            raise ValueError(f"y: expected labels out of {labels}, got {np.setdiff1d(y, labels)[:4]} too")
        return metrics.cross_entropy(y, probability, labels)
