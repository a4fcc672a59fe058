"""Operators that move, choose or repeat values."""

from collections.abc import Sequence
from typing import Any

from qlite.io.tflite.operators.node import CONVERSIONS, Chain, Conversion, Node, converts
from qlite.io.tflite.schema import MIRROR
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.layers.merge import Concatenate
from qlite.nn.layers.move import DepthToSpace, Slice, SpaceToDepth, Transpose
from qlite.nn.layers.resize import ResizeBilinear, ResizeNearest
from qlite.nn.layers.shape import Pad, Reshape


@converts("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(node: Node) -> Chain:
    return [Reshape(node.output_shape or (1,))]


@converts("PAD", "PADV2", "MIRROR_PAD")
def _pad(node: Node) -> Chain:
    pairs = node.constant(1).reshape(-1, 2).tolist()
    if pairs[0] != [0, 0]:
        raise ValueError(f"expected no padding along the axis of samples, got {pairs[0]}")
    if node.operator.name == "PADV2" and node.real(2).any():
        raise ValueError(f"expected padding of zeros, got {node.real(2).ravel()[0]}")
    mode = node.choice("mode", MIRROR) if node.operator.name == "MIRROR_PAD" else "constant"
    return [Pad([tuple(pair) for pair in pairs[1:]], mode=mode)]


@converts("CONCATENATION", reads=None)
def _concatenate(node: Node) -> Chain:
    return [Concatenate(node.axis(node.option("axis"))), *node.behind()]


#: Copies at most that a tile is made of.
MOST_COPIES = 1 << 8


@converts("TILE")
def _tile(node: Node) -> Chain:
    """Copies side by side, axis by axis."""
    first, *counts = node.integers(1)
    if first != 1 or len(counts) != len(node.shape()) or not all(0 < n <= MOST_COPIES for n in counts):
        raise ValueError(
            f"expected one for the axis of samples and 1 to {MOST_COPIES} copies, got {[first, *counts][:8]}"
        )
    layers: list[Any] = []
    for axis, count in enumerate(counts):
        layers += [([],) * count, Concatenate(axis)] if count > 1 else []
    return layers or [Reshape(node.shape())]


@converts("TRANSPOSE")
def _transpose(node: Node) -> Chain:
    first, *axes = node.integers(1)
    if first != 0:
        raise ValueError(f"expected the axis of samples to stay the first, got {[first, *axes]}")
    return [Transpose(tuple(axis - 1 for axis in axes))]


@converts("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _depth_and_space(node: Node) -> Chain:
    layer = DepthToSpace if node.operator.name == "DEPTH_TO_SPACE" else SpaceToDepth
    return [layer(node.option("block_size"))]


@converts("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(node: Node) -> Chain:
    layer = ResizeBilinear if node.operator.name == "RESIZE_BILINEAR" else ResizeNearest
    corners, centers = bool(node.option("align_corners")), bool(node.option("half_pixel_centers"))
    return [layer(tuple(node.integers(1)), align_corners=corners, half_pixel_centers=centers)]


@converts("SLICE")
def _slice(node: Node) -> Chain:
    begin, size, shape = node.integers(1), node.integers(2), node.tensor(0).shape
    if begin[0] != 0 or size[0] not in (-1, shape[0]):
        raise ValueError(f"expected all samples, got from {begin[0]} on {size[0]}")
    end = [n if k == -1 else b + k for n, b, k in zip(shape, begin, size, strict=True)]
    return [Slice(tuple(begin[1:]), tuple(end[1:]))]


@converts("STRIDED_SLICE")
def _strided_slice(node: Node) -> Chain:
    shape = node.tensor(0).shape
    begin, end, stride = (node.integers(i) for i in (1, 2, 3))
    if node.option("ellipsis_mask") or node.option("new_axis_mask"):
        raise ValueError("expected a begin and an end for every axis, got an ellipsis or a new axis")
    rest = shape[len(begin) :]
    begin, end, stride = [*begin, *(0 for _ in rest)], [*end, *rest], [*stride, *(1 for _ in rest)]
    chosen = []
    for axis, (n, b, e, s) in enumerate(zip(shape, begin, end, stride, strict=True)):
        first = None if node.option("begin_mask") >> axis & 1 else b
        last = None if node.option("end_mask") >> axis & 1 else e
        if node.option("shrink_axis_mask") >> axis & 1:
            first, last, s = b % max(n, 1), b % max(n, 1) + 1, 1
        chosen.append(slice(first, last, s).indices(max(n, 1)))
    if chosen[0] not in ((0, 1, 1), (0, shape[0], 1)):
        raise ValueError(f"expected all samples, got {chosen[0]}")
    begins, ends, strides = zip(*chosen[1:], strict=True)
    layers: list[Layer] = [Slice(begins, [None if n < 0 else n for n in ends], strides)]  # before the first place
    return [*layers, Reshape(node.output_shape)] if node.option("shrink_axis_mask") else layers


#: Indices at most that are gathered from what is computed: each may become a layer.
MOST_INDICES = 1 << 10


@converts("GATHER")
def _gather(node: Node) -> Chain:
    """Parts of the first input, one for each run of indices at one distance from each other; without the axis where
    the index is a single one."""
    if node.option("batch_dims"):
        raise ValueError(f"expected batch_dims 0, got {node.option('batch_dims')}")
    chosen, axis, shape = node.constant(1), node.axis(node.option("axis")), node.shape()
    indices = [int(i) for i in chosen.ravel()]
    if chosen.ndim > 1 or not 0 < len(indices) <= MOST_INDICES:
        raise ValueError(f"expected a vector of 1 to {MOST_INDICES} indices, got shape {chosen.shape}")
    if not all(0 <= i < shape[axis] for i in indices):
        raise ValueError(f"expected indices 0 to {shape[axis] - 1}, got {indices[:8]}")
    slices = [_run(shape, axis, run) for run in _runs(indices)]
    layers: list[Any] = slices if len(slices) == 1 else [tuple([s] for s in slices), Concatenate(axis)]
    return layers if chosen.ndim else [*layers, Reshape(node.output_shape)]


def _runs(indices: Sequence[int]) -> list[list[int]]:
    """Indices in their order, cut where the distance from one to the next changes or is none."""
    runs: list[list[int]] = []
    for i in indices:
        run = runs[-1] if runs else []
        is_next = (len(run) == 1 and i != run[0]) or (len(run) > 1 and i - run[-1] == run[1] - run[0])
        if is_next:
            run.append(i)
        else:
            runs.append([i])
    return runs


def _run(shape: Shape, axis: int, run: Sequence[int]) -> Layer:
    """The slice of the indices of a run."""
    begin, stride = [0] * len(shape), [1] * len(shape)
    end: list[int | None] = list(shape)
    step = run[1] - run[0] if len(run) > 1 else 1
    last = run[-1] + (1 if step > 0 else -1)
    begin[axis], end[axis], stride[axis] = run[0], None if last < 0 else last, step
    return Slice(tuple(begin), tuple(end), tuple(stride))


def _split(node: Node) -> list[Chain]:
    """Parts of equal length."""
    parts = len(node.operator.outputs)
    axis = node.axis(node.integer(0), of=1)
    if node.shape(1)[axis] % parts:
        raise ValueError(f"expected a length that {parts} divides, got {node.shape(1)[axis]}")
    return _slices(node.shape(1), axis, [node.shape(1)[axis] // parts] * parts)


def _split_v(node: Node) -> list[Chain]:
    """Parts of the lengths that are given, -1 for what the others leave."""
    axis, sizes = node.axis(node.integer(2)), node.integers(1)
    if len(sizes) != len(node.operator.outputs):
        raise ValueError(f"expected {len(node.operator.outputs)} lengths, got {sizes[:8]}")
    rest = node.shape()[axis] - sum(n for n in sizes if n != -1)
    return _slices(node.shape(), axis, [rest if n == -1 else n for n in sizes])


def _slices(shape: Shape, axis: int, sizes: Sequence[int]) -> list[Chain]:
    """A slice for each length along an axis."""
    slices: list[Chain] = []
    first = 0
    for size in sizes:
        begin, end = [0] * len(shape), list(shape)
        begin[axis], end[axis] = first, first + size
        slices.append([Slice(tuple(begin), tuple(end))])
        first += size
    return slices


CONVERSIONS["SPLIT"] = Conversion((1,), _split)
CONVERSIONS["SPLIT_V"] = Conversion((0,), _split_v)
