"""What a network is: named nodes, each of which reads what came before it.

Images are (height, width, channels). Padding is "same" or "valid" as in Keras: what is odd goes to the end.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

INPUT = "input"
SEED = 20


@dataclass(frozen=True, eq=False)
class Node:
    """`op` is conv, dense, max_pool, mean (over height and width), add or flatten.

    Weights are (height, width, in / groups, out) or (in, out); batch norms are folded into them.
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

    def pads(self, height, width):
        """Rows and columns that are added: ((top, bottom), (left, right))."""
        return tuple(
            _before_after(n, size, stride) if self.padding == "same" else (0, 0)
            for n, size, stride in zip((height, width), self.size, self.stride, strict=True)
        )

    def shape(self, *shapes):
        """The shape of a sample of the result, from those of the inputs."""
        first = shapes[0]
        if self.op in ("conv", "max_pool"):
            channels = self.weight.shape[3] if self.op == "conv" else first[2]
            sides = [
                (n + sum(pad) - size) // stride + 1
                for n, pad, size, stride in zip(first, self.pads(*first[:2]), self.size, self.stride, strict=False)
            ]
            return (*sides, channels)
        if self.op == "dense":
            return self.weight.shape[1:]
        return {"mean": first[-1:], "flatten": (prod(first),), "add": first}[self.op]


def _before_after(n, size, stride):
    total = max((-(-n // stride) - 1) * stride + size - n, 0)
    return total // 2, total - total // 2


@dataclass(eq=False)
class Network:
    """A network from the input "input" to its last node, and the methods that write it down.

    Each method appends a node that reads `source`, the last one if none is named, and returns its name. Weights are
    normal with He's variance, from a seed of the network's own: that of a linear node is half as large.
    """

    name: str
    input_shape: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)

    @cached_property
    def _random(self):
        return np.random.default_rng([SEED, *self.name.encode()])

    @property
    def last(self):
        return self.nodes[-1].name if self.nodes else INPUT

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
        return sum(
            2 * prod(shapes[node.name][:-1]) * node.weight.size for node in self.nodes if node.weight is not None
        )

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

    def dense(self, units):
        return self._append("dense", (self.last,), *self._weights((self.shapes[self.last][0], units), None))

    def max_pool(self, size, stride, padding="valid"):
        return self._append("max_pool", (self.last,), size=_pair(size), stride=_pair(stride), padding=padding)

    def mean(self):
        return self._append("mean", (self.last,))

    def flatten(self):
        return self._append("flatten", (self.last,))

    def add(self, one, other, activation=None):
        return self._append("add", (one, other), activation=activation)

    def _append(self, op, inputs, *arguments, **options):
        self.nodes.append(Node(f"{op}_{len(self.nodes)}", op, inputs, *arguments, **options))
        return self.last

    def _weights(self, shape, activation):
        variance = (2 if activation else 1) / prod(shape[:-1])
        weight = self._random.normal(0, variance**0.5, shape).astype(np.float32)
        return weight, self._random.normal(0, 0.1, shape[-1]).astype(np.float32)


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)
