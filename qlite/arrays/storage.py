"""Layout of codes in memory, and what indices leave of codes and parameters."""

import math
from typing import Any

import numpy as np

from qlite import _check, _core
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
        return _core.contiguous(codes).reshape(1, -1)
    moved = _core.contiguous(np.moveaxis(codes, axis, 0))
    return moved.reshape(codes.shape[axis], codes.size // max(codes.shape[axis], 1))


def from_rows(rows: np.ndarray, shape: tuple[int, ...], axis: int | None) -> np.ndarray:
    """The codes of the rows that `to_rows` made."""
    if axis is None:
        return rows.reshape(shape)
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return _core.contiguous(np.moveaxis(rows.reshape(moved), 0, axis))


def stored_shape(shape: tuple[int, ...], axis: int | None, bits: int) -> tuple[int, int]:
    rows = 1 if axis is None else shape[axis]
    return rows, (math.prod(shape) // max(rows, 1) * bits + 7) // 8


def checked_index(index: Any) -> Any:
    """Return an index with each of its parts taken over that is no integer, slice, Ellipsis or None."""
    if isinstance(index, tuple):
        return tuple(map(checked_index, index))
    if type(index) in (int, slice, bool) or index is None or index is Ellipsis or isinstance(index, np.integer):
        return index
    if isinstance(index, str):
        raise IndexError(f"index: expected integers, bools, slices, None or Ellipsis, got {index!r:.40}")
    array = _check.as_array("index", index)
    if array.size == 0 and array.dtype.kind == "f" and isinstance(index, list):
        return array.astype(np.intp)  # as NumPy takes []
    if array.dtype.kind not in "iub":
        raise IndexError(f"index: expected integers, bools, slices, None or Ellipsis, got {array.dtype}")
    return array


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


def axis_after(index: Any, axis: int, shape: tuple[int, ...]) -> int | None:
    """The axis of what an index leaves along which an axis of data of this shape goes on; None if it is gone."""
    count = np.arange(shape[axis])
    strides = [count.itemsize if i == axis else 0 for i in range(len(shape))]
    places = np.lib.stride_tricks.as_strided(count, shape, strides, writeable=False)
    left = np.asarray(places[index])
    if np.may_share_memory(left, count):
        moving = [i for i, stride in enumerate(left.strides) if stride]
    else:
        moving = [i for i in range(left.ndim) if (np.diff(left, axis=i) != 0).any()]
    return moving[0] if len(moving) == 1 else None


def without_repeats(
    indices: np.ndarray, group_size: int | None, group_axis: int | None
) -> tuple[np.ndarray, int | None, int | None]:
    """Indices of parameters, cut to length 1 along axes where they repeat; and the size and axis of groups, if any.

    Along `group_axis` groups keep their size if they begin at multiples of it. Else they become as small as it takes.
    """
    for axis in range(indices.ndim):
        if axis != group_axis:
            indices = _shared(indices, axis)
    if group_size is None or group_axis is None:
        return indices, None, None
    others = tuple(i for i in range(indices.ndim) if i != group_axis)
    starts = np.flatnonzero((np.diff(indices, axis=group_axis) != 0).any(axis=others)) + 1
    if (starts % group_size).any():
        group_size = int(np.gcd.reduce(starts))
    if group_size == 1:
        return indices, None, None
    indices = indices[(slice(None),) * group_axis + (slice(None, None, group_size),)]
    return _shared(indices, group_axis), group_size, group_axis


def _shared(indices: np.ndarray, axis: int) -> np.ndarray:
    """The same, of length 1 along an axis where they repeat."""
    head = indices.take([0], axis)
    return head if indices.strides[axis] == 0 or (indices == head).all() else indices


def resolved_shape(shape: Any, size: int) -> tuple[int, ...]:
    """A shape for so many values, one length of which may be -1."""
    lengths = [_check.integer("shape", n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,))]
    if lengths.count(-1) == 1:
        known = -math.prod(lengths)
        lengths[lengths.index(-1)] = size // known if known else 0
    if any(n < 0 for n in lengths) or math.prod(lengths) != size:
        raise ValueError(f"shape: expected one of {size} values, got {shape}")
    return tuple(lengths)


def reshaped(
    parameters: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]
) -> tuple[tuple[int, ...], dict[int | None, int]] | None:
    """The shape of parameters over data that goes from one shape to another, and which axes stay, by their numbers.

    None where values that share their parameters would not stay together. The fewest neighbouring axes that hold
    equally many values before and after are looked at on their own: what they share is all, nothing, or it lies along
    the only axis among them.
    """
    if 0 in old:
        return None
    lengths: list[int] = []
    stay: dict[int | None, int] = {}
    i = j = 0
    while i < len(old) or j < len(new):
        first, last = i, j
        before, after = 1, 1
        while i == first or before < after:
            before, i = before * (old[i] if i < len(old) else 1), i + 1
            while j == last or after < before:
                after, j = after * (new[j] if j < len(new) else 1), j + 1
        i, j = min(i, len(old)), min(j, len(new))
        own = [axis for axis in range(first, i) if old[axis] != 1]
        left = [axis for axis in range(last, j) if new[axis] != 1]
        if len(own) == len(left) == 1:
            stay[own[0]] = left[0]
        if all(parameters[axis] == 1 for axis in own):
            lengths += [1] * (j - last)
        elif all(parameters[axis] == old[axis] for axis in own):
            lengths += new[last:j]
        elif len(own) == len(left) == 1:
            lengths += [parameters[own[0]] if axis == left[0] else 1 for axis in range(last, j)]
        else:
            return None
    return tuple(lengths), stay
