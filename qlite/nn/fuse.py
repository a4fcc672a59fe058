"""Fusing: from a model as it is trained to the layers that are deployed, which compute the same.

Batch norms go into the weights of the layer before or behind them, and become a factor and a summand for each channel
where there are none. An activation that is a clamp goes into the layer before it, since integer products and sums apply
it themselves, and any other one out of it. Padding goes into the convolution behind it. Dropout falls away. Nothing is
fused with a value that something else reads, or that is an output.
"""

from copy import copy
from typing import Any, NamedTuple, TypeVar

import numpy as np

from qlite.nn.graph import Node
from qlite.nn.layers.activation import Activation
from qlite.nn.layers.attention import MultiHeadAttention
from qlite.nn.layers.batch_norm import BatchNorm
from qlite.nn.layers.channel_affine import ChannelAffine
from qlite.nn.layers.conv import Conv2D, Convolution, DepthwiseConv2D
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.dropout import Dropout
from qlite.nn.layers.flatten import Flatten
from qlite.nn.layers.layer import Layer
from qlite.nn.layers.separable import SeparableConv2D
from qlite.nn.layers.shape import Pad, Reshape
from qlite.nn.layers.weighted import Weighted
from qlite.nn.model import Model
from qlite.nn.sequential import Sequential
from qlite.ops.activations import CLAMPS

L = TypeVar("L", bound=Layer)
C = TypeVar("C", bound=Convolution)


class _Waiting(NamedTuple):
    """Batch norms that wait for the weights behind them: ``factor * x + summand``, float64 (features,)."""

    factor: np.ndarray
    summand: np.ndarray


def fuse(model: Model) -> Model:
    """Return a model of layers that can be deployed, which computes what `model` computes at inference.

    Its layers have no activation but a clamp, and the names that they had; another activation of a layer "dense_1"
    becomes a layer "dense_1_<activation>". What a batch norm at the very front subtracts and divides by goes into
    `mean` and `scale`. Arrays are those of `model` where nothing was folded into them.
    """
    return _Fusing(model).result()


class _Fusing:
    """The nodes of the fused graph as they come, and where the values of the first graph are in it."""

    def __init__(self, model: Model) -> None:
        self.model, self.mean, self.scale = model, model.mean, model.scale
        self.nodes: dict[str, Node] = {}
        self.waiting: dict[str, _Waiting] = {}  # by the value that they are to be applied to
        self.place = {name: name for name in model.inputs}
        if model.mean is not None:
            self.place["normalized"] = next(iter(model.inputs))
        same = _without_dropout(model)
        self.sources = [tuple(same[source] for source in read) for read in model.sources]
        self.outputs = tuple(same[name] for name in model.outputs)
        self._kept = {name for name in model.names if same[name] == name}
        self._number = {name: i for i, name in enumerate(model.names)}
        self._readers: dict[str, list[int]] = {}
        for i, read in enumerate(self.sources):
            if model.names[i] in self._kept:
                for source in read:
                    self._readers.setdefault(source, []).append(i)
        for i in range(len(model.layers)):
            self._take(i)

    def result(self) -> Model:
        model = self.model
        nodes, outputs = list(self.nodes.values()), tuple(self.place[name] for name in self.outputs)
        options: dict[str, Any] = {"mean": self.mean, "scale": self.scale, "task": model.task, "classes": model.classes}
        if isinstance(model, Sequential):
            return Sequential([node.layer for node in nodes], input_shape=model.input_shape, **options)
        return Model(model.inputs, outputs, nodes=nodes, **options)

    # ---- one layer

    def _take(self, i: int) -> None:
        name, layer = self.model.names[i], self.model.layers[i]
        if name not in self._kept:
            return
        read = tuple(self.place[source] for source in self.sources[i])
        if isinstance(layer, Dropout):
            self.place[name] = self._put(name, Reshape(self.model.shapes[name]), read)
        elif isinstance(layer, BatchNorm):
            self.place[name] = self._norm(i, name, layer, read[0])
        elif isinstance(layer, Flatten):
            self.place[name] = self._put(name, layer, read)
            if (waiting := self.waiting.pop(read[0], None)) is not None:
                shape = self.model.shapes[self.sources[i][0]]
                times = int(np.prod(shape[:-1]))
                self.waiting[name] = _Waiting(np.tile(waiting.factor, times), np.tile(waiting.summand, times))
        elif isinstance(layer, SeparableConv2D):
            depthwise, pointwise = layer.split()
            depthwise, read = self._with_padding(i, depthwise, read)
            read = (self._weighted(self._free(f"{name}_depthwise"), depthwise, read),)
            self.place[name] = self._weighted(self._free(f"{name}_pointwise"), pointwise, read)
        elif isinstance(layer, MultiHeadAttention):
            self.place[name] = self._attention(name, layer, read)
        elif isinstance(layer, Weighted):
            if isinstance(layer, Conv2D | DepthwiseConv2D):
                layer, read = self._with_padding(i, layer, read)
            self.place[name] = self._weighted(name, layer, read)
        elif isinstance(layer, Activation) and layer.activation in CLAMPS and self._joins(i, read[0]):
            before = self.nodes[read[0]]
            joined: Any = _named(before.layer, before.name)
            joined.activation = layer.activation
            self.nodes[read[0]] = before._replace(layer=joined)
            self.place[name] = read[0]
        else:
            self.place[name] = self._put_split(name, layer, read)

    def _attention(self, name: str, layer: MultiHeadAttention, read: tuple[str, ...]) -> str:
        """Put the layers that attention is made of; returns the last one."""
        place, last = {"query": read[0], "memory": read[-1]}, ""
        for part, sources in layer.parts(name):
            last = self._put(self._free(str(part.name)), part, tuple(place[source] for source in sources))
            place[str(part.name)] = last
        return last

    def _put(self, name: str, layer: Layer, read: tuple[str, ...]) -> str:
        self.nodes[name] = Node(name, _named(layer, name), read)
        return name

    def _put_split(self, name: str, layer: Layer, read: tuple[str, ...]) -> str:
        """Put a layer, and its activation as a layer of its own unless it is a clamp."""
        activation = None if isinstance(layer, Activation) else getattr(layer, "activation", None)
        if activation is None or activation in CLAMPS:
            return self._put(name, layer, read)
        plain: Any = _named(layer, name)
        plain.activation = None
        behind = self._free(f"{name}_{activation}")
        self.nodes[name] = Node(name, plain, read)
        return self._put(behind, Activation(activation), (name,))

    def _free(self, name: str) -> str:
        """Return the name, with underlines behind it where the model has a layer or an input of that name."""
        while name in self.model.names or name in self.model.inputs:
            name += "_"
        return name

    def _weighted(self, name: str, layer: Weighted, read: tuple[str, ...]) -> str:
        waiting = self.waiting.pop(read[0], None)
        if waiting is not None:
            layer = _behind(waiting, layer)
        return self._put_split(name, layer, read)

    def _with_padding(self, i: int, layer: C, read: tuple[str, ...]) -> tuple[C, tuple[str, ...]]:
        """Return a convolution that pads itself what only it reads padded, and what it then reads."""
        node = self.nodes.get(read[0])
        if node is None or not isinstance(node.layer, Pad) or not self._is_only_reader(i):
            return layer, read
        (source,) = self.sources[i]
        (before,) = self.sources[self._number[source]]
        high, wide, channels = node.layer.sides(self.model.shapes[before])
        if channels != (0, 0):
            return layer, read
        top, bottom, left, right = layer.fields(self.model.shapes[source])["padding"]
        padded = copy(layer)
        padded.padding = (high[0] + top, high[1] + bottom), (wide[0] + left, wide[1] + right)
        del self.nodes[read[0]]
        return padded, node.sources

    def _joins(self, i: int, source: str) -> bool:
        """Whether layer i alone reads a layer that has no activation and may have one."""
        node = self.nodes.get(source)
        return (
            node is not None
            and not isinstance(node.layer, Activation)
            and getattr(node.layer, "activation", "") is None
            and self._is_only_reader(i)
        )

    def _is_only_reader(self, i: int) -> bool:
        """Whether nothing else needs what layer i reads."""
        (source,) = self.sources[i]
        return self._readers[source] == [i] and source not in self.outputs

    # ---- batch norms

    def _norm(self, i: int, name: str, norm: BatchNorm, source: str) -> str:
        node = self.nodes.get(source)
        before = None if node is None else node.layer
        waiting = self.waiting.get(source)
        is_only = self._is_only_reader(i)
        if node and isinstance(before, Weighted) and before.activation is None and waiting is None and is_only:
            self.nodes[source] = node._replace(layer=_with_norm(before, norm, node.name))
            return source
        factor, summand = norm.affine()
        if node is None and waiting is None and is_only and len(self.model.inputs) == 1:
            self.mean, self.scale = _normalization(self, norm)
            factor, summand = norm.gamma.astype(np.float64), norm.beta.astype(np.float64)
        if waiting is not None:
            factor, summand = waiting.factor * factor, waiting.summand * factor + summand
        self.waiting.pop(source, None)
        if is_only and self._takes_in(i):
            self.waiting[source] = _Waiting(factor, summand)
            return source
        return self._put(name, ChannelAffine(factor, summand), (source,))

    def _takes_in(self, i: int) -> bool:
        """Whether the result of layer i goes, through what passes it on, into a single layer that can take in a factor
        and a summand of its inputs: a product of vectors."""
        while True:
            name = self.model.names[i]
            readers = self._readers.get(name, [])
            if len(readers) != 1 or name in self.outputs:
                return False
            (i,) = readers
            layer = self.model.layers[i]
            if isinstance(layer, Dense):
                return True
            if isinstance(layer, BatchNorm):
                continue
            if not isinstance(layer, Flatten):
                return False


def _without_dropout(model: Model) -> dict[str, str]:
    """Return, for each value, the one that it is at inference: what a dropout reads is what it gives.

    A dropout stays a value of its own where it is an output, and so is what it reads, or that is an input.
    """
    same = {name: name for name in (*model.inputs, "normalized", *model.names)}
    dropped = {name for name, layer in zip(model.names, model.layers, strict=True) if isinstance(layer, Dropout)}
    taken = {*model.inputs, "normalized", *model.outputs} - dropped
    for name, read in zip(model.names, model.sources, strict=True):
        if name not in dropped or (name in model.outputs and same[read[0]] in taken):
            continue
        same[name] = same[read[0]]
        if name in model.outputs:
            taken.add(same[name])
    return same


def _named(layer: L, name: str) -> L:
    """The layer under a name, with the same arrays."""
    layer = copy(layer)
    layer.name = name
    return layer


def _with_norm(layer: Weighted, norm: BatchNorm, name: str) -> Weighted:
    """A layer that does what a batch norm behind it did as well."""
    factor, summand = norm.affine()
    folded = _named(layer, name)
    folded.weight = (layer.weight * factor).astype(np.float32)
    folded.bias = (layer.bias * factor + summand).astype(np.float32)
    return folded


def _behind(waiting: _Waiting, layer: Weighted) -> Weighted:
    """A dense layer that does what batch norms before it did as well."""
    folded = copy(layer)
    folded.weight = (layer.weight * waiting.factor[:, None]).astype(np.float32)
    folded.bias = (layer.bias + waiting.summand @ layer.weight.astype(np.float64)).astype(np.float32)
    return folded


def _normalization(model: Any, norm: BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of the model and, after them, of a batch norm."""
    deviation = np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
    if model.mean is None or model.scale is None:
        return norm.mean, deviation
    scale = model.scale.astype(np.float64)
    return model.mean + scale * norm.mean, scale * deviation
