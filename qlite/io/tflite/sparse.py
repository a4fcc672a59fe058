"""Constants of which a TensorFlow Lite file stores the blocks that are not zero."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qlite.io.tflite.schema import names_of, package


def densified(
    where: str, values: np.ndarray, shape: tuple[int, ...], table: Any, expect: Callable[[bool, str], None]
) -> np.ndarray:
    """Return the whole array.

    The format (Kjolstad et al., "The tensor algebra compiler", 2017; tensorflow/lite/schema): axes in the order of
    `traversal_order`, those of blocks last, each dense with a length, or with segments of indices below each index
    above it.
    """
    order, blocks = _integers(table.TraversalOrderAsNumpy()), _integers(table.BlockMapAsNumpy())
    rank, count = len(shape), table.DimMetadataLength()
    fits = rank <= count <= 2 * rank and count == rank + len(blocks) and sorted(order.tolist()) == list(range(count))
    fits = fits and all(0 <= axis < rank for axis in blocks) and len(set(blocks.tolist())) == len(blocks)
    expect(fits, f"{where}: sparsity: expected an order of {rank} axes and their blocks, got {order[:16]}")
    levels = [table.DimMetadata(i) for i in range(count)]
    block_length = dict.fromkeys(range(rank), 1)
    for level, axis in zip(order, levels, strict=True):
        if level >= rank:
            block_length[int(blocks[level - rank])] = axis.DenseSize()
    expect(
        all(n >= 1 and shape[axis] % n == 0 for axis, n in block_length.items()),
        f"{where}: sparsity: expected blocks that {shape} divides into, got {block_length}",
    )
    places = np.zeros(1, np.intp)  # of the stored values in the whole array
    for level, axis in zip(order, levels, strict=True):
        whole_axis = int(level if level < rank else blocks[level - rank])
        length = block_length[whole_axis]
        stride = math.prod(shape[whole_axis + 1 :])
        if level < rank:
            length, stride = shape[whole_axis] // length, stride * length
        places = _below(where, places, length, stride, axis, len(values), expect)
    expect(len(places) == len(values), f"{where}: sparsity: expected {len(places)} values, got {len(values)}")
    whole = np.zeros(math.prod(shape), values.dtype)
    whole[places] = values
    return whole.reshape(shape)


def _below(
    where: str, places: np.ndarray, length: int, stride: int, axis: Any, most: int, expect: Callable[[bool, str], None]
) -> np.ndarray:
    """The places along one more axis, below each of those that are given."""
    if names_of("DimensionType")[axis.Format()] == "DENSE":
        expect(axis.DenseSize() == length, f"{where}: sparsity: expected length {length}, got {axis.DenseSize()}")
        total = len(places) * length
        expect(total <= most, f"{where}: sparsity: expected at most {most} values, got {total}")
        return (places[:, None] + np.arange(length) * stride).ravel()
    segments = _union(axis.ArraySegmentsType(), axis.ArraySegments())
    indices = _union(axis.ArrayIndicesType(), axis.ArrayIndices())
    counts = np.diff(segments)
    fits = len(segments) == len(places) + 1 and segments[0] == 0 and segments[-1] == len(indices) <= most
    fits = fits and bool(np.all(counts >= 0)) and bool(np.all((indices >= 0) & (indices < length)))
    expect(fits, f"{where}: sparsity: expected segments of at most {most} indices below {length}, got others")
    return np.repeat(places, counts) + indices * stride


def _integers(vector: Any) -> np.ndarray:
    return vector.astype(np.int64) if isinstance(vector, np.ndarray) else np.zeros(0, np.int64)


def _union(kind: int, table: Any) -> np.ndarray:
    """A vector of one of three widths."""
    name = names_of("SparseIndexVector").get(kind)
    if name in (None, "NONE") or table is None:
        return np.zeros(0, np.int64)
    vector = getattr(package(f"tflite.{name}"), str(name))()
    vector.Init(table.Bytes, table.Pos)
    return _integers(vector.ValuesAsNumpy())
