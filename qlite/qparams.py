"""The parameters of a uniform grid."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from qlite import _check, _core

#: How a range becomes a grid, by the name that the option `grid` takes: (low, high, qmin, qmax, symmetric) to
#: (scale, zero_point), all arrays of one shape.
GRIDS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {"uniform": _core.range_qparams}


def along(axis: int | None, ndim: int) -> tuple[int, ...]:
    """The shape that lays a vector along an axis of data of rank `ndim`; without an axis, that lays out one element."""
    return tuple(-1 if i == axis else 1 for i in range(ndim))


def code_range(symmetric: Any, signed: Any, narrow: Any) -> tuple[bool, bool, bool]:
    """The three flags, checked; `signed` is `symmetric` by default, and `narrow` is both."""
    symmetric = _check.flag("symmetric", symmetric)
    signed = symmetric if signed is None else _check.flag("signed", signed)
    narrow = symmetric and signed if narrow is None else _check.flag("narrow", narrow)
    return symmetric, signed, narrow


@dataclass(frozen=True, eq=False)
class QParams:
    """A uniform grid: ``real = scale * (code - zero_point)``, ``qmin <= code <= qmax``.

    Parameters
    ----------
    scale : ndarray of float32
        Rank of the data; each length is 1 (shared) or the data's (its own). One element fits data of any rank.
        Finite, normal and positive. Kept as a read-only copy, as is `zero_point`.
    zero_point : ndarray of int32
        The code of 0.0, in the shape of `scale`.
    bits : int
        Width of a code.
    signed, narrow : bool
        Whether codes are signed, and whether the lowest code is left out: [-127, 127] instead of [-128, 127].
    axis : int or None
        The axis that keeps its own scale; by default the one along which `scale` is longer than 1.
    group_size : int or None
        How many values share a scale along the axis that is cut. Not used so far.

    Raises
    ------
    TypeError
        `scale` is not of a floating dtype, `zero_point`, `bits` or `axis` not integer, a flag not a bool.
    ValueError
        A scale is not finite, normal and positive, or a zero point is no code; `scale` is longer than 1 along several
        axes, or along another one than `axis`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> p = ql.QParams(np.float32([[0.5, 0.25]]), 0)
    >>> p.axis, p.qmin, p.qmax
    (1, -128, 127)
    >>> p.range[1]
    array([[63.5 , 31.75]])
    """

    scale: np.ndarray
    zero_point: np.ndarray
    bits: int = 8
    signed: bool = True
    narrow: bool = False
    axis: int | None = None
    group_size: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", _check.eight_bits(self.bits))
        object.__setattr__(self, "signed", _check.flag("signed", self.signed))
        object.__setattr__(self, "narrow", _check.flag("narrow", self.narrow))
        _check.no_groups(self.group_size)
        scale = _check.real_array("scale", self.scale).copy()
        smallest = np.finfo(np.float32).smallest_normal
        if not np.all((scale >= smallest) & (scale < np.inf)):
            bad = scale[~((scale >= smallest) & (scale < np.inf))].flat[0]
            raise ValueError(f"scale: expected finite, normal and positive values, got {bad}")
        zero_point = np.asarray(self.zero_point)
        if zero_point.dtype.kind not in "iu":
            raise TypeError(f"zero_point: expected integers, got {zero_point.dtype}")
        if zero_point.size and not self.qmin <= zero_point.min() <= zero_point.max() <= self.qmax:
            raise ValueError(f"zero_point: expected {self.qmin} to {self.qmax}, got {zero_point.ravel()[:4]}")
        try:
            zero_point = np.broadcast_to(zero_point, scale.shape).astype(np.int32, order="C")
        except ValueError:
            raise ValueError(
                f"zero_point: expected a shape that fits scale's {scale.shape}, got {zero_point.shape}"
            ) from None
        for name, value in (("scale", scale), ("zero_point", zero_point)):
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        object.__setattr__(self, "axis", self._checked_axis())

    def _checked_axis(self) -> int | None:
        """The axis, once it is the only one along which the scales differ."""
        shape = self.scale.shape
        long = [i for i, n in enumerate(shape) if n != 1]
        axis = _check.axis(self.axis, len(shape))
        if len(long) > 1:
            raise ValueError(f"scale: expected at most one axis longer than 1, got shape {shape}")
        if axis is None:
            return long[0] if long else None
        if long and long != [axis]:
            raise ValueError(f"axis: expected {long[0]}, along which scale has its shape {shape}, got {self.axis}")
        return axis

    @classmethod
    def from_range(
        cls,
        low: Any,
        high: Any,
        bits: int = 8,
        *,
        grid: str = "uniform",
        symmetric: bool,
        signed: bool | None = None,
        narrow: bool | None = None,
        axis: int | None = None,
    ) -> "QParams":
        """Return the grid that reaches from `low` to `high`.

        Symmetric: zero stands at the middle code z and ``scale = max(-low / (z - qmin), high / (qmax - z))``.
        Asymmetric: the range is widened to hold 0, ``scale = (high - low) / (qmax - qmin)`` and
        ``zero_point = rint(qmin - low / scale)``. ``low == high`` gets a scale that brings the constant back exactly.

        Parameters
        ----------
        low, high : array_like of a real floating dtype
            The ends, both of the shape that `scale` is to have.
        bits, grid, symmetric, signed, narrow
            See `choose_qparams`.
        axis : int, optional
            The axis that keeps its own scale.

        Raises
        ------
        TypeError
            An end that is not of a real floating dtype, or a flag that is not a bool.
        ValueError
            Ends that are not finite, of different shapes, or in the wrong order; an option that there is not.

        Examples
        --------
        >>> import qlite as ql
        >>> ql.QParams.from_range(-1.0, 1.55, symmetric=False)
        QParams(uint8 [0, 255], scale=0.01, zero_point=100)
        """
        _check.choice("grid", grid, tuple(GRIDS))
        symmetric, signed, narrow = code_range(symmetric, signed, narrow)
        low, high = (_check.finite(n, _check.real_array(n, v)) for n, v in (("low", low), ("high", high)))
        if low.shape != high.shape:
            raise ValueError(f"high: expected shape {low.shape} as low, got {high.shape}")
        if np.any(low > high):
            worst = np.argmax(low > high)
            raise ValueError(f"low: expected at most high, {high.flat[worst]}, got {low.flat[worst]}")
        blank = cls(np.ones_like(low), np.full(low.shape, 128 * (not signed)), bits, signed, narrow, axis)
        scale, zero_point = GRIDS[grid](low, high, blank.qmin, blank.qmax, symmetric)
        return replace(blank, scale=scale, zero_point=zero_point)

    def _of_rank(self, ndim: int) -> "QParams":
        """Return the same grid for data of another rank, if it is one for all values; else the grid as it is."""
        if self.scale.size != 1 or self.scale.ndim == ndim:
            return self
        shape = (1,) * ndim
        return replace(self, scale=self.scale.reshape(shape), zero_point=self.zero_point.reshape(shape), axis=None)

    @property
    def qmin(self) -> int:
        """The lowest code."""
        return (-(1 << self.bits - 1) if self.signed else 0) + self.narrow

    @property
    def qmax(self) -> int:
        """The highest code."""
        return (1 << self.bits - self.signed) - 1

    @property
    def dtype(self) -> np.dtype:
        """The dtype of unpacked codes."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    @property
    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and greatest representable value of each channel, in the shape of `scale`."""
        return (self.qmin - self.zero_point) * self.scale, (self.qmax - self.zero_point) * self.scale

    def __reduce__(self) -> Any:
        return QParams, tuple(getattr(self, f.name) for f in fields(self))

    def __repr__(self) -> str:
        kind = f"{'int' if self.signed else 'uint'}{self.bits} [{self.qmin}, {self.qmax}]"
        if self.scale.size == 1:
            return f"QParams({kind}, scale={self.scale.item():.6g}, zero_point={self.zero_point.item()})"
        scales = f"{self.scale.min():.4g} to {self.scale.max():.4g}" if self.scale.size else "none"
        return f"QParams({kind}, {self.scale.size} scales along axis {self.axis}: {scales})"
