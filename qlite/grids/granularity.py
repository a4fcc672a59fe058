"""Which values of an array share their parameters."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from qlite import _check

#: Limit of the core, which counts the values of a group in 32 bits.
MAX_GROUP = (1 << 31) - 1


def along(axis: int | None, ndim: int) -> tuple[int, ...]:
    """The shape of a vector along an axis of data of rank `ndim`, or, without an axis, of one element."""
    return tuple(-1 if i == axis else 1 for i in range(ndim))


def laid_along(name: str, parameters: np.ndarray, axis: int | None, shape: tuple[int, ...]) -> np.ndarray:
    """A vector of parameters as it lies along an axis of data of this shape; all else, for callers to check, as it is.

    `name` is for the error.
    """
    if parameters.ndim != 1 or axis is None:
        return parameters
    if parameters.size not in (1, shape[axis]):
        raise ValueError(
            f"{name}: expected one element, or {shape[axis]} for axis {axis} of {shape}, got shape {parameters.shape}"
        )
    return parameters.reshape(along(axis, len(shape)))


def taken(parameters: np.ndarray, indices: Any, axis: int) -> np.ndarray:
    """The parameters at some indices of an axis of the data; those that all its indices share stay as they are."""
    return parameters if parameters.shape[axis] == 1 else parameters[(slice(None),) * axis + (indices,)]


@dataclass(frozen=True)
class Granularity:
    """Division of a shape among scales.

    Without groups each index of `axis` has a scale of its own, or all values share one. Groups cut `group_axis` into
    runs of `group_size`; then without an `axis` each index of the other axes has its own runs, as in ONNX's blocked
    quantization.
    """

    ndim: int
    axis: int | None
    group_size: int | None = None
    group_axis: int | None = None

    @classmethod
    def of(cls, ndim: int, axis: Any, group_size: Any = None, group_axis: Any = None) -> "Granularity":
        """Check the three options against a rank; groups cut the last axis that is not kept by default."""
        try:
            return _cached(ndim, axis, group_size, group_axis)
        except TypeError:  # an option that has no hash, or that is of a wrong type
            return cls._of(ndim, axis, group_size, group_axis)

    @classmethod
    def _of(cls, ndim: int, axis: Any, group_size: Any, group_axis: Any) -> "Granularity":
        axis = _check.axis(axis, ndim)
        if group_size is None:
            if group_axis is not None:
                raise ValueError(f"group_axis: expected None without group_size, got {group_axis!r}")
            return cls(ndim, axis)
        if not 1 <= _check.integer("group_size", group_size) <= MAX_GROUP:
            raise ValueError(f"group_size: expected 1 to {MAX_GROUP}, got {group_size}")
        left = [i for i in range(ndim) if i != axis]
        if not left:
            raise ValueError(
                f"group_size: expected None with axis={axis} of {ndim}, which leaves none to cut, got {group_size}"
            )
        cut = left[-1] if group_axis is None else _check.axis(group_axis, ndim, "group_axis")
        if cut == axis:
            raise ValueError(f"group_axis: expected another axis than the one that is kept, got {group_axis} for both")
        return cls(ndim, axis, int(group_size), cut)

    def shape(self, data: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the parameters over data of this shape."""
        if self.group_size is None and self.axis is None:
            return (1,) * len(data)

        def count(i: int, length: int) -> int:
            if i == self.group_axis and self.group_size:
                return -(-length // self.group_size) if length else 0
            return length if i == self.axis or (self.group_size and self.axis is None) else 1

        return tuple(count(i, length) for i, length in enumerate(data))

    def axis_of(self, shape: tuple[int, ...]) -> int | None:
        """The axis whose indices have their own scales, which are of this shape: `axis`, or the only one that fits."""
        own = [i for i, n in enumerate(shape) if n != 1 and i != self.group_axis]
        if self.axis is None:
            return own[0] if len(own) == 1 else None
        if own not in ([], [self.axis]):
            raise ValueError(f"axis: expected scale to be longer than 1 along it alone, got {self.axis} and {shape}")
        return self.axis

    @cached_property
    def groups(self) -> tuple[int, int]:
        """Size and axis of the groups as arguments of the core; size 0 for no groups."""
        return self.group_size or 0, self.group_axis or 0


_cached = lru_cache(maxsize=256, typed=True)(Granularity._of)
