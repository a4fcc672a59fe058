"""How codes lie in memory, and what indices leave of their parameters."""

import math
from typing import Any

import numpy as np

from qlite.grids.qparams import QParams

#: Widths that are stored as they are.
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


def kept_first(codes: np.ndarray, axis: int | None) -> np.ndarray:
    """Codes as rows: one for each index of the axis that is kept, or one for everything."""
    if axis is None:
        return codes.reshape(1, -1)
    return np.moveaxis(codes, axis, 0).reshape(codes.shape[axis], codes.size // max(codes.shape[axis], 1))


def kept_back(rows: np.ndarray, shape: tuple[int, ...], axis: int | None) -> np.ndarray:
    """The codes that `_kept_first` made rows of."""
    if axis is None:
        return rows.reshape(shape)
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))


def stored_shape(shape: tuple[int, ...], axis: int | None, bits: int) -> tuple[int, int]:
    rows = 1 if axis is None else shape[axis]
    return rows, (math.prod(shape) // max(rows, 1) * bits + 7) // 8


def index_of_axis(index: Any, axis: int | None, ndim: int) -> Any:
    """What an index takes of one axis, if it takes everything of all others and leaves the rank as it is; else None."""
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
    """An index of integers and slices in two steps: what it takes of one axis, then the rest; None for any other."""
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


def without_repeats(numbers: np.ndarray, group_size: int | None) -> tuple[np.ndarray, int | None, int | None]:
    """Numbers of parameters, of length 1 along every axis where they repeat; and the groups that are left, if any."""
    kept: tuple[int | None, int | None] = (None, None)
    for axis in range(numbers.ndim):
        head = numbers.take([0], axis)
        if numbers.strides[axis] == 0 or (numbers == head).all():
            numbers = head
        elif group_size is not None and kept[0] is None:
            firsts = numbers[(slice(None),) * axis + (slice(None, None, group_size),)]
            repeated = firsts.repeat(group_size, axis)[(slice(None),) * axis + (slice(numbers.shape[axis]),)]
            if np.array_equal(repeated, numbers):
                numbers, kept = firsts, (group_size, axis)
    return numbers, *kept
