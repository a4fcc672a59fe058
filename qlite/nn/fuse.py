"""Fusing: from a model as it is trained to the layers that are deployed, which compute the same.

Batch norms, and sums and products with constants of channels, go into the weights of the layer before or behind them,
and those at the very front into what the model subtracts and divides by. Batch norms become a factor and a summand for
each channel where there are none. An activation that is a clamp goes into the layer before it, since integer products
and sums apply it themselves, and any other one out of it. Padding goes into the convolution behind it. A product that
is cut along its channels becomes one for each part (see parts.py). Dropout falls away. Nothing is fused with a value
that something else reads, or that is an output.
"""

from copy import copy
from typing import Any, NamedTuple, TypeVar

import numpy as np

from qlite.nn.graph import Node
from qlite.nn.layers.activation import Activation
from qlite.nn.layers.attention import MultiHeadAttention
from qlite.nn.layers.batch_norm import BatchNorm
from qlite.nn.layers.binary import Binary, Multiply, Subtract
from qlite.nn.layers.channel_affine import ChannelAffine
from qlite.nn.layers.constant import Constant
from qlite.nn.layers.conv import Conv2D, Convolution, DepthwiseConv2D
from qlite.nn.layers.conv1d import Conv1D
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.dropout import Dropout
from qlite.nn.layers.flatten import Flatten
from qlite.nn.layers.layer import Layer
from qlite.nn.layers.separable import SeparableConv2D
from qlite.nn.layers.shape import Pad, Reshape
from qlite.nn.layers.weighted import Weighted
from qlite.nn.model import Model
from qlite.nn.parts import with_parts
from qlite.nn.sequential import Sequential
from qlite.ops.activations import CLAMPS

L = TypeVar("L", bound=Layer)
C = TypeVar("C", bound=Convolution)

FLOAT32_MAX = float(np.finfo(np.float32).max)


class _Affine(NamedTuple):
    """``factor * x + summand``, float64 (features,)."""

    factor: np.ndarray
    summand: np.ndarray

    def then(self, other: "_Affine") -> "_Affine":
        return _Affine(self.factor * other.factor, self.summand * other.factor + other.summand)


def fuse(model: Model) -> Model:
    """Return a model of layers that can be deployed, which computes what `model` computes at inference.

    Its layers have no activation but a clamp, and the names that they had; another activation of a layer "dense_1"
    becomes a layer "dense_1_<activation>", and one that is cut along its channels a layer for each part, which has the
    part's name. What a batch norm at the very front subtracts and divides by goes into `mean` and `scale`. Arrays are
    those of `model` where nothing was folded into them.
    """
    fused = _Fusing(model).result()
    while (parted := with_parts(fused)) is not fused:
        fused = _Fusing(parted).result()  # what is behind a part may go into it
    return fused


class _Fusing:
    """The nodes of the fused graph as they come, and where the values of the first graph are in it."""

    def __init__(self, model: Model) -> None:
        self.model, self.mean, self.scale = model, model.mean, model.scale
        self.nodes: dict[str, Node] = {}
        self.waiting: dict[str, _Affine] = {}  # for the weights behind, by the value that they are to be applied to
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
        model, outputs = self.model, tuple(self.place[name] for name in self.outputs)
        used = {*outputs, *(source for node in self.nodes.values() for source in node.sources)}
        nodes = [n for n in self.nodes.values() if n.name in used or not isinstance(n.layer, Constant)]
        options: dict[str, Any] = {"mean": self.mean, "scale": self.scale, "task": model.task, "classes": model.classes}
        before = ("input", *(node.name for node in nodes))
        is_chain = all(node.sources == (name,) for node, name in zip(nodes, before, strict=False))
        if isinstance(model, Sequential) and is_chain:
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
        elif (found := self._of_channels(i)) is not None and (folded := self._fold(i, *found)) is not None:
            self.place[name] = folded
        elif isinstance(layer, Flatten):
            self.place[name] = self._put(name, layer, read)
            if (waiting := self.waiting.pop(read[0], None)) is not None:
                shape = self.model.shapes[self.sources[i][0]]
                times = int(np.prod(shape[:-1]))
                self.waiting[name] = _Affine(np.tile(waiting.factor, times), np.tile(waiting.summand, times))
        elif isinstance(layer, SeparableConv2D):
            depthwise, pointwise = layer.split()
            depthwise, read = self._with_padding(i, depthwise, read)
            read = (self._weighted(self._free(f"{name}_depthwise"), depthwise, read),)
            self.place[name] = self._weighted(self._free(f"{name}_pointwise"), pointwise, read)
        elif isinstance(layer, MultiHeadAttention):
            self.place[name] = self._attention(name, layer, read)
        elif isinstance(layer, Weighted):
            if isinstance(layer, Conv1D | Conv2D | DepthwiseConv2D):
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
        if node is None or not isinstance(node.layer, Pad) or node.layer.mode != "constant":
            return layer, read
        if not self._is_only_reader(i):
            return layer, read
        (source,) = self.sources[i]
        (before,) = self.sources[self._number[source]]
        *added, channels = node.layer.sides(self.model.shapes[before])
        if channels != (0, 0):
            return layer, read
        top, bottom, left, right = layer.fields(self.model.shapes[source])["padding"]
        wide = added[-1][0] + left, added[-1][1] + right
        padded = copy(layer)
        padded.padding = wide if len(added) == 1 else ((added[0][0] + top, added[0][1] + bottom), wide)
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

    def _is_only_reader(self, i: int, input_number: int = 0) -> bool:
        """Whether nothing else needs what layer i reads."""
        source = self.sources[i][input_number]
        return self._readers[source] == [i] and source not in self.outputs

    # ---- factors and summands of channels

    def _norm(self, i: int, name: str, norm: BatchNorm, source: str) -> str:
        own = _Affine(*norm.affine())
        if (folded := self._fold_into_weights(i, 0, own)) is not None:
            return folded
        if self._is_in_front(i, 0):
            deviation = np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
            self.mean, self.scale = _normalization(self, norm.mean, deviation)
            own = _Affine(norm.gamma.astype(np.float64), norm.beta.astype(np.float64))
        if self._waits(i, 0, own):
            return source
        if (waiting := self.waiting.pop(source, None)) is not None:
            own = waiting.then(own)
        return self._put(name, ChannelAffine(*own), (source,))

    def _of_channels(self, i: int) -> tuple[int, _Affine] | None:
        """What a sum, a difference or a product with a constant of channels computes, and which input of layer i is not
        the constant; None of other layers."""
        layer, read = self.model.layers[i], self.sources[i]
        constants = [self.model.layers[self._number[s]] if s in self._number else None for s in read]
        found = [j for j, constant in enumerate(constants) if isinstance(constant, Constant)]
        if not isinstance(layer, Binary) or len(found) != 1:
            return None
        other, constant, shape = 1 - found[0], constants[found[0]], self.model.shapes[read[1 - found[0]]]
        assert isinstance(constant, Constant)
        value = constant.value.astype(np.float64)
        if value.size not in (1, value.shape[-1]) or np.broadcast_shapes(value.shape, shape) != shape:
            return None
        vector, one = np.broadcast_to(value.ravel(), shape[-1]), np.ones(shape[-1])
        if isinstance(layer, Multiply):
            return other, _Affine(vector, 0 * one)
        if isinstance(layer, Subtract):
            return other, _Affine(one, -vector) if other == 0 else _Affine(-one, vector)
        return other, _Affine(one, vector)

    def _fold(self, i: int, input_number: int, own: _Affine) -> str | None:
        """Fold what layer i does to one of its inputs where something takes it in, and return where its result is."""
        layer: Any = self.model.layers[i]
        activation, source = layer.activation, self.place[self.sources[i][input_number]]
        if (folded := self._fold_into_weights(i, input_number, own)) is not None:
            node = self.nodes[folded]
            joined: Any = node.layer
            joined.activation = activation
            return folded
        if activation is not None or self.model.names[i] in self.outputs:
            return None
        if self._is_in_front(i, input_number) and (own.factor > 0).all():
            mean, scale = _normalization(self, -own.summand / own.factor, 1 / own.factor)
            if max(np.abs(mean).max(), scale.max()) <= FLOAT32_MAX:
                self.mean, self.scale = mean, scale
                return source
        return source if self._waits(i, input_number, own) else None

    def _fold_into_weights(self, i: int, input_number: int, own: _Affine) -> str | None:
        """Fold what layer i does into the weights of the layer before it, where there is one that has no activation."""
        source = self.place[self.sources[i][input_number]]
        node = self.nodes.get(source)
        if node is None or not isinstance(node.layer, Weighted) or node.layer.activation is not None:
            return None
        if source in self.waiting or not self._is_only_reader(i, input_number):
            return None
        self.nodes[source] = node._replace(layer=_before(node.layer, own, node.name))
        return source

    def _is_in_front(self, i: int, input_number: int) -> bool:
        """Whether layer i alone reads the only input of the model, as it is."""
        source = self.place[self.sources[i][input_number]]
        is_input = source not in self.nodes and source not in self.waiting
        return is_input and self._is_only_reader(i, input_number) and len(self.model.inputs) == 1

    def _waits(self, i: int, input_number: int, own: _Affine) -> bool:
        """Leave what layer i does to the weights behind it, where they take it in."""
        source = self.place[self.sources[i][input_number]]
        waiting = self.waiting.get(source)
        whole = own if waiting is None else waiting.then(own)
        if not (self._is_only_reader(i, input_number) and self._takes_in(i, bool(whole.summand.any()))):
            return False
        self.waiting[source] = whole
        return True

    def _takes_in(self, i: int, has_summand: bool) -> bool:
        """Whether the result of layer i goes, through what passes it on, into a single layer that can take in a factor
        and, where there is one, a summand of its inputs: no convolution that pads with zeros can take in a summand."""
        while True:
            name = self.model.names[i]
            readers = self._readers.get(name, [])
            if len(readers) != 1 or name in self.outputs:
                return False
            (i,) = readers
            layer: Any = self.model.layers[i]
            if isinstance(layer, Dense):
                return True
            if isinstance(layer, Conv1D | Conv2D | DepthwiseConv2D):
                return not has_summand or not any(layer.fields(self.model.shapes[name])["padding"])
            if isinstance(layer, BatchNorm):
                has_summand = True
            elif (found := self._of_channels(i)) is not None and layer.activation is None:
                has_summand |= bool(found[1].summand.any())
            elif not isinstance(layer, Flatten):
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


def _before(layer: Weighted, own: _Affine, name: str) -> Weighted:
    """A layer that multiplies and adds to its results as well."""
    folded = _named(layer, name)
    folded.weight = (layer.weight * own.factor).astype(np.float32)
    folded.bias = (layer.bias * own.factor + own.summand).astype(np.float32)
    return folded


def _behind(own: _Affine, layer: Weighted) -> Weighted:
    """A layer that multiplies and adds to what it reads as well; a convolution may have groups of channels."""
    channels, outputs = layer.weight.shape[-2:]
    of_a_group = outputs * channels // len(own.factor)
    reads = np.arange(outputs) // of_a_group * channels + np.arange(channels)[:, None]
    folded = copy(layer)
    folded.weight = (layer.weight * own.factor[reads]).astype(np.float32)
    spatial = tuple(range(layer.weight.ndim - 2))
    total = layer.weight.sum(axis=spatial, dtype=np.float64)
    folded.bias = (layer.bias + (own.summand[reads] * total).sum(axis=0)).astype(np.float32)
    return folded


def _normalization(model: Any, mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of the model and, after them, of ``(x - mean) / deviation``."""
    if model.mean is None or model.scale is None:
        return mean, deviation
    scale = model.scale.astype(np.float64)
    return model.mean + scale * mean, scale * deviation
