"""From a program under the conventions of TensorFlow Lite to the graph of a file.

Each kind of step has a function that appends its operators; a kind without one is refused by name, so that no file is
written that cannot run.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from qlite.io.tflite import composed
from qlite.io.tflite.exporter import Exporter, same_padding
from qlite.io.tflite.graph import Graph
from qlite.io.tflite.limits import refusal
from qlite.io.tflite.schema import MIRROR, PADDING
from qlite.nn.program import Program, Step
from qlite.nn.steps import (
    Activate,
    Add,
    AveragePool,
    Concatenate,
    Constant,
    Conv,
    ConvF32,
    ConvTranspose,
    ConvTransposeF32,
    DenseF32,
    DepthToSpace,
    Dequantize,
    Embedding,
    Gemm,
    L2Normalize,
    LayerNorm,
    Lookup,
    MatMul,
    MaxPool,
    Mean,
    MirrorPad,
    Multiply,
    Normalize,
    Pad,
    Prelu,
    Quantize,
    ReduceMax,
    ReduceMin,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Slice,
    SoftmaxX8,
    SpaceToDepth,
    Subtract,
    Sum,
    Transpose,
)

Append = Callable[[Exporter, Any], None]
#: By the kind of step.
STEPS: dict[type[Step], Append] = {}


def _exports(*kinds: type[Step]) -> Callable[[Append], Append]:
    def register(function: Append) -> Append:
        STEPS.update(dict.fromkeys(kinds, function))
        return function

    return register


def from_program(
    program: Program, *, floats: bool, batch: int | None = 1, description: str = "", is_micro: bool = False
) -> Graph:
    """Return the graph of a program whose codes are int8.

    Parameters
    ----------
    floats : bool
        Whether inputs and outputs are float32, which the first operators quantize and the last ones dequantize; else
        they are the codes.
    batch : int or None
        Samples at a time; None: any number.
    is_micro : bool
        Whether TensorFlow Lite Micro shall run the file, else LiteRT.

    Raises
    ------
    ValueError
        A step that the format has no operator for, or that the runtime would refuse or compute otherwise.
    """
    return Exporter(program, floats, batch, is_micro).graph(_append, description)


def _append(e: Exporter, step: Step) -> None:
    append = STEPS.get(type(step))
    if append is None:
        raise e.refused(step, f"the format has no operator for a step {step.kind!r}")
    why = refusal(step, [e.buffer(i) for i in step.inputs], e.buffer(step.output), e.is_micro)
    if why is not None:
        raise e.refused(step, why)
    append(e, step)


# ---- products


@_exports(Gemm, DenseF32)
def _dense(e: Exporter, step: Gemm | DenseF32) -> None:
    weights = e.weights(step, step.weight.T, 0)
    keep = len(e.buffer(step.output).shape) > 1
    e.append(step, "FULLY_CONNECTED", weights, e.bias(step), keep_num_dims=keep, **e.fused(step.activation))


@_exports(Conv, ConvF32)
def _conv(e: Exporter, step: Conv | ConvF32) -> None:
    height, width, fan_in, outputs = step.weight.shape
    x, padding = e.padded(step, (height, width), step.padding, step.dilation)
    options = {
        "padding": PADDING.index(padding),
        "stride_h": step.stride[0],
        "stride_w": step.stride[1],
        "dilation_h_factor": step.dilation[0],
        "dilation_w_factor": step.dilation[1],
        **e.fused(step.activation),
    }
    if fan_in == 1 and step.groups > 1:
        weights = e.weights(step, step.weight.reshape(1, height, width, outputs), 3)
        name, options["depth_multiplier"] = "DEPTHWISE_CONV_2D", outputs // step.groups
    else:
        name, weights = "CONV_2D", e.weights(step, step.weight.transpose(3, 0, 1, 2), 0)
    bias = e.bias(step)
    e.from_image(step, lambda y: e.operator(name, [x, weights, bias], y, **options))


@_exports(ConvTranspose, ConvTransposeF32)
def _conv_transpose(e: Exporter, step: ConvTranspose | ConvTransposeF32) -> None:
    """What neither SAME nor VALID cuts off is cut off behind it.

    SAME with a window below its stride has a rule of its own to round by. Windows that end a stride or more before the
    result, which the runtime refuses, are made longer by zeros.
    """
    (x,), y, name = step.inputs, step.output, e.buffer(step.output).name
    if e.batch < 0:
        raise e.refused(step, "batch: expected a number for a transposed convolution, whose size files hold, got None")
    *size, channels = e.buffer(y).shape
    kernel, image, begins = step.weight.shape[:2], e.buffer(x).shape[:2], [step.padding[0], step.padding[2]]
    same = [same_padding(n, k, s)[0] for n, k, s in zip(size, kernel, step.stride, strict=True)]
    ends = [
        max((n - 1) * s + k, begin + out)
        for n, k, s, begin, out in zip(image, kernel, step.stride, begins, size, strict=True)
    ]
    is_same = begins == same and all(
        -(-out // s) == n and k >= s for out, s, n, k in zip(size, step.stride, image, kernel, strict=True)
    )
    whole = size if is_same else ends
    is_cut = whole != size
    result = e.between(y, f"{name}/whole", (*whole, channels)) if is_cut else e.tensor(y)
    shape = e.integers(step, "shape", (e.batch, *whole, channels))
    missing = [
        max(out - ((n - 1) * s + k) - (s - 1), 0)
        for out, n, s, k in zip(whole, image, step.stride, kernel, strict=True)
    ]
    longer = np.pad(step.weight, [(0, missing[0]), (0, missing[1]), (0, 0), (0, 0)])
    weights = e.weights(step, longer.transpose(3, 0, 1, 2), 0)
    bias = [] if step.bias is None else [e.bias(step)]
    options = {
        "padding": PADDING.index("same" if is_same else "valid"),
        "stride_h": step.stride[0],
        "stride_w": step.stride[1],
        **e.fused(step.activation),
    }
    e.operator("TRANSPOSE_CONV", [shape, weights, e.tensor(x), *bias], result, **options)
    if is_cut:
        e.window(result, e.tensor(y), (*begins, 0), name)


@_exports(MatMul)
def _matmul(e: Exporter, step: MatMul) -> None:
    """Heads side by side are taken apart before it, or put side by side behind it."""
    if not step.heads:
        e.append(step, "BATCH_MATMUL", adj_y=step.transpose_b)
        return
    (a, b), y, name = step.inputs, step.output, e.buffer(step.output).name
    is_merged = len(e.buffer(a).shape) == 3
    left = e.tensor(a) if is_merged else _heads(e, a, step.heads, f"{name}/a")
    right = _heads(e, b, step.heads, f"{name}/b")
    if not is_merged:
        e.operator("BATCH_MATMUL", [left, right], e.tensor(y), adj_y=step.transpose_b)
        return
    rows, columns = e.buffer(y).shape
    product = e.between(y, f"{name}/heads", (step.heads, rows, columns // step.heads))
    e.operator("BATCH_MATMUL", [left, right], product, adj_y=step.transpose_b)
    moved = e.between(y, f"{name}/rows", (rows, step.heads, columns // step.heads))
    e.transpose(product, moved, (1, 0, 2), f"{name}/rows")
    e.reshape(moved, e.tensor(y), name)


def _heads(e: Exporter, x: int, heads: int, name: str) -> int:
    """Append what makes (heads, rows, n) of (rows, heads * n), and return the tensor."""
    rows, columns = e.buffer(x).shape
    apart = e.between(x, f"{name}/apart", (rows, heads, columns // heads))
    e.reshape(e.tensor(x), apart, f"{name}/apart")
    result = e.between(x, name, (heads, rows, columns // heads))
    e.transpose(apart, result, (1, 0, 2), name)
    return result


# ---- windows, reductions, sums


@_exports(MaxPool, AveragePool)
def _pool(e: Exporter, step: MaxPool | AveragePool) -> None:
    (x,) = step.inputs
    if any(step.padding):
        b = e.buffer(x)
        image = (1,) * (3 - len(b.shape)) + b.shape
        same = [same_padding(n, k, s) for n, k, s in zip(image[:2], step.size, step.stride, strict=True)]
        if step.padding != tuple(n for pair in same for n in pair):
            raise e.refused(step, f"the format has pools with padding SAME or VALID, got {step.padding}")
    options = {
        "padding": PADDING.index("same" if any(step.padding) else "valid"),
        "filter_height": step.size[0],
        "filter_width": step.size[1],
        "stride_h": step.stride[0],
        "stride_w": step.stride[1],
    }
    name = "MAX_POOL_2D" if isinstance(step, MaxPool) else "AVERAGE_POOL_2D"
    source = e.as_image(x)
    e.from_image(step, lambda y: e.operator(name, [source], y, **options))


BINARY = {Add: "ADD", Subtract: "SUB", Multiply: "MUL"}


@_exports(*BINARY)
def _binary(e: Exporter, step: Add | Subtract | Multiply) -> None:
    e.append(step, BINARY[type(step)], **e.fused(step.activation))


REDUCTIONS = {Mean: "MEAN", Sum: "SUM", ReduceMax: "REDUCE_MAX", ReduceMin: "REDUCE_MIN"}


@_exports(*REDUCTIONS)
def _reduce(e: Exporter, step: Mean | Sum | ReduceMax | ReduceMin) -> None:
    axes = e.integers(step, "axes", [axis + 1 for axis in step.axes])
    e.append(step, REDUCTIONS[type(step)], axes, keep_dims=step.keepdims)


@_exports(L2Normalize)
def _l2_normalize(e: Exporter, step: L2Normalize) -> None:
    e.append(step, "L2_NORMALIZATION", **e.fused(None))


@_exports(Concatenate)
def _concatenate(e: Exporter, step: Concatenate) -> None:
    e.append(step, "CONCATENATION", axis=step.axis + 1)


# ---- functions

FUNCTIONS = {"relu": "RELU", "relu6": "RELU6", "sigmoid": "LOGISTIC", "tanh": "TANH", "elu": "ELU", "gelu": "GELU"}
FUNCTIONS |= {"hard_swish": "HARD_SWISH", "leaky_relu": "LEAKY_RELU", "identity": "QUANTIZE", "softmax": "SOFTMAX"}


@_exports(Lookup, Activate)
def _function(e: Exporter, step: Lookup | Activate) -> None:
    (x,), y = step.inputs, step.output
    if isinstance(step, Activate) and step.function in composed.FUNCTIONS:
        composed.FUNCTIONS[step.function](e, step)
        return
    name = FUNCTIONS.get(step.function or "")
    if name is None:
        raise e.refused(step, f"the format has no operator for {step.function or 'a table of an unknown function'}")
    if e.is_micro and name == "RELU6" and e.buffer(x).affine != e.buffer(y).affine:
        moved = e.between(y, f"{e.buffer(y).name}/moved", e.buffer(y).shape)
        e.operator("QUANTIZE", [e.tensor(x)], moved)
        e.operator(name, [moved], e.tensor(y))
        return
    options = {"LEAKY_RELU": {"alpha": step.slope}, "SOFTMAX": {"beta": 1.0}}
    e.append(step, name, **options.get(name, {}))


STEPS[LayerNorm] = composed.layer_norm
STEPS[Embedding] = composed.embedding


@_exports(Prelu)
def _prelu(e: Exporter, step: Prelu) -> None:
    name, shape = f"{e.buffer(step.output).name}/slope", (1,) * (len(e.buffer(step.output).shape) - 1) + (-1,)
    slope = step.slope.reshape(shape)
    grid = () if step.slope_scale is None else (step.slope_scale, step.slope_zero_point)
    e.append(step, "PRELU", e.add(name, slope.shape, slope.dtype.name, *grid, data=slope))


@_exports(SoftmaxX8)
def _softmax(e: Exporter, step: SoftmaxX8) -> None:
    e.append(step, "SOFTMAX", beta=1.0)


@_exports(Quantize)
def _quantize(e: Exporter, step: Quantize) -> None:
    e.append(step, "QUANTIZE")


@_exports(Dequantize)
def _dequantize(e: Exporter, step: Dequantize) -> None:
    e.append(step, "DEQUANTIZE")


@_exports(Normalize)
def _normalize(e: Exporter, step: Normalize) -> None:
    b, (x,) = e.buffer(step.output), step.inputs
    centered = e.between(step.output, f"{b.name}/centered", b.shape)
    e.operator("SUB", [e.tensor(x), e.constant(f"{b.name}/mean", step.mean)], centered, **e.fused(None))
    scale = e.constant(f"{b.name}/scale", step.scale)
    e.operator("DIV", [centered, scale], e.tensor(step.output), **e.fused(None))


# ---- shapes


@_exports(Reshape)
def _reshape(e: Exporter, step: Reshape) -> None:
    shape = (e.batch, *step.shape)
    e.append(step, "RESHAPE", e.integers(step, "shape", shape), new_shape=shape)


@_exports(Pad)
def _pad(e: Exporter, step: Pad) -> None:
    pairs = [(0, 0), *zip(step.padding[::2], step.padding[1::2], strict=True)]
    e.append(step, "PAD", e.integers(step, "paddings", pairs))


@_exports(MirrorPad)
def _mirror_pad(e: Exporter, step: MirrorPad) -> None:
    pairs = [(0, 0), *zip(step.padding[::2], step.padding[1::2], strict=True)]
    e.append(step, "MIRROR_PAD", e.integers(step, "paddings", pairs), mode=MIRROR.index(step.mode))


@_exports(Transpose)
def _transpose(e: Exporter, step: Transpose) -> None:
    e.append(step, "TRANSPOSE", e.integers(step, "axes", [0, *(axis + 1 for axis in step.axes)]))


@_exports(Slice)
def _slice(e: Exporter, step: Slice) -> None:
    """All samples; an end before the first place is one that is not named."""
    begin, stride = e.integers(step, "begin", [0, *step.begin]), e.integers(step, "stride", [1, *step.stride])
    end = e.integers(step, "end", [0, *(max(n, 0) for n in step.end)])
    end_mask = 1 | sum(2 << axis for axis, n in enumerate(step.end) if n < 0)
    e.append(step, "STRIDED_SLICE", begin, end, stride, begin_mask=1, end_mask=end_mask)


@_exports(DepthToSpace)
def _depth_to_space(e: Exporter, step: DepthToSpace) -> None:
    e.append(step, "DEPTH_TO_SPACE", block_size=step.block)


@_exports(SpaceToDepth)
def _space_to_depth(e: Exporter, step: SpaceToDepth) -> None:
    e.append(step, "SPACE_TO_DEPTH", block_size=step.block)


@_exports(ResizeNearest, ResizeBilinear)
def _resize(e: Exporter, step: ResizeNearest | ResizeBilinear) -> None:
    name = "RESIZE_BILINEAR" if isinstance(step, ResizeBilinear) else "RESIZE_NEAREST_NEIGHBOR"
    options = {"align_corners": step.align_corners, "half_pixel_centers": step.half_pixel_centers}
    e.append(step, name, e.integers(step, "size", step.size), **options)


@_exports(Constant)
def _constant(e: Exporter, step: Constant) -> None:
    """No operator: a tensor with content."""
    e.tensors[e.tensor(step.output)].data = step.value[None]
    e.tensors[e.tensor(step.output)].shape = (1, *step.value.shape)
