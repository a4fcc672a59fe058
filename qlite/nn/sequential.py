"""Float models: layers one after another."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy, deepcopy
from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.layer import Layer, Shape, finite_float32
from qlite.nn.lower import Builder
from qlite.nn.model_grids import ModelGrids
from qlite.nn.predictor import PROBABILITIES, Predictor
from qlite.ops.activations import check_activation

#: What the names of a layer's other buffers end in.
BUFFERS = ("scale", "zero_point", "codes", "output_codes", "sums", "values")


@public
class Sequential(Predictor):
    """A float model whose layers follow one another.

    Parameters
    ----------
    layers : sequence of Layer
        Each takes what the one before gives.
    input_shape : tuple of int, optional
        The shape of a sample; by default what the first layer's weights tell.
    seed : int
        Of the weights that layers made of `units` get here.
    mean, scale : array_like of a real floating dtype, of the shape of a sample's last axis, optional
        The first layer gets ``(x - mean) / scale``: zeros and ones by default. This stays float32 in every quantized
        form, because features of different ranges that share one 8-bit grid would lose those of small range.
    task : {"multiclass", "binary", "regression", "multioutput"}
        What the raw outputs are: logits of several classes, the logit of the second of two classes, or values.
        `predict` gives a single value for each sample as a vector, but for "multioutput" as a column.
    classes : array_like, optional
        The labels, sorted; 0, 1, 2... by default.

    Attributes
    ----------
    history : History or None
        What happened in training, of a model that `train` returned.

    Raises
    ------
    TypeError, ValueError
        No layers, something else than a layer, layers that do not fit together, no `input_shape` where the first layer
        does not tell, names that repeat or that buffers of the integer program have, an output that is no vector; a
        mean that is not finite, a scale that is not normal and positive.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> m = ql.Sequential([ql.Dense(np.eye(2), activation="relu"), ql.Dense(np.ones((2, 3)))])
    >>> m(np.array([[1.0, -2.0]]))
    array([[1., 1., 1.]], dtype=float32)
    >>> ql.Sequential([ql.Dense(units=128, activation="relu"), ql.Dense(units=10)], input_shape=(784,))
    Sequential(407,080 bytes, multiclass)
      dense_1: Dense(784 -> 128, relu)
      dense_2: Dense(128 -> 10)
    """

    history: Any = None

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_shape: Sequence[int] | None = None,
        seed: int = 0,
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
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{i}]: expected a layer, got {type(layer).__name__}")
        self.names = _names(self.layers)
        self.input_shape = self._input_shape(input_shape)
        self.output_shape = self._build(np.random.default_rng(seed))
        if len(self.output_shape) != 1:
            raise ValueError(
                f"layers: expected a vector as the output, such as after Flatten(), got {self.output_shape}"
            )
        self.mean, self.scale = self._normalization(mean, scale)
        self._set_task(task, classes, self.output_shape[-1])
        self.grids: ModelGrids | None = None  # those of training with a scheme

    def _input_shape(self, given: Any) -> Shape:
        told = self.layers[0].input_shape
        if given is None:
            if told is None:
                raise ValueError(
                    "input_shape: expected the shape of a sample, which the first layer has no weights to tell"
                )
            return told
        shape = _check.shape("input_shape", given)
        if not shape or 0 in shape:
            raise ValueError(f"input_shape: expected at least one length, none of them 0, got {shape}")
        return shape

    def _build(self, rng: "np.random.Generator") -> Shape:
        """Make missing weights from the first layer to the last; returns the shape of the result."""
        shape = self.input_shape
        for i, layer in enumerate(self.layers):
            layer.build(rng, shape)
            try:
                shape = layer.infer(shape)
            except ValueError as error:
                source = f"which layers[{i - 1}] gives" if i else "the input's"
                raise ValueError(f"layers[{i}]: {self.names[i]!r}: {error}, {source}") from None
        return shape

    def _normalization(self, mean: Any, scale: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Mean and scale as vectors, or None and None if they change nothing."""
        if mean is None and scale is None:
            return None, None
        shape = self.input_shape[-1:]
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
        return self.input_shape[-1]

    @property
    def gives_probabilities(self) -> bool:
        return self.task in PROBABILITIES and getattr(self.layers[-1], "activation", None) == PROBABILITIES[self.task]

    @property
    def logits_layers(self) -> list[Layer]:
        """The layers without the softmax, or of a binary task the sigmoid, that they end in: what losses of logits are
        trained on. Their arrays are those of the model.
        """
        last = self.layers[-1]
        if not self.gives_probabilities:
            return self.layers
        if not isinstance(last, Dense):
            return self.layers[:-1]
        last = copy(last)
        last.activation = None
        return [*self.layers[:-1], last]

    def copy(self) -> "Sequential":
        """Return a model with arrays of its own."""
        return deepcopy(self)

    def save(self, path: Any) -> None:
        """Write the model to a file: all of it, or an error and the old file as it was. See `load`.

        The file holds the layers with their arrays, and the grids of training with a scheme, so that of what is loaded
        `quantize_model` makes the same integers; not the history. An existing file's mode is kept, and a symbolic link
        is followed.

        Raises
        ------
        OSError
            The file cannot be written.
        TypeError, ValueError
            A layer that has no kind of its own, or whose arrays are not float32 any more or not finite.

        Examples
        --------
        >>> import numpy as np, qlite as ql, tempfile, os
        >>> m = ql.Sequential([ql.Dense(np.eye(2), activation="relu"), ql.Softmax()])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     m.save(os.path.join(folder, "m.qlite"))
        ...     ql.load(os.path.join(folder, "m.qlite"))
        Sequential(24 bytes, multiclass)
          dense_1: Dense(2 -> 2, relu)
          softmax_1: Softmax()
        """
        from qlite.io import float_model_file  # here: files stand on models

        float_model_file.save(self, path)

    @property
    def _sources(self) -> list[str]:
        """What each layer reads, by the names of `intermediates`."""
        return ["input" if self.mean is None else "normalized", *self.names[:-1]]

    def lower(self, builder: Builder) -> int:
        """Append the layers to a program; returns the buffer of the result."""
        x = builder.input(self.input_shape)
        if self.mean is not None and self.scale is not None:
            x = builder.normalize(x, self.mean, self.scale)
        for name, layer in zip(self.names, self.layers, strict=True):
            x = builder.lower(name, layer, (x,))
        return x

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters and statistics, and of mean and scale where there are any, in float32."""
        first = sum(values.nbytes for values in (self.mean, self.scale) if values is not None)
        arrays = (values for layer in self.layers for values in (layer.parameters | layer.statistics).values())
        return first + sum(values.nbytes for values in arrays)

    def _samples(self, name: str, x: Any) -> np.ndarray:
        """Return samples as float32, checked; `name` is for the error."""
        x = _check.real_array(name, x)
        if x.shape[1:] != self.input_shape or x.ndim == 0:
            raise ValueError(
                f"{name}: expected shape (samples, {', '.join(map(str, self.input_shape))}), got {x.shape}"
            )
        return x

    def _normalized(self, x: np.ndarray) -> np.ndarray:
        return x if self.mean is None else (x - self.mean) / self.scale

    def __call__(self, x: Any) -> np.ndarray:
        y = self._normalized(self._samples("x", x))
        for layer in self.layers:
            y = layer.compute(y)
        return y

    def intermediates(self, x: Any) -> dict[str, np.ndarray]:
        """Return the input, "normalized" if the model does that, and every layer's output, by name."""
        values = {"input": self._samples("x", x)}
        if self.mean is not None:
            values["normalized"] = self._normalized(values["input"])
        for name, layer in zip(self.names, self.layers, strict=True):
            values[name] = layer.compute(next(reversed(values.values())))
        return values

    def __repr__(self) -> str:
        lines = [] if self.mean is None else ["  normalized: (x - mean) / scale"]
        lines += [f"  {name}: {layer!r}" for name, layer in zip(self.names, self.layers, strict=True)]
        return "\n".join([f"Sequential({self.nbytes:,} bytes, {self.task})", *lines])


def _names(layers: Sequence[Layer]) -> list[str]:
    """The names of layers, those without one numbered by kind."""
    counts: Counter[str] = Counter()
    names = []
    for layer in layers:
        counts[layer.kind] += 1
        names.append(layer.name or f"{layer.kind}_{counts[layer.kind]}")
    _check_names(names)
    return names


def _check_names(names: list[str]) -> None:
    """Refuse names that repeat, or that the program of some scheme gives to another buffer."""
    if len(set(names)) != len(names):
        raise ValueError(f"layers: expected different names, got {names}")
    taken = {"input", "normalized", "input_codes", "output"}
    taken |= {f"{name}_{what}" for name in names for what in BUFFERS}
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
    activation : {None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "hard_swish", "softmax"}
        Of all layers but the last; see `Activation`.
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
    check_activation(activation)
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
