"""Float models: layers one after another."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.layer import finite_float32
from qlite.nn.lower import Builder
from qlite.nn.predictor import Predictor


@public
class Sequential(Predictor):
    """A float model whose layers follow one another.

    Parameters
    ----------
    layers : sequence of Dense
        Each takes what the one before gives.
    mean, scale : array_like of a real floating dtype, (in,), optional
        The first layer gets ``(x - mean) / scale``: zeros and ones by default. This stays float32 in every quantized
        form, because features of different ranges that share one 8-bit grid would lose those of small range.
    task : {"multiclass", "binary", "regression", "multioutput"}
        What the raw outputs are: logits of several classes, the logit of the second of two classes, or values.
        `predict` gives a single value for each sample as a vector, but for "multioutput" as a column.
    classes : array_like, optional
        The labels, sorted; 0, 1, 2... by default.

    Raises
    ------
    TypeError, ValueError
        No layers, something else than a layer, layers that do not fit together, names that repeat or that buffers of
        the integer program have; a mean that is not finite, a scale that is not normal and positive.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> m = ql.Sequential([ql.Dense(np.eye(2), activation="relu"), ql.Dense(np.ones((2, 3)))])
    >>> m(np.array([[1.0, -2.0]]))
    array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(
        self,
        layers: Sequence[Dense],
        *,
        mean: Any = None,
        scale: Any = None,
        task: str = "multiclass",
        classes: Any = None,
    ) -> None:
        if not isinstance(layers, Iterable):
            raise TypeError(f"layers: expected a sequence of layers, got {type(layers).__name__}")
        self.layers = list(layers)
        if not self.layers:
            raise ValueError("layers: expected at least one")
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Dense):
                raise TypeError(f"layers[{i}]: expected a Dense layer, got {type(layer).__name__}")
        for i, (first, second) in enumerate(zip(self.layers, self.layers[1:], strict=False), 1):
            if first.weight.shape[1] != second.weight.shape[0]:
                raise ValueError(
                    f"layers[{i}]: expected {first.weight.shape[1]} inputs, which layers[{i - 1}] gives, "
                    f"got {second.weight.shape[0]}"
                )
        self.names = [layer.name or f"dense_{i}" for i, layer in enumerate(self.layers, 1)]
        _check_names(self.names)
        self.mean, self.scale = self._normalization(mean, scale)
        self._set_task(task, classes, self.layers[-1].weight.shape[1])

    def _normalization(self, mean: Any, scale: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Mean and scale as vectors, or None and None if they change nothing."""
        shape = (self.in_features,)
        mean = np.zeros(shape, np.float32) if mean is None else finite_float32("mean", mean)
        scale = np.ones(shape, np.float32) if scale is None else finite_float32("scale", scale)
        for name, values in (("mean", mean), ("scale", scale)):
            if values.shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {values.shape}")
        if not (scale >= np.finfo(np.float32).smallest_normal).all():
            raise ValueError(f"scale: expected normal and positive values, got {scale.min()}")
        return (mean, scale) if mean.any() or (scale != 1).any() else (None, None)

    @property
    def in_features(self) -> int:
        """How many features a sample has."""
        return self.layers[0].weight.shape[0]

    @property
    def _sources(self) -> list[str]:
        """What each layer reads, by the names of `intermediates`."""
        return ["input" if self.mean is None else "normalized", *self.names[:-1]]

    def lower(self, builder: Builder) -> int:
        """Append the layers to a program; returns the buffer of the result."""
        x = builder.input((self.in_features,))
        if self.mean is not None and self.scale is not None:
            x = builder.normalize(x, self.mean, self.scale)
        for name, layer in zip(self.names, self.layers, strict=True):
            x = builder.lower(name, layer, (x,))
        return x

    @property
    def nbytes(self) -> int:
        """Bytes of all weights and biases, and of mean and scale where there are any, in float32."""
        first = sum(values.nbytes for values in (self.mean, self.scale) if values is not None)
        return first + sum(layer.weight.nbytes + layer.bias.nbytes for layer in self.layers)

    def _samples(self, name: str, x: Any) -> np.ndarray:
        """Return samples as float32, checked; `name` is for the error."""
        x = _check.real_array(name, x)
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"{name}: expected shape (samples, {self.in_features}), got {x.shape}")
        return x

    def _normalized(self, x: np.ndarray) -> np.ndarray:
        return x if self.mean is None else (x - self.mean) / self.scale

    def __call__(self, x: Any) -> np.ndarray:
        y = self._normalized(self._samples("x", x))
        for layer in self.layers:
            y = layer(y)
        return y

    def intermediates(self, x: Any) -> dict[str, np.ndarray]:
        """Return the input, "normalized" if the model does that, and every layer's output, by name."""
        values = {"input": self._samples("x", x)}
        if self.mean is not None:
            values["normalized"] = self._normalized(values["input"])
        for name, layer in zip(self.names, self.layers, strict=True):
            values[name] = layer(next(reversed(values.values())))
        return values

    def __repr__(self) -> str:
        lines = [] if self.mean is None else ["  normalized: (x - mean) / scale"]
        lines += [f"  {name}: {layer!r}" for name, layer in zip(self.names, self.layers, strict=True)]
        return "\n".join([f"Sequential({self.nbytes:,} bytes, {self.task})", *lines])


def _check_names(names: list[str]) -> None:
    """Refuse names that repeat, or that the program of some scheme gives to another buffer."""
    if len(set(names)) != len(names):
        raise ValueError(f"layers: expected different names, got {names}")
    taken = {"input", "normalized", "input_codes", "output"}
    taken |= {f"{name}_{what}" for name in names for what in ("scale", "zero_point", "codes", "output_codes", "values")}
    if taken & set(names):
        raise ValueError(f"layers: expected names that no other buffer has, got {sorted(taken & set(names))}")


def from_weights(
    weights: Iterable[tuple[Any, Any]],
    activation: str | None = "relu",
    layout: str = "in_out",
    *,
    task: str = "multiclass",
    classes: Any = None,
) -> Sequential:
    """Build a fully connected model from arrays.

    Parameters
    ----------
    weights : iterable of (weight, bias)
        From the first layer to the last; a bias may be None.
    activation : {"relu", None}
        Of all layers but the last.
    layout : {"in_out", "out_in"}
        Which axis of a weight comes first: (in, out) as in Keras and scikit-learn, (out, in) as in PyTorch.
    task, classes
        See `Sequential`.

    Raises
    ------
    TypeError, ValueError
        As `Dense` and `Sequential`; the message names the layer.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.from_weights([(np.ones((4, 3)), None), (np.ones((3, 2)), np.zeros(2))])
    Sequential(92 bytes, multiclass)
      dense_1: Dense(4 -> 3, relu)
      dense_2: Dense(3 -> 2)
    """
    _check.choice("layout", layout, ("in_out", "out_in"))
    if activation is not None:
        _check.choice("activation", activation, ("relu",))
    if isinstance(weights, (Mapping, str, bytes)) or not isinstance(weights, Iterable):
        hint = ": pick them by name, layer by layer" if isinstance(weights, Mapping) else ""
        raise TypeError(f"weights: expected pairs (weight, bias), got {type(weights).__name__}{hint}")
    pairs = list(weights)
    layers = []
    for i, pair in enumerate(pairs):
        try:
            weight, bias = pair
        except (TypeError, ValueError):
            raise ValueError(f"weights[{i}]: expected a pair (weight, bias), got {type(pair).__name__}") from None
        try:
            weight = _check.as_array("weight", weight)
            layer = Dense(weight.T if layout == "out_in" else weight, bias, activation if i < len(pairs) - 1 else None)
        except (TypeError, ValueError) as error:
            raise type(error)(f"weights[{i}]: {error}") from None
        layers.append(layer)
    return Sequential(layers, task=task, classes=classes)
