"""What a network is: named nodes, each of which reads what came before it.

Images are (height, width, channels). Padding is "same" or "valid" as in Keras: what is odd goes to the end.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

INPUT = "input"
SEED = 20


@dataclass(frozen=True, eq=False)
class Node:
    """`op` is one of `SHAPES`.

    Weights are (height, width, in / groups, out) or (in, out), those of attention (4, width, width) for queries, keys,
    values and the result; slopes of prelu and scales of layer_norm have one axis. Batch norms are folded into weights.
    `options` are those that only this operator has.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    activation: str | None = None
    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: str = "valid"
    groups: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def pads(self, height, width):
        """Rows and columns that are added: ((top, bottom), (left, right))."""
        return tuple(
            _before_after(n, size, stride) if self.padding == "same" else (0, 0)
            for n, size, stride in zip((height, width), self.size, self.stride, strict=True)
        )

    def shape(self, *shapes):
        """The shape of a sample of the result, from those of the inputs."""
        return tuple(SHAPES[self.op](self, *shapes))

    def operations(self, source, result):
        """Multiplications and additions for one sample, from the shapes of the first input and of the result."""
        if self.op == "attention":
            rows, width = source
            return 2 * rows * self.weight.size + 4 * rows * rows * width
        at = {"conv": result, "dense": result, "conv_transpose": source}.get(self.op)
        return 2 * prod(at[:-1]) * self.weight.size if at else 0


def _before_after(n, size, stride):
    total = max((-(-n // stride) - 1) * stride + size - n, 0)
    return total // 2, total - total // 2


def _windows(node, shape):
    return [
        (n + sum(pad) - size) // stride + 1
        for n, pad, size, stride in zip(shape, node.pads(*shape[:2]), node.size, node.stride, strict=False)
    ]


def _upsampled(node, shape):
    return [(n - 1) * stride + size for n, size, stride in zip(shape, node.size, node.stride, strict=False)]


def _concatenated(node, *shapes):
    axis = node.options["axis"]
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


SHAPES = {
    "conv": lambda node, x: (*_windows(node, x), node.weight.shape[3]),
    "conv_transpose": lambda node, x: (*_upsampled(node, x), node.weight.shape[3]),
    "dense": lambda node, x: (*x[:-1], node.weight.shape[1]),
    "attention": lambda node, x: x,
    "max_pool": lambda node, x: (*_windows(node, x), x[2]),
    "mean": lambda node, x: (1, 1, x[2]) if node.options["keepdims"] else x[2:],
    "resize_bilinear": lambda node, x: (*node.options["size"], x[2]),
    "pad": lambda node, x: (n + sum(sides) for n, sides in zip(x, node.options["padding"], strict=True)),
    "add": lambda node, a, b: np.broadcast_shapes(a, b),
    "multiply": lambda node, a, b: np.broadcast_shapes(a, b),
    "concatenate": _concatenated,
    "flatten": lambda node, x: (prod(x),),
    "reshape": lambda node, x: node.options["shape"],
    **dict.fromkeys(("activation", "prelu", "layer_norm"), lambda node, x: x),
}


@dataclass(eq=False)
class Network:
    """A network from the input "input" to its last node or `ends`, and the methods that write it down.

    Each method appends a node that reads `source`, the last one if none is named, and returns its name. Weights are
    normal with He's variance, from a seed of the network's own: that of a linear node is half as large.
    """

    name: str
    input_shape: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)
    ends: tuple[str, ...] = ()

    @cached_property
    def _random(self):
        return np.random.default_rng([SEED, *self.name.encode()])

    @property
    def last(self):
        return self.nodes[-1].name if self.nodes else INPUT

    @property
    def outputs(self):
        return self.ends or (self.last,)

    @property
    def shapes(self):
        """Shapes of a sample, by name: of the input and of every node."""
        shapes = {INPUT: self.input_shape}
        for node in self.nodes:
            shapes[node.name] = node.shape(*(shapes[name] for name in node.inputs))
        return shapes

    @property
    def operations(self):
        """Multiplications and additions for one sample."""
        shapes = self.shapes
        return sum(node.operations(shapes[node.inputs[0]], shapes[node.name]) for node in self.nodes)

    def images(self, count, seed=0):
        """Random normal float32 samples."""
        return np.random.default_rng(seed).standard_normal((count, *self.input_shape), np.float32)

    def conv(self, filters, size, stride=1, activation=None, *, source=None, padding="same", depthwise=False):
        source = source or self.last
        channels = self.shapes[source][-1]
        size, stride = _pair(size), _pair(stride)
        weight_shape = (*size, 1 if depthwise else channels, channels if depthwise else filters)
        return self._append(
            "conv",
            (source,),
            *self._weights(weight_shape, activation),
            activation,
            size=size,
            stride=stride,
            padding=padding,
            groups=channels if depthwise else 1,
        )

    def depthwise(self, size, stride=1, activation=None):
        return self.conv(None, size, stride, activation, depthwise=True)

    def conv_transpose(self, filters, size, stride, activation=None):
        """Without padding: each pixel adds a window to the result."""
        shape = (*_pair(size), self.shapes[self.last][-1], filters)
        weights = self._weights(shape, activation, fan_in=shape[2])
        return self._append(
            "conv_transpose", (self.last,), *weights, activation, size=_pair(size), stride=_pair(stride)
        )

    def dense(self, units, activation=None):
        return self._append(
            "dense", (self.last,), *self._weights((self.shapes[self.last][-1], units), activation), activation
        )

    def attention(self, heads):
        """Each row attends to all of them."""
        width = self.shapes[self.last][-1]
        weights = [self._weights((width, width), None) for _ in range(4)]
        weight, bias = (np.stack(arrays) for arrays in zip(*weights, strict=True))
        return self._append("attention", (self.last,), weight, bias, options={"heads": heads})

    def prelu(self):
        """A slope for each channel below zero."""
        slopes = self._random.uniform(0.05, 0.35, self.shapes[self.last][-1]).astype(np.float32)
        return self._append("prelu", (self.last,), slopes)

    def layer_norm(self):
        width = self.shapes[self.last][-1]
        scale, shift = self._random.normal(1, 0.1, width), self._random.normal(0, 0.1, width)
        return self._append("layer_norm", (self.last,), scale.astype(np.float32), shift.astype(np.float32))

    def activation(self, function):
        """An operator of its own."""
        return self._append("activation", (self.last,), activation=function)

    def max_pool(self, size, stride, padding="valid", *, source=None):
        pool = {"size": _pair(size), "stride": _pair(stride), "padding": padding}
        return self._append("max_pool", (source or self.last,), **pool)

    def mean(self, keepdims=False, *, source=None):
        """Over height and width."""
        return self._append("mean", (source or self.last,), options={"keepdims": keepdims})

    def resize_bilinear(self, height, width):
        """Centers of pixels fall on one another."""
        return self._append("resize_bilinear", (self.last,), options={"size": (height, width)})

    def pad(self, padding, *, source=None):
        """Zeros before and after each axis."""
        return self._append("pad", (source or self.last,), options={"padding": padding})

    def flatten(self):
        return self._append("flatten", (self.last,))

    def reshape(self, shape):
        return self._append("reshape", (self.last,), options={"shape": shape})

    def add(self, one, other, activation=None):
        return self._append("add", (one, other), activation=activation)

    def multiply(self, one, other):
        return self._append("multiply", (one, other))

    def concatenate(self, *sources, axis):
        return self._append("concatenate", sources, options={"axis": axis})

    def _append(self, op, inputs, *arguments, **options):
        self.nodes.append(Node(f"{op}_{len(self.nodes)}", op, inputs, *arguments, **options))
        return self.last

    def _weights(self, shape, activation, fan_in=None):
        variance = (2 if activation else 1) / (fan_in or prod(shape[:-1]))
        weight = self._random.normal(0, variance**0.5, shape).astype(np.float32)
        return weight, self._random.normal(0, 0.1, shape[-1]).astype(np.float32)


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)
