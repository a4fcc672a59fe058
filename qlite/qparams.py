"""The parameters of a uniform grid."""

from dataclasses import dataclass, replace

import numpy as np

from qlite import _check, _core

#: How a range becomes a grid, by the name that the option `grid` takes: (low, high, qmin, qmax, symmetric) to
#: (scale, zero_point), all arrays of one shape.
GRIDS = {"uniform": _core.range_qparams}


@dataclass(frozen=True, eq=False)
class QParams:
    """A uniform grid: ``real = scale * (code - zero_point)``, ``qmin <= code <= qmax``.

    Parameters
    ----------
    scale : ndarray of float32
        Rank of the data; each length is 1 (shared) or the data's (its own). One element fits data of any rank.
        Finite, normal and positive.
    zero_point : ndarray of int32
        The code of 0.0, in the shape of `scale`.
    bits : int
        Width of a code.
    signed, narrow : bool
        Whether codes are signed, and whether the lowest code is left out: [-127, 127] instead of [-128, 127].
    axis : int or None
        The axis that keeps its own scale.
    group_size : int or None
        How many values share a scale along the axis that is cut. Not used so far.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    bits: int = 8
    signed: bool = True
    narrow: bool = False
    axis: int | None = None
    group_size: int | None = None

    def __post_init__(self) -> None:
        _check.eight_bits(self.bits)
        _check.no_groups(self.group_size)
        scale = np.asarray(self.scale)
        if scale.dtype.kind != "f":
            raise TypeError(f"scale: expected a floating dtype, got {scale.dtype}")
        with np.errstate(over="ignore", under="ignore"):
            scale = scale.astype(np.float32)
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
            zero_point = np.ascontiguousarray(np.broadcast_to(zero_point, scale.shape), np.int32)
        except ValueError:
            raise ValueError(
                f"zero_point: expected a shape that fits scale's {scale.shape}, got {zero_point.shape}"
            ) from None
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point.reshape(scale.shape))

    @classmethod
    def from_range(
        cls,
        low: np.ndarray,
        high: np.ndarray,
        bits: int = 8,
        *,
        grid: str = "uniform",
        symmetric: bool,
        signed: bool | None = None,
        narrow: bool | None = None,
        axis: int | None = None,
    ) -> "QParams":
        """Return the grid that reaches from `low` to `high`, both of the shape that `scale` is to have.

        Symmetric: zero stands at the middle code z and ``scale = max(-low / (z - qmin), high / (qmax - z))``.
        Asymmetric: the range is widened to hold 0, ``scale = (high - low) / (qmax - qmin)`` and
        ``zero_point = rint(qmin - low / scale)``. ``low == high`` gets a scale that brings the constant back exactly.
        `signed` is `symmetric` by default, and `narrow` is both.
        """
        _check.choice("grid", grid, tuple(GRIDS))
        signed = symmetric if signed is None else bool(signed)
        narrow = symmetric and signed if narrow is None else bool(narrow)
        low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
        blank = cls(np.ones_like(low), np.full(low.shape, 128 * (not signed)), bits, signed, narrow, axis)
        scale, zero_point = GRIDS[grid](low, high, blank.qmin, blank.qmax, bool(symmetric))
        return replace(blank, scale=scale, zero_point=zero_point)

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

    def __repr__(self) -> str:
        kind = f"{'int' if self.signed else 'uint'}{self.bits} [{self.qmin}, {self.qmax}]"
        if self.scale.size == 1:
            return f"QParams({kind}, scale={self.scale.item():.6g}, zero_point={self.zero_point.item()})"
        scales = f"{self.scale.min():.4g} to {self.scale.max():.4g}" if self.scale.size else "none"
        return f"QParams({kind}, {self.scale.size} scales along axis {self.axis}: {scales})"
