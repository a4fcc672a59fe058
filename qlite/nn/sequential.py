"""Float models: layers one after another."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from qlite import _check
from qlite.nn.layers import Dense
from qlite.nn.model import Model


class Sequential(Model):
    """A float model whose layers follow one another.

    Parameters
    ----------
    layers : sequence of Dense
        Each takes what the one before gives.
    output : {"softmax", "sigmoid", "identity"}
        What the raw outputs are; see `predict`.
    classes : array_like, optional
        The labels, sorted; 0, 1, 2... by default.

    Raises
    ------
    TypeError, ValueError
        No layers, something else than a layer, layers that do not fit together, names that repeat.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> m = ql.Sequential([ql.Dense(np.eye(2), activation="relu"), ql.Dense(np.ones((2, 3)))])
    >>> m(np.array([[1.0, -2.0]]))
    array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(self, layers: Sequence[Dense], *, output: str = "softmax", classes: Any = None) -> None:
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
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"layers: expected different names, got {self.names}")
        self._set_output(output, classes, self.layers[-1].weight.shape[1])

    @property
    def in_features(self) -> int:
        """How many features a sample has."""
        return self.layers[0].weight.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all weights and biases in float32."""
        return sum(layer.weight.nbytes + layer.bias.nbytes for layer in self.layers)

    def _input(self, x: Any) -> np.ndarray:
        x = _check.real_array("x", x).astype(np.float32, copy=False)
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"x: expected shape (samples, {self.in_features}), got {x.shape}")
        return x

    def __call__(self, x: Any) -> np.ndarray:
        y = self._input(x)
        for layer in self.layers:
            y = layer(y)
        return y

    def intermediates(self, x: Any) -> dict[str, np.ndarray]:
        """Return the input and every layer's output, by name."""
        values = {"input": self._input(x)}
        for name, layer in zip(self.names, self.layers, strict=True):
            values[name] = layer(next(reversed(values.values())))
        return values

    def __repr__(self) -> str:
        lines = [f"  {name}: {layer!r}" for name, layer in zip(self.names, self.layers, strict=True)]
        return "\n".join([f"Sequential({self.nbytes:,} bytes, {self.output})", *lines])


def from_weights(
    weights: Iterable[tuple[Any, Any]],
    activation: str | None = "relu",
    layout: str = "in_out",
    *,
    output: str = "softmax",
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
    output, classes
        See `Sequential`.

    Raises
    ------
    TypeError, ValueError
        As `Dense` and `Sequential`; the message names the layer.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.from_weights([(np.ones((4, 3)), None), (np.ones((3, 2)), np.zeros(2))])
    Sequential(92 bytes, softmax)
      dense_1: Dense(4 -> 3, relu)
      dense_2: Dense(3 -> 2)
    """
    _check.choice("layout", layout, ("in_out", "out_in"))
    pairs = list(weights)
    layers = []
    for i, pair in enumerate(pairs):
        try:
            weight, bias = pair
        except (TypeError, ValueError):
            raise ValueError(f"weights[{i}]: expected a pair (weight, bias), got {type(pair).__name__}") from None
        weight = np.asarray(weight)
        try:
            layer = Dense(weight.T if layout == "out_in" else weight, bias, activation if i < len(pairs) - 1 else None)
        except (TypeError, ValueError) as error:
            raise type(error)(f"weights[{i}]: {error}") from None
        layers.append(layer)
    return Sequential(layers, output=output, classes=classes)
