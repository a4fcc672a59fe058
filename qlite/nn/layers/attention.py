"""Attention of several heads, made of other layers."""

from copy import copy
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.initializers import INITIALIZERS
from qlite.nn.layers.activation import Softmax
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.layers.matmul import MatMul
from qlite.nn.lower import Builder

#: The four products with weights, in the order in which they are computed.
PRODUCTS = ("query", "key", "value", "output")


@public
class MultiHeadAttention(Layer):
    """Attention of several heads (Vaswani et al. 2017): rows of values, averaged by how well keys match queries.

    With ``q = x @ W_q + b_q``, and k and v of the same form, cut into heads of d features each,

    ``softmax(q @ k.T / sqrt(d)) @ v`` for each head, side by side, then ``@ W_o + b_o``

    Called with one input, samples (rows, features), these attend to each other; with two, those of the first to those
    of the second. There is no mask.

    In a quantized model it falls into layers of the names ``<name>_query``, ``_key``, ``_value``, ``_scores``,
    ``_softmax``, ``_context`` and ``_output``, which no copies lie between; 1 / sqrt(d) is part of the query's weights.

    Parameters
    ----------
    heads : int
    head_size : int, optional
        d: the features over the heads by default.
    query_weight, key_weight, value_weight : array_like of a real floating dtype, (features, heads * d), optional
    output_weight : array_like of a real floating dtype, (heads * d, out), optional
        All four or none: then the model that the layer becomes part of makes them, with as many outputs as features.
    query_bias, key_bias, value_bias, output_bias : array_like of a real floating dtype, optional
        Zeros by default.
    initializer : {"he_uniform", "he_normal", "glorot_uniform", "glorot_normal"}
        How weights are drawn.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape, NaN or infinity, weights of some products alone, biases without weights, features that
        are not a multiple of the heads, a name that is no string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = ql.Input((128, 384))
    >>> ql.MultiHeadAttention(6)(x)
    <MultiHeadAttention(6 heads of ?): samples of shape (128, 384)>
    >>> w = np.eye(4)
    >>> layer = ql.MultiHeadAttention(2, query_weight=w, key_weight=w, value_weight=w, output_weight=w)
    >>> layer(np.eye(4)[None]).round(2)[0, 0]
    array([0.4 , 0.2 , 0.25, 0.25], dtype=float32)
    """

    kind = "attention"
    arity = None
    options: ClassVar[tuple[str, ...]] = ("heads", "head_size", "initializer")

    def __init__(
        self,
        heads: int,
        head_size: int | None = None,
        *,
        query_weight: Any = None,
        query_bias: Any = None,
        key_weight: Any = None,
        key_bias: Any = None,
        value_weight: Any = None,
        value_bias: Any = None,
        output_weight: Any = None,
        output_bias: Any = None,
        initializer: str = "glorot_uniform",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.heads = _check.integer("heads", heads, 1)
        self.head_size = None if head_size is None else _check.integer("head_size", head_size, 1)
        self.initializer = _check.choice("initializer", initializer, tuple(INITIALIZERS))
        weights = dict(zip(PRODUCTS, (query_weight, key_weight, value_weight, output_weight), strict=True))
        biases = dict(zip(PRODUCTS, (query_bias, key_bias, value_bias, output_bias), strict=True))
        missing = [product for product, weight in weights.items() if weight is None]
        if missing and (len(missing) < len(PRODUCTS) or any(bias is not None for bias in biases.values())):
            raise ValueError(f"{missing[0]}_weight: expected an array, as other weights or biases are given, got None")
        self.products: dict[str, Dense] = {}
        if not missing:
            for product in PRODUCTS:
                self.products[product] = _dense(product, weights[product], biases[product])
            self._check_shapes()

    def _check_shapes(self) -> None:
        """Refuse weights whose shapes do not fit together; takes the size of heads from them."""
        width = self.products["query"].units
        size = self.head_size if self.head_size is not None else width // self.heads
        expected = {"query": width, "key": width, "value": width}
        if width != self.heads * size or not size:
            raise ValueError(f"query_weight: expected {self.heads} heads of {size or 'some'} outputs, got {width}")
        for product, units in expected.items():
            if self.products[product].units != units:
                got = self.products[product].weight.shape
                raise ValueError(f"{product}_weight: expected {units} outputs as query_weight has, got shape {got}")
        if len(self.products["value"].weight) != len(self.products["key"].weight):
            got = self.products["value"].weight.shape
            raise ValueError(f"value_weight: expected as many inputs as key_weight has, got shape {got}")
        if len(self.products["output"].weight) != width:
            got = self.products["output"].weight.shape
            raise ValueError(f"output_weight: expected shape ({width}, out), got {got}")
        self.head_size = size

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        empty = np.zeros(0, np.float32)
        if not self.products:
            return {f"{product}_{what}": empty for product in PRODUCTS for what in ("weight", "bias")}
        return {f"{name}_{what}": a for name, layer in self.products.items() for what, a in layer.parameters.items()}

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:
        if self.products:
            return
        query, memory = self._checked(*shapes)
        size = self.head_size or query[-1] // self.heads
        width = self.heads * size
        if not size or (self.head_size is None and query[-1] % self.heads):
            raise ValueError(f"expected a multiple of {self.heads} features, or a head_size, got {query}")
        units = {"query": width, "key": width, "value": width, "output": query[-1]}
        inputs = {"query": query, "key": memory, "value": memory, "output": (width,)}
        self.head_size = size
        for product in PRODUCTS:
            layer = Dense(units=units[product], initializer=self.initializer)
            layer.build(rng, inputs[product])
            self.products[product] = layer

    @staticmethod
    def _checked(*shapes: Shape) -> tuple[Shape, Shape]:
        """The shapes of what attends and of what it attends to."""
        if len(shapes) > 2 or any(len(shape) != 2 for shape in shapes):
            raise ValueError(
                f"expected one or two inputs of samples (rows, features), got {', '.join(map(str, shapes))}"
            )
        return shapes[0], shapes[-1]

    def infer(self, *shapes: Shape) -> Shape:
        query, memory = self._checked(*shapes)
        if not self.products:
            return query
        self.products["query"].infer(query)
        self.products["key"].infer(memory)
        return self.products["output"].infer((query[0], self.products["value"].units))

    def macs(self, *shapes: Shape) -> int:
        (m, _), (n, _) = query, memory = self._checked(*shapes)
        width = self.products["query"].units
        read = {"query": query, "key": memory, "value": memory, "output": (m, width)}
        return sum(layer.macs(read[name]) for name, layer in self.products.items()) + 2 * m * n * width

    # ---- what it is made of

    def parts(self, name: str) -> list[tuple[Layer, tuple[str, ...]]]:
        """Return the layers that compute the same, named after this one, with what they read: each other by name, and
        "query" and "memory", the inputs."""
        assert self.head_size is not None
        query = copy(self.products["query"])
        query.weight, query.bias = (a * np.float32(self.head_size**-0.5) for a in (query.weight, query.bias))
        layers: dict[str, tuple[Layer, tuple[str, ...]]] = {
            "query": (query, ("query",)),
            "key": (copy(self.products["key"]), ("memory",)),
            "value": (copy(self.products["value"]), ("memory",)),
            "scores": (MatMul(transpose_b=True, heads=self.heads), (f"{name}_query", f"{name}_key")),
            "softmax": (Softmax(), (f"{name}_scores",)),
            "context": (MatMul(heads=self.heads), (f"{name}_softmax", f"{name}_value")),
            "output": (copy(self.products["output"]), (f"{name}_context",)),
        }
        for what, (layer, _) in layers.items():
            layer.name = f"{name}_{what}"
        return list(layers.values())

    def compute(self, *x: np.ndarray) -> np.ndarray:
        values = {"query": x[0], "memory": x[-1]}
        for layer, read in self.parts(""):
            values[str(layer.name)] = layer.compute(*(values[source] for source in read))
        return values["_output"]

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        values, parts, saved = {"query": x[0], "memory": x[-1]}, self.parts(""), []
        for layer, read in parts:
            y, kept = layer.forward(*(values[source] for source in read), rng=rng)
            values[str(layer.name)] = y
            saved.append(kept)
        return values["_output"], (len(x), parts, saved)

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is how many inputs there were, the layers, and what each kept."""
        count, parts, kept = saved
        waiting, own = {"_output": gradient}, dict[str, np.ndarray]()
        for (layer, read), one in zip(reversed(parts), reversed(kept), strict=True):
            gradients, of_parameters = layer.backward(one, waiting.pop(str(layer.name)))
            assert gradients is not None
            for source, value in zip(read, gradients, strict=True):
                waiting[source] = waiting[source] + value if source in waiting else value
            own |= {f"{layer.name}_{what}"[1:]: value for what, value in of_parameters.items()}
        assert self.head_size is not None
        for what in ("query_weight", "query_bias"):
            own[what] = own[what] * np.float32(self.head_size**-0.5)
        if not needs_input:
            return None, own
        if count == 1:
            return (waiting["query"] + waiting["memory"],), own
        return (waiting["query"], waiting["memory"]), own

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        raise ValueError(f"layer {builder.layer!r}: expected a MultiHeadAttention in parts: see fuse()")

    def __repr__(self) -> str:
        return f"MultiHeadAttention({self.heads} heads of {self.head_size or '?'})"


def _dense(product: str, weight: Any, bias: Any) -> Dense:
    """One of the products, whose arrays have longer names here."""
    try:
        return Dense(weight, bias)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{product}_{error}") from None
