"""From the graph of a float TensorFlow Lite file to a model of layers.

Each operator has a function that gives the layers that it becomes, one behind the other. Shapes in a file have the axis
of samples in front; those of layers do not.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from qlite.io.tflite.constants import real_values, without_storing
from qlite.io.tflite.graph import CUSTOM, Graph, Operator, Tensor
from qlite.io.tflite.schema import FUSED, MIRROR, PADDING
from qlite.nn.graph import BUFFERS
from qlite.nn.layers.activation import Activation, Softmax
from qlite.nn.layers.binary import Add, Multiply, Subtract
from qlite.nn.layers.constant import Constant
from qlite.nn.layers.conv import Conv2D, DepthwiseConv2D
from qlite.nn.layers.conv_transpose import Conv2DTranspose
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.l2_normalize import L2Normalize
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.layers.matmul import MatMul
from qlite.nn.layers.merge import Concatenate
from qlite.nn.layers.move import DepthToSpace, Slice, SpaceToDepth, Transpose
from qlite.nn.layers.pool import AveragePool, MaxPool
from qlite.nn.layers.prelu import PReLU
from qlite.nn.layers.reduce import Max, Mean, Min, Sum
from qlite.nn.layers.resize import ResizeBilinear, ResizeNearest
from qlite.nn.layers.shape import Pad, Reshape
from qlite.nn.model import Model

#: Names that a layer must not have, and what one must not end in: see `graph.numbered`.
TAKEN = ("input", "normalized", "output")


class Node(NamedTuple):
    """An operator on its tensors."""

    operator: Operator
    tensors: Sequence[Tensor]

    def option(self, name: str) -> Any:
        return self.operator.options[name]

    @property
    def activation(self) -> str | None:
        """The activation that the operator applies to its result."""
        number = self.operator.options.get("fused_activation_function", 0)
        name = FUSED[number] if 0 <= number < len(FUSED) else number
        if name not in (None, "relu", "relu6", "tanh"):
            raise ValueError(f"expected no activation, or relu, relu6 or tanh, got {name}")
        return name

    def has(self, i: int) -> bool:
        """Whether the operator has an i-th input."""
        return i < len(self.operator.inputs) and self.operator.inputs[i] >= 0

    def tensor(self, i: int) -> Tensor:
        if not self.has(i):
            raise ValueError(f"expected at least {i + 1} inputs, got {len(self.operator.inputs)}")
        return self.tensors[self.operator.inputs[i]]

    def constant(self, i: int) -> np.ndarray:
        """The i-th input as it is stored."""
        data = self.tensor(i).data
        if data is None:
            raise ValueError(f"expected a constant for input {i}, got {self.tensor(i).name!r}, which is computed")
        return data

    def integers(self, i: int) -> list[int]:
        """The i-th input as a list of integers."""
        return [int(n) for n in self.constant(i).ravel()]

    def real(self, i: int) -> np.ndarray:
        """The i-th input as float32."""
        self.constant(i)
        return real_values(self.tensor(i))

    def bias(self, i: int) -> np.ndarray | None:
        return self.real(i).ravel() if self.has(i) else None

    def shape(self, i: int = 0) -> Shape:
        """The shape of a sample of the i-th input."""
        return self.tensor(i).shape[1:]

    @property
    def output_shape(self) -> Shape:
        return self.tensors[self.operator.outputs[0]].shape[1:]

    def axis(self, number: int) -> int:
        """An axis of the first input as one of a sample."""
        rank = len(self.tensor(0).shape)
        axis = number % rank if -rank <= number < rank else 0
        if axis == 0:
            raise ValueError(f"expected an axis of samples of shape {self.shape()}, 1 to {rank - 1}, got {number}")
        return axis - 1

    @property
    def window(self) -> dict[str, Any]:
        """Stride and padding."""
        stride = self.option("stride_h"), self.option("stride_w")
        return {"stride": stride, "padding": PADDING[self.option("padding")]}


Convert = Callable[[Node], list[Layer]]
#: By the operator's name: the inputs that its layers read, None for all of them, and the function.
CONVERTS: dict[str, tuple[tuple[int, ...] | None, Convert]] = {}


def _converts(*names: str, reads: tuple[int, ...] | None = (0,)) -> Callable[[Convert], Convert]:
    def register(function: Convert) -> Convert:
        CONVERTS.update(dict.fromkeys(names, (reads, function)))
        return function

    return register


# ---- products


@_converts("CONV_2D")
def _conv(node: Node) -> list[Layer]:
    weight = node.real(1).transpose(1, 2, 3, 0)
    channels = node.shape()[-1]
    if channels % weight.shape[2]:
        raise ValueError(f"expected channels that {weight.shape[2]} divides, got {channels}")
    dilation = node.option("dilation_h_factor"), node.option("dilation_w_factor")
    options: dict[str, Any] = {"dilation": dilation, "groups": channels // weight.shape[2]}
    return [Conv2D(weight, node.bias(2), node.activation, **node.window, **options)]


@_converts("DEPTHWISE_CONV_2D")
def _depthwise(node: Node) -> list[Layer]:
    (_, height, width, outputs), channels = node.tensor(1).shape, node.shape()[-1]
    if outputs % channels:
        raise ValueError(f"expected outputs that {channels} channels divide, got {outputs}")
    weight = node.real(1).reshape(height, width, channels, outputs // channels)
    dilation = node.option("dilation_h_factor"), node.option("dilation_w_factor")
    options: dict[str, Any] = {"dilation": dilation, "multiplier": outputs // channels}
    return [DepthwiseConv2D(weight, node.bias(2), node.activation, **node.window, **options)]


@_converts("TRANSPOSE_CONV", reads=(2,))
def _transposed(node: Node) -> list[Layer]:
    stride, padding = node.window["stride"], node.window["padding"]
    return [_spread(node, node.real(1), node.bias(3), stride, padding, node.integers(0)[1:3])]


@_converts(f"{CUSTOM}Convolution2DTransposeBias")
def _transposed_with_bias(node: Node) -> list[Layer]:
    """MediaPipe's: its options are padding (1: same, 2: valid), and the stride's width and height, as int32."""
    padding, width, height = np.frombuffer(node.option("custom"), "<i4", 3).tolist()
    kind = "same" if padding == 1 else "valid"
    return [_spread(node, node.real(1), node.bias(2), (height, width), kind, node.output_shape[:2])]


def _spread(
    node: Node, weight: np.ndarray, bias: np.ndarray | None, stride: Sequence[int], padding: str, size: Sequence[int]
) -> Conv2DTranspose:
    """A transposed convolution whose result has a size, of which "same" cuts as much as a convolution would add."""
    (_, height, width, _), image = weight.shape, node.tensors[node.operator.inputs[2 if node.has(3) else 0]].shape[1:3]
    sides, more = [], []
    for n, k, s, out in zip(image, (height, width), stride, size, strict=True):
        before = max((-(-out // s) - 1) * s + k - out, 0) // 2 if padding == "same" else 0
        behind = (n - 1) * s + k - before - out
        sides.append((before, max(behind, 0)))
        more.append(max(-behind, 0))
    kernel = weight.transpose(1, 2, 3, 0)
    options: dict[str, Any] = {"stride": tuple(stride), "padding": tuple(sides), "output_padding": tuple(more)}
    return Conv2DTranspose(kernel, bias, node.activation if "stride_h" in node.operator.options else None, **options)


@_converts("FULLY_CONNECTED")
def _dense(node: Node) -> list[Layer]:
    weight = node.real(1).T
    dense = Dense(weight, node.bias(2), node.activation)
    shape = node.shape()
    if len(shape) == 1 or (node.option("keep_num_dims") and shape[-1] == len(weight)):
        return [dense]
    return [Reshape((-1, len(weight)) if math.prod(shape) != len(weight) else (len(weight),)), dense]


@_converts("BATCH_MATMUL", reads=(0, 1))
def _matmul(node: Node) -> list[Layer]:
    if node.option("adj_x"):
        raise ValueError("expected a first factor as it is, got adj_x, a transposed one")
    return [MatMul(transpose_b=bool(node.option("adj_y")))]


# ---- windows and reductions


@_converts("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(node: Node) -> list[Layer]:
    layer = MaxPool if node.operator.name == "MAX_POOL_2D" else AveragePool
    return [layer((node.option("filter_height"), node.option("filter_width")), **node.window)]


@_converts("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
def _reduce(node: Node) -> list[Layer]:
    layer: Any = {"MEAN": Mean, "SUM": Sum, "REDUCE_MAX": Max, "REDUCE_MIN": Min}[node.operator.name]
    axes = tuple(node.axis(n) for n in node.integers(1))
    return [layer(axes, keepdims=bool(node.option("keep_dims")))]


@_converts("L2_NORMALIZATION")
def _l2_normalize(node: Node) -> list[Layer]:
    return [L2Normalize()]


# ---- element by element


@_converts("ADD", "SUB", "MUL", reads=(0, 1))
def _binary(node: Node) -> list[Layer]:
    return [{"ADD": Add, "SUB": Subtract, "MUL": Multiply}[node.operator.name](node.activation)]


ACTIVATIONS = {"RELU": "relu", "RELU6": "relu6", "LOGISTIC": "sigmoid", "TANH": "tanh"}
ACTIVATIONS |= {"ELU": "elu", "HARD_SWISH": "hard_swish"}


@_converts(*ACTIVATIONS)
def _activation(node: Node) -> list[Layer]:
    return [Activation(ACTIVATIONS[node.operator.name])]


@_converts("GELU")
def _gelu(node: Node) -> list[Layer]:
    if node.option("approximate"):
        raise ValueError("expected the exact gelu, got its approximation by tanh")
    return [Activation("gelu")]


@_converts("LEAKY_RELU")
def _leaky_relu(node: Node) -> list[Layer]:
    return [Activation("leaky_relu", slope=node.option("alpha"))]


@_converts("PRELU")
def _prelu(node: Node) -> list[Layer]:
    slope, channels = node.real(1), node.shape()[-1]
    if slope.size not in (1, channels) or slope.shape[-1] != slope.size:
        raise ValueError(f"expected a slope for each of {channels} channels, got {slope.shape}")
    return [PReLU(np.broadcast_to(slope.ravel(), channels))]


@_converts("SOFTMAX")
def _softmax(node: Node) -> list[Layer]:
    if node.option("beta") != 1:
        raise ValueError(f"expected beta 1, got {node.option('beta')}")
    return [Softmax()]


# ---- shapes


@_converts("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(node: Node) -> list[Layer]:
    return [Reshape(node.output_shape)]


@_converts("PAD", "PADV2", "MIRROR_PAD")
def _pad(node: Node) -> list[Layer]:
    pairs = node.constant(1).reshape(-1, 2).tolist()
    if pairs[0] != [0, 0]:
        raise ValueError(f"expected no padding along the axis of samples, got {pairs[0]}")
    if node.operator.name == "PADV2" and node.real(2).any():
        raise ValueError(f"expected padding of zeros, got {node.real(2).ravel()[0]}")
    mode = MIRROR[node.option("mode")] if node.operator.name == "MIRROR_PAD" else "constant"
    return [Pad([tuple(pair) for pair in pairs[1:]], mode=mode)]


@_converts("CONCATENATION", reads=None)
def _concatenate(node: Node) -> list[Layer]:
    activation = node.activation
    return [Concatenate(node.axis(node.option("axis"))), *([Activation(activation)] if activation else [])]


@_converts("TRANSPOSE")
def _transpose(node: Node) -> list[Layer]:
    first, *axes = node.integers(1)
    if first != 0:
        raise ValueError(f"expected the axis of samples to stay the first, got {[first, *axes]}")
    return [Transpose(tuple(axis - 1 for axis in axes))]


@_converts("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _depth_and_space(node: Node) -> list[Layer]:
    layer = DepthToSpace if node.operator.name == "DEPTH_TO_SPACE" else SpaceToDepth
    return [layer(node.option("block_size"))]


@_converts("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(node: Node) -> list[Layer]:
    layer = ResizeBilinear if node.operator.name == "RESIZE_BILINEAR" else ResizeNearest
    corners, centers = bool(node.option("align_corners")), bool(node.option("half_pixel_centers"))
    return [layer(tuple(node.integers(1)), align_corners=corners, half_pixel_centers=centers)]


@_converts("SLICE")
def _slice(node: Node) -> list[Layer]:
    begin, size, shape = node.integers(1), node.integers(2), node.tensor(0).shape
    if begin[0] != 0 or size[0] not in (-1, shape[0]):
        raise ValueError(f"expected all samples, got from {begin[0]} on {size[0]}")
    end = [n if k == -1 else b + k for n, b, k in zip(shape, begin, size, strict=True)]
    return [Slice(tuple(begin[1:]), tuple(end[1:]))]


@_converts("STRIDED_SLICE")
def _strided_slice(node: Node) -> list[Layer]:
    shape = node.tensor(0).shape
    begin, end, stride = (node.integers(i) for i in (1, 2, 3))
    if node.option("ellipsis_mask") or node.option("new_axis_mask"):
        raise ValueError("expected a begin and an end for every axis, got an ellipsis or a new axis")
    if len(begin) != len(shape):
        raise ValueError(f"expected {len(shape)} axes, got {len(begin)}")
    chosen = []
    for axis, (n, b, e, s) in enumerate(zip(shape, begin, end, stride, strict=True)):
        first = None if node.option("begin_mask") >> axis & 1 else b
        last = None if node.option("end_mask") >> axis & 1 else e
        if node.option("shrink_axis_mask") >> axis & 1:
            first, last, s = b % n, b % n + 1, 1
        chosen.append(slice(first, last, s).indices(max(n, 1)))
    if chosen[0] not in ((0, 1, 1), (0, shape[0], 1)):
        raise ValueError(f"expected all samples, got {chosen[0]}")
    layers: list[Layer] = [Slice(*zip(*chosen[1:], strict=True))]
    return [*layers, Reshape(node.output_shape)] if node.option("shrink_axis_mask") else layers


# ---- the graph


def to_model(graph: Graph, outputs: Sequence[str] | None = None) -> Model:
    """Return the model that a float graph describes, or the part of it that gives some of its tensors.

    Raises
    ------
    ValueError
        An operator that no layer computes, with its tensors named; tensors without samples along the first axis.
    """
    return Import(without_storing(graph), outputs).model()


class Import:
    """The layers of a model as they come, and the names of the values that tensors are."""

    def __init__(self, graph: Graph, outputs: Sequence[str] | None) -> None:
        self.graph = graph
        self.nodes: list[tuple[str, Layer, tuple[str, ...]]] = []
        self.names: dict[int, str] = {}
        self.operators: dict[str, Node] = {}  # by the names of the layers that they became
        self.taken: set[str] = set(TAKEN)
        self.wanted = dict(zip(graph.outputs, graph.output_names, strict=True))
        if outputs is not None:
            self.wanted = {self._number(name): name for name in outputs}
        self.inputs: dict[str, Shape] = {}

    def model(self) -> Model:
        needed = self._needed()
        for number, name in zip(self.graph.inputs, self.graph.input_names, strict=True):
            if number in needed:
                name = "input" if name == "input" else self._free(name)
                self.names[number], self.inputs[name] = name, self._sample("input", self.graph.tensors[number])
        for i, operator in enumerate(self.graph.operators):
            if not needed.isdisjoint(operator.outputs):
                self._take(i, operator)
        return Model(self.inputs, tuple(self.names[number] for number in self.wanted), nodes=self.nodes)

    def layer(self, name: str) -> Layer:
        return next(layer for other, layer, _ in self.nodes if other == name)

    def _number(self, name: str) -> int:
        found = [i for i, tensor in enumerate(self.graph.tensors) if tensor.name == name]
        if not found:
            raise ValueError(f"outputs: expected names of tensors, got {name!r}")
        return found[0]

    def _needed(self) -> set[int]:
        """The tensors that the wanted ones are computed from."""
        needed = set(self.wanted)
        for operator in reversed(self.graph.operators):
            if not needed.isdisjoint(operator.outputs):
                needed.update(i for i in operator.inputs if i >= 0)
        return needed

    def _take(self, i: int, operator: Operator) -> None:
        where = f"operators[{i}], {operator.name}, {self.graph.tensors[operator.outputs[0]].name!r}"
        if operator.name not in ("SPLIT", "SPLIT_V") and operator.name not in CONVERTS:
            known = [self.graph.tensors[n].name for n in operator.inputs if n in self.names]
            raise ValueError(
                f"{where}: expected an operator that a layer computes (outputs={known} takes what it reads)"
            )
        try:
            node = Node(operator, self.graph.tensors)
            for number, read, made in self._layers(node):
                self._put(number, read, made)
                self.operators[self.names[number]] = node
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    def _layers(self, node: Node) -> Iterator[tuple[int, tuple[int, ...], list[Layer]]]:
        """The tensors that an operator writes, what their layers read, and these."""
        if node.operator.name in ("SPLIT", "SPLIT_V"):
            yield from _parts(node)
            return
        reads, convert = CONVERTS[node.operator.name]
        inputs = node.operator.inputs
        read = inputs if reads is None else tuple(inputs[i] for i in reads if node.has(i))
        for number in node.operator.outputs[1:]:
            raise ValueError(f"expected one result, got {self.graph.tensors[number].name!r} too")
        yield node.operator.outputs[0], read, convert(node)

    def _put(self, number: int, read: Sequence[int], made: list[Layer]) -> None:
        sources = tuple(self._source(i, self.graph.tensors[number]) for i in read)
        name = self.wanted.get(number, self.graph.tensors[number].name) or f"tensor_{number}"
        for layer in made[:-1]:
            before = self._free(f"{name}_{layer.kind}")
            self.nodes.append((before, layer, sources))
            sources = (before,)
        self.names[number] = self._free(name)
        self.nodes.append((self.names[number], made[-1], sources))

    def _source(self, number: int, result: Tensor) -> str:
        """The name of a value that is read; a constant becomes a layer."""
        if number in self.names:
            return self.names[number]
        tensor = self.graph.tensors[number]
        if tensor.data is None:
            raise ValueError(f"expected tensors that were computed before, got {tensor.name!r}")
        values = real_values(tensor)
        if values.ndim == len(result.shape) and values.ndim:
            if values.shape[0] != 1:
                raise ValueError(f"expected a constant for every sample, got {tensor.name!r} of {values.shape}")
            values = values[0]
        self.names[number] = self._free(tensor.name or f"tensor_{number}")
        self.nodes.append((self.names[number], Constant(values), ()))
        return self.names[number]

    def _sample(self, what: str, tensor: Tensor) -> Shape:
        if len(tensor.shape) < 2 or tensor.shape[0] not in (1, -1) or min(tensor.shape[1:]) < 1:
            raise ValueError(f"{what} {tensor.name!r}: expected shape (1, ...), a sample, got {tensor.shape}")
        return tensor.shape[1:]

    def _free(self, name: str) -> str:
        """A name like this one that no layer and no buffer of a program has."""
        while name in self.taken or any(f"{name}_{what}" in self.taken for what in BUFFERS) or self._ends(name):
            name += "_"
        self.taken.add(name)
        return name

    def _ends(self, name: str) -> bool:
        """Whether the name is that of a buffer of another layer."""
        return any(name.endswith(f"_{what}") and name.removesuffix(f"_{what}") in self.taken for what in BUFFERS)


def _parts(node: Node) -> Iterator[tuple[int, tuple[int, ...], list[Layer]]]:
    """The results of a SPLIT, a slice each."""
    outputs = node.operator.outputs
    which, of = (1, 0) if node.operator.name == "SPLIT" else (0, 2)
    x = Node(Operator("", (node.operator.inputs[which],), outputs), node.tensors)
    axis, shape = x.axis(node.integers(of)[0]), x.shape()
    equal = [shape[axis] // len(outputs)] * len(outputs)
    sizes = equal if node.operator.name == "SPLIT" else node.integers(1)
    sizes = [shape[axis] - sum(n for n in sizes if n >= 0) if n == -1 else n for n in sizes]
    begins = np.cumsum([0, *sizes])
    for number, first, last in zip(outputs, begins, begins[1:], strict=False):
        begin, end = [0] * len(shape), list(shape)
        begin[axis], end[axis] = int(first), int(last)
        yield number, x.operator.inputs, [Slice(tuple(begin), tuple(end))]
