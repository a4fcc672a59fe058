"""From a TensorFlow Lite file of integers to an integer program, whose codes and grids are those of the file.

The layers are those that a float file would give; what the file says of scales takes the place of calibration, and its
codes that of quantizing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams
from qlite.io.tflite.graph import Graph, Tensor
from qlite.io.tflite.grids import CODES, affine_of, differ, grid_of, without_ends
from qlite.io.tflite.operators import CONVERSIONS, Chain, Conversion, Node
from qlite.io.tflite.patterns import with_layers
from qlite.io.tflite.to_model import Import
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.layers.prelu import PReLU
from qlite.nn.layers.weighted import Weighted
from qlite.nn.lower import Builder
from qlite.nn.model import Model
from qlite.nn.qmodel import QModel
from qlite.nn.retarget import convert
from qlite.nn.scheme import TARGETS, Scheme
from qlite.ops.activations import SLOPE


class _Requantized(Layer):
    """Values that stay; their codes are those of another grid."""

    kind = "requantized"

    def infer(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return x[0]

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        return builder.activation(inputs[0], "identity", SLOPE)


class _StoredPReLU(PReLU):
    """A PReLU with the codes of a file."""

    def __init__(self, codes: np.ndarray, scale: float, zero_point: int) -> None:
        super().__init__((codes.astype(np.float32) - np.float32(zero_point)) * np.float32(scale))
        self.stored = {"slope": codes, "slope_scale": scale, "slope_zero_point": zero_point}

    def trained_fields(self, is_codes: bool, scheme: Scheme) -> dict[str, Any]:
        return self.stored


def _requantize(node: Node) -> list[Chain]:
    return [[_Requantized(None)]]


def _prelu(node: Node) -> list[Chain]:
    """The layer that a float file has, which checks shapes, with the codes as signed ones."""
    ((layer,),), tensor = CONVERSIONS["PRELU"].layers(node), node.tensor(1)
    if tensor.type not in CODES or not isinstance(layer, PReLU):
        raise ValueError(f"tensor {tensor.name!r}: expected {' or '.join(CODES)}, got {tensor.type}")
    (scale, zero_point), offset = affine_of(tensor), 128 if tensor.type == "UINT8" else 0
    codes = (node.constant(1).astype(np.int16) - offset).astype(np.int8).ravel()
    codes = np.ascontiguousarray(np.broadcast_to(codes, layer.parameters["slope"].shape))
    return [[_StoredPReLU(codes, scale, zero_point - offset)]]


#: What operators on codes become in place of what they are on floats.
INTEGER_CONVERSIONS = {"QUANTIZE": Conversion((0,), _requantize), "PRELU": Conversion((0,), _prelu)}
#: By the type of activations: the target whose conventions a file has.
TARGET_OF = {"INT8": "tflite", "UINT8": "onnx"}


def is_integer(graph: Graph) -> bool:
    """Whether all that a file computes are codes of 8 bits, but for what it quantizes first and dequantizes last."""
    computed = [graph.tensors[i] for operator in graph.operators for i in operator.outputs]
    kinds = {tensor.type for tensor in computed if tensor.data is None}
    ends = {i for operator in graph.operators if operator.name == "DEQUANTIZE" for i in operator.outputs}
    floats = {i for operator in graph.operators for i in operator.outputs if graph.tensors[i].type == "FLOAT32"}
    return bool(kinds & set(TARGET_OF)) and floats <= ends & set(graph.outputs)


def to_qmodel(graph: Graph, outputs: Any = None) -> QModel:
    """Return the quantized model that a file of integers is.

    Raises
    ------
    ValueError
        As `to_model`; and codes of both signs or of other widths, a tensor without a scale, or grids that differ where
        the layer leaves codes as they are.
    """
    read = Import(with_layers(without_ends(graph)), outputs, CONVERSIONS | INTEGER_CONVERSIONS)
    model = read.model()
    tensors = {name: read.graph.tensors[i] for i, name in read.names.items()}
    kinds = {tensor.type for tensor in tensors.values()} & set(TARGET_OF)
    if len(kinds) != 1:
        raise ValueError(f"expected activations of one type, {' or '.join(TARGET_OF)}, got {sorted(kinds)}")
    target = TARGET_OF[kinds.pop()]
    conventions = replace(TARGETS[target], tables=TARGETS["tflite"].tables)
    grids = _grids(model, tensors)
    weights = {name: node for name, node in read.nodes.items() if isinstance(read.layers[name], Weighted)}
    builder = Builder(
        Scheme.of_model("w8a8"),
        qparams=grids,
        repair=lambda name, weight: _codes(weights[name].tensor(1), weight, read.layers[name]),
        biases={name: bias for name, node in weights.items() if (bias := _bias(node)) is not None},
    )
    program = convert(builder.program(model.lower(builder)), conventions)
    return QModel(program, scheme="w8a8", target=target, task=model.task, classes=model.classes)


def _grids(model: Model, tensors: Mapping[str, Tensor]) -> dict[str, QParams]:
    """The grids of a model's inputs and layers; a layer that no tensor stands for leaves codes on theirs."""
    grids: dict[str, QParams] = {}
    for name in model.inputs:
        grids[name] = grid_of(tensors[name])
    for name, layer, sources in zip(model.names, model.layers, model.sources, strict=True):
        grids[name] = _grid(model, tensors, name, layer, [grids[source] for source in sources])
        if layer.keeps_grid and any(differ(grids[source], grids[name]) for source in sources):
            raise ValueError(f"{name!r}: expected the grid of what it reads, got {grids[name]!r}")
    return grids


def _grid(model: Model, tensors: Mapping[str, Tensor], name: str, layer: Layer, read: Sequence[QParams]) -> QParams:
    """The grid of a layer: its tensor's, that of what it leaves as it is, or of what is left as it gives it."""
    if name in tensors:
        return grid_of(tensors[name])
    if layer.keeps_grid:
        return read[0]
    for behind, next_layer, sources in zip(model.names, model.layers, model.sources, strict=True):
        if name in sources and next_layer.keeps_grid and behind in tensors:
            return grid_of(tensors[behind])
    raise ValueError(f"{name!r}: expected an operator on codes that one layer computes, got one of several layers")


#: Axes of weights in a file, in the order of the layers' axes; of depthwise ones they lie so already.
AXES = {2: (1, 0), 4: (1, 2, 3, 0)}


def _codes(tensor: Tensor, weight: np.ndarray, layer: Any) -> QArray:
    """The codes of a layer's weights, in the order of the layer's axes."""
    is_short = tensor.type == "INT4" and layer.kind == "dense"  # convolutions of these have a rule of their own
    is_code = tensor.type in CODES or is_short
    if tensor.data is None or not is_code or tensor.scale is None or tensor.zero_point is None:
        raise ValueError(f"tensor {tensor.name!r}: expected weights of 8 bits with scales, got {tensor.type}")
    is_depthwise = layer.kind == "depthwise_conv2d"
    codes = tensor.data.reshape(weight.shape) if is_depthwise else tensor.data.transpose(AXES[tensor.data.ndim])
    axis, outputs = (3 if is_depthwise else 0), weight.shape[-1]
    if tensor.scale.size not in (1, outputs) or (tensor.scale.size > 1 and tensor.axis != axis):
        raise ValueError(
            f"tensor {tensor.name!r}: expected one scale or {outputs} along axis {axis}, "
            f"got {tensor.scale.size} along {tensor.axis}"
        )
    scale, zero_point = (
        np.broadcast_to(values, outputs).reshape((1,) * (weight.ndim - 1) + (-1,)).copy()
        for values in (tensor.scale.astype(np.float32), tensor.zero_point.astype(np.int64))
    )
    signed = tensor.type != "UINT8"
    narrow = bool(signed and codes.min(initial=0) > -128)
    return QArray(np.ascontiguousarray(codes), QParams(scale, zero_point, 8, signed, narrow, weight.ndim - 1))


def _bias(node: Any) -> np.ndarray | None:
    """The bias of a product, in units of its sums; whatever scale the file names for it."""
    number = {"TRANSPOSE_CONV": 3}.get(node.operator.name, 2)
    if not node.has(number):
        return None
    bias = node.constant(number)
    if bias.dtype != np.int32:
        raise ValueError(f"tensor {node.tensor(number).name!r}: expected a bias of int32, got {bias.dtype}")
    return bias.ravel()
