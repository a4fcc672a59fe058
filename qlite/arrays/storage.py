"""Layout of codes in memory, and what indices leave of codes and parameters."""

import math
from typing import Any

import numpy as np

from qlite.grids.qparams import QParams

#: Widths whose codes are stored without packing.
WHOLE_WIDTHS = (8, 16)


def check_fit(shape: tuple[int, ...], p: QParams) -> None:
    """Refuse scales that do not lie over codes of this shape."""
    scales = p.scale.shape
    if p.scale.size == 1 and p.group_size is None:
        return
    fits = len(shape) == len(scales)
    if not fits or any(
        s not in lengths for s, *lengths in zip(scales, shape, p.granularity.shape(shape), strict=True) if s != 1
    ):
        raise ValueError(f"scale: expected a shape that fits codes' {shape}, got {scales}")


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.view()
    array.flags.writeable = False
    return array


def to_rows(codes: np.ndarray, axis: int | None) -> np.ndarray:
    """Rows of codes: one for each index of the axis that is kept, or one for everything."""
    if axis is None:
        return codes.reshape(1, -1)
    return np.moveaxis(codes, axis, 0).reshape(codes.shape[axis], codes.size // max(codes.shape[axis], 1))


def from_rows(rows: np.ndarray, shape: tuple[int, ...], axis: int | None) -> np.ndarray:
    """The codes of the rows that `to_rows` made."""
    if axis is None:
        return rows.reshape(shape)
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))


def stored_shape(shape: tuple[int, ...], axis: int | None, bits: int) -> tuple[int, int]:
    rows = 1 if axis is None else shape[axis]
    return rows, (math.prod(shape) // max(rows, 1) * bits + 7) // 8


def index_of_axis(index: Any, axis: int | None, ndim: int) -> Any:
    """The part of an index that is for one axis, if it takes all of the others and keeps the rank; else None."""
    parts = index if isinstance(index, tuple) else (index,)
    if axis is None or len(parts) > ndim or len(parts) <= axis or any(part is Ellipsis for part in parts):
        return None
    own, others = parts[axis], parts[:axis] + parts[axis + 1 :]
    if not all(isinstance(part, slice) and part == slice(None) for part in others):
        return None
    if isinstance(own, slice):
        return own
    own = np.asarray(own) if isinstance(own, (list, np.ndarray)) else None
    return own if own is not None and own.ndim == 1 and own.dtype.kind in "biu" else None


def basic_parts(index: Any, axis: int, shape: tuple[int, ...]) -> tuple[slice, tuple[Any, ...]] | None:
    """The two steps of an index of integers and slices: a slice of one axis, then the rest; None for other indices."""
    parts = index if isinstance(index, tuple) else (index,)
    if not axis < len(parts) <= len(shape) or any(type(part) not in (int, slice) for part in parts):
        return None
    own, length = parts[axis], shape[axis]
    if type(own) is int:
        if length == 1 or not -length <= own < length:
            return None
        first = own % length
        return slice(first, first + 1), (*parts[:axis], 0, *parts[axis + 1 :])
    return None if own == slice(None) else (own, (*parts[:axis], slice(None), *parts[axis + 1 :]))


def without_repeats(indices: np.ndarray, group_size: int | None) -> tuple[np.ndarray, int | None, int | None]:
    """Indices of parameters, cut to length 1 along axes where they repeat; and the size and axis of groups, if any."""
    kept: tuple[int | None, int | None] = (None, None)
    for axis in range(indices.ndim):
        head = indices.take([0], axis)
        if indices.strides[axis] == 0 or (indices == head).all():
            indices = head
        elif group_size is not None and kept[0] is None:
            firsts = indices[(slice(None),) * axis + (slice(None, None, group_size),)]
            repeated = firsts.repeat(group_size, axis)[(slice(None),) * axis + (slice(indices.shape[axis]),)]
            if np.array_equal(repeated, indices):
                indices, kept = firsts, (group_size, axis)
    return indices, *kept
