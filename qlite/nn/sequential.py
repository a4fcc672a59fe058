"""Float models whose layers follow one another."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qlite import _check
from qlite._public import public
from qlite.nn.graph import Graph, Node, numbered
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.model import Model
from qlite.nn.symbol import sample_shape
from qlite.ops.activations import check_activation


@public
class Sequential(Model):
    """A float model whose layers follow one another: the simplest graph, see `Model`.

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
    task : {"multiclass", "binary", "one_vs_rest", "regression", "multioutput"}
        What the raw outputs are: logits of several classes, the logit of the second of two classes, logits of several
        classes each against all others, or values.
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
        chain = list(layers)
        if not chain:
            raise ValueError("layers: expected at least one")
        for i, layer in enumerate(chain):
            if not isinstance(layer, Layer):
                got = f"the class {layer.__name__}" if isinstance(layer, type) else type(layer).__name__
                raise TypeError(f"layers[{i}]: expected a layer, got {got}")
        names = numbered(chain, [layer.name for layer in chain], ["input"])
        nodes = [Node(*node) for node in zip(names, chain, [(name,) for name in ("input", *names)], strict=False)]
        found = Graph({"input": _input_shape(chain[0], input_shape)}, nodes, (names[-1],))
        self._make(found, seed=seed, mean=mean, scale=scale, task=task, classes=classes)


def _input_shape(first: Layer, given: Any) -> Shape:
    """The shape of a sample: what is given, or what the first layer's weights tell."""
    told = first.input_shape
    if given is None:
        if told is None:
            raise ValueError(
                "input_shape: expected the shape of a sample, such as (784,) or (32, 32, 3), which the first layer's "
                "weights do not tell"
            )
        return told
    return sample_shape("input_shape", given)


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
    activation : {None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "hard_swish", "elu", \
            "hard_sigmoid", "softplus", "softmax"}
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
