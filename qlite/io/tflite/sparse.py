"""Constants of which a TensorFlow Lite file stores the blocks that are not zero."""

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
    fits = sorted(order.tolist()) == list(range(count)) and count == rank + len(blocks) and rank <= count <= 2 * rank
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
    index = np.zeros((1, count), np.int64)  # of each stored value, along the axes of `order`
    for level, axis in zip(order, levels, strict=True):
        length = shape[level] // block_length[int(level)] if level < rank else block_length[int(blocks[level - rank])]
        index = _below(where, index, int(level), length, axis, len(values), expect)
    expect(len(index) == len(values), f"{where}: sparsity: expected {len(index)} values, got {len(values)}")
    place = index[:, :rank].copy()
    for i, axis in enumerate(blocks):
        place[:, axis] = place[:, axis] * block_length[int(axis)] + index[:, rank + i]
    whole = np.zeros(shape, values.dtype)
    whole[tuple(place.T)] = values
    return whole


def _below(
    where: str, index: np.ndarray, level: int, length: int, axis: Any, most: int, expect: Callable[[bool, str], None]
) -> np.ndarray:
    """The indices with those along one more axis."""
    if names_of("DimensionType")[axis.Format()] == "DENSE":
        expect(axis.DenseSize() == length, f"{where}: sparsity: expected length {length}, got {axis.DenseSize()}")
        segments, indices = np.arange(len(index) + 1, dtype=np.int64) * length, None
    else:
        segments = _union(axis.ArraySegmentsType(), axis.ArraySegments())
        indices = _union(axis.ArrayIndicesType(), axis.ArrayIndices())
        counts = np.diff(segments)
        fits = len(segments) == len(index) + 1 and segments[0] == 0 and segments[-1] == len(indices)
        fits = fits and bool(np.all(counts >= 0)) and bool(np.all((indices >= 0) & (indices < length)))
        expect(fits, f"{where}: sparsity: expected segments of indices below {length}, got others")
    total = int(segments[-1])
    expect(total <= max(most, 1), f"{where}: sparsity: expected at most {most} indices, got {total}")
    below = np.repeat(index, np.diff(segments), axis=0)
    below[:, level] = np.tile(np.arange(length), len(index)) if indices is None else indices
    return below


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
