"""What float and integer models have in common: from raw outputs to labels, probabilities and figures."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from qlite import _check
from qlite.metrics import named
from qlite.metrics.labels import as_labels
from qlite.nn.layers.layer import Shape

#: Tasks without classes: raw outputs are values.
VALUES = ("regression", "multioutput")
TASKS = ("multiclass", "binary", "one_vs_rest", *VALUES)
#: The activation by which outputs of a task are probabilities rather than logits.
PROBABILITIES = {"multiclass": "softmax", "binary": "sigmoid"}


def _plain_labels(classes: Any) -> np.ndarray:
    """Labels as an array of integers, floats, strings or bools, which are what a model file can hold."""
    labels = _check.labels("classes", classes)
    if isinstance(classes, (list, tuple)) and len({type(label) for label in classes}) > 1:
        raise TypeError(f"classes: expected labels of one type, got {classes!r:.80}")
    return labels.astype(labels.dtype.newbyteorder("="))  # a copy


class Predictor(ABC):
    """A model whose call gives raw outputs, one row per sample.

    Attributes
    ----------
    inputs : dict of tuple of int
        The shapes of samples, by the names of the inputs.
    task : {"multiclass", "binary", "one_vs_rest", "regression", "multioutput"}
        What the raw outputs are: logits of several classes, the logit of the second of two classes, logits of several
        classes each against all others, or values.
        `predict` gives a single value for each sample as a vector, but for "multioutput" as a column. A model that ends
        in a softmax (multiclass) or a sigmoid (binary) gives probabilities in place of logits.
    classes : ndarray or None
        The labels, sorted; None stands for 0, 1, 2...
    """

    task: str
    classes: np.ndarray | None
    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]

    def _only(self, what: str, names: Collection[str]) -> str:
        """The only name of several inputs or outputs; `what` is for the error."""
        if len(names) != 1:
            raise ValueError(f"model: expected one with one {what}, got {', '.join(map(repr, names))}")
        return next(iter(names))

    def _set_task(self, task: str, classes: Any, units: int) -> None:
        """Take the task, for one output of so many values; 0: another output than one vector."""
        self.task = _check.choice("task", task, TASKS)
        if task not in VALUES and units == 0:
            raise ValueError(
                f"task: expected {' or '.join(map(repr, VALUES))} unless the output is one vector, such as after "
                f"Flatten(), got {task!r}"
            )
        if task == "binary" and units != 1:
            raise ValueError(f"task: expected 'multiclass' or 'regression' for {units} outputs, got 'binary'")
        if task in ("multiclass", "one_vs_rest") and units == 1:
            raise ValueError(f"task: expected 'binary' or 'regression' for 1 output, got {task!r}")
        count = 2 if task == "binary" else units
        if classes is not None:
            classes = _plain_labels(classes)
            if task in VALUES:
                raise ValueError(f"classes: expected None for task={task!r}")
            if classes.shape != (count,) or len(np.unique(classes)) != count or np.any(classes != np.sort(classes)):
                raise ValueError(f"classes: expected {count} sorted, different labels, got {classes!r}")
        self.classes = classes
        self._class_count = 0 if task in VALUES else count

    @abstractmethod
    def __call__(self, x: Any) -> Any:
        """Return the raw outputs: logits or values, float32 (samples, units); of several outputs a tuple.

        A model with several inputs takes a tuple of samples in their order, or a dict by name.
        """

    @property
    def input_shape(self) -> Shape:
        """The shape of a sample, without the axis of samples; a ValueError for several inputs, see `inputs`."""
        return self.inputs[self._only("input", self.inputs)]

    @property
    @abstractmethod
    def output_shape(self) -> Shape:
        """The shape of a sample's raw output, without the axis of samples; a ValueError for several outputs."""

    @property
    def in_features(self) -> int:
        """The length of a sample's last axis: its features, or the channels of an image."""
        return self.input_shape[-1]

    @property
    def gives_probabilities(self) -> bool:
        """Whether raw outputs are probabilities: of the classes, or of the second of two."""
        return False

    def _labels(self, units: int) -> np.ndarray:
        return np.arange(units) if self.classes is None else self.classes

    def predict(self, x: Any) -> np.ndarray:
        """Return the label of each sample, or the values; for ``task="regression"`` one value each is a vector."""
        self._only("output", self.outputs)
        return self._decide(self(x))

    def _decide(self, raw: np.ndarray) -> np.ndarray:
        """Return the labels or values that raw outputs stand for."""
        if self.task in VALUES:
            return raw[:, 0] if raw.shape[1:] == (1,) and self.task == "regression" else raw
        if self.task == "binary":
            threshold = 0.5 if self.gives_probabilities else 0
            return self._labels(2)[(raw[:, 0] > threshold).astype(np.intp)]
        return self._labels(raw.shape[1])[raw.argmax(axis=1)]

    def predict_proba(self, x: Any) -> np.ndarray:
        """Return the probability of each class, float64 of shape (samples, classes).

        multiclass: ``exp(z_i) / sum_j exp(z_j)`` of the logits z. binary: ``1 / (1 + exp(-z))`` for the second class,
        the rest for the first. one_vs_rest: ``1 / (1 + exp(-z_i))``, divided by their sum.
        A model that ends in a softmax or a sigmoid gives these probabilities itself.

        Raises
        ------
        ValueError
            The model gives values, not classes, or has several outputs.
        """
        self._only("output", self.outputs)
        if self.task in VALUES:
            raise ValueError(f"task: expected a model with classes ('multiclass' or 'binary'), got {self.task!r}")
        return self._probability(self(x))

    def _probability(self, raw: np.ndarray) -> np.ndarray:
        raw = raw.astype(np.float64)
        if self.gives_probabilities:
            return np.hstack([1 - raw, raw]) if self.task == "binary" else raw
        if self.task == "binary":
            raw = np.hstack([np.zeros_like(raw), raw])
        if self.task == "one_vs_rest":
            raw = -np.logaddexp(0, -raw)  # the softmax of logarithms is what has a sum of 1
        odds = np.exp(raw - raw.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def evaluate(self, x: Any, y: Any, metrics: str | Sequence[str] | None = None) -> dict[str, float]:
        """Measure the model on labelled data.

        Parameters
        ----------
        x : array_like
            Samples.
        y : array_like
            Their labels, (samples,) or (samples, 1); or their values, in the shape of `predict`.
        metrics : str or sequence of str, optional
            For classes "accuracy", "precision", "recall", "f1" (averaged over the classes; "f1_micro", "f1_weighted"...
            otherwise), "top_3_accuracy" and its like, "roc_auc", "cross_entropy": ``("accuracy", "recall")`` by
            default. For values "mse" (the default), "rmse", "mae", "r2". `qlite.metrics` has the functions.

        Returns
        -------
        dict
            The figures by name. The model is run once for all of them.

        Raises
        ------
        TypeError
            `metrics` is no string and no sequence of strings.
        ValueError
            A model with several outputs; a metric that there is not or that does not fit the task; no samples; labels
            that do not match.
        """
        self._only("output", self.outputs)
        names = self._metric_names(metrics)
        raw = self(x)
        y = self._expected(y, raw)
        return {name: self._figure(name, y, raw) for name in names}

    def _metric_names(self, metrics: Any) -> list[str]:
        if metrics is None:
            return ["mse"] if self.task in VALUES else ["accuracy", "recall"]
        if not isinstance(metrics, (str, Sequence)):
            raise TypeError(f"metrics: expected a string or a sequence of strings, got {metrics!r}")
        names = [metrics] if isinstance(metrics, str) else list(metrics)
        if not names:
            raise ValueError("metrics: expected at least one, got none")
        return [named.checked("metrics", name, self._class_count) for name in names]

    def _expected(self, y: Any, raw: np.ndarray) -> np.ndarray:
        """The labels or values y, in the shape of the predictions."""
        y, expected = _check.labels("y", y), self._decide(raw)
        shape = expected.shape
        if y.shape == (*shape, 1):
            y = y[..., 0]
        if y.shape != shape or len(y) == 0:
            raise ValueError(f"y: expected shape {shape}, one for each sample (at least 1), got {y.shape}")
        if self.task not in VALUES:
            y = as_labels("y", y)
        if (y.dtype.kind == "U") != (expected.dtype.kind == "U"):
            raise ValueError(f"y: expected what the model predicts, {expected.dtype}, got {y.dtype}")
        return y

    def _figure(self, name: str, y: np.ndarray, raw: np.ndarray) -> float:
        if named.needs_scores(name):
            return named.of_scores(name, y, self._probability(raw), self._labels(self._class_count))
        if self.task in VALUES:
            rows = (len(raw), -1) if raw.ndim > 2 else raw.shape
            return named.OF_VALUES[name](y.reshape(rows), raw.reshape(rows))
        return named.OF_LABELS[name](y, self._decide(raw))
