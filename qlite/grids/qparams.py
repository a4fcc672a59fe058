"""Quantization parameters: what codes stand for, and which values share a scale."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.grids import codebooks
from qlite.grids.formats import GRIDS, SCALE_BITS, TWO_LEVELS
from qlite.grids.granularity import Granularity, taken
from qlite.grids.scale_codes import ScaleCodes
from qlite.grids.spec import GridSpec, check_narrow, check_symmetric


@public
@dataclass(frozen=True, eq=False)
class QParams:
    """Quantization parameters: ``real = scale * (code - zero_point)``, or ``real = scale * codebook[code]``.

    Parameters
    ----------
    scale : ndarray of float32
        Rank of the data; along each axis its length is 1 (shared), the data's (own), or along `group_axis`
        ``ceil(n / group_size)``. One element fits data of any rank. Finite, normal and positive. Kept as a read-only
        copy, as are all arrays here.
    zero_point : ndarray of int32
        The code of 0.0, in the shape of `scale`; 0 with a codebook.
    bits : int
        Width of a code, 1 to 16.
    signed, narrow : bool
        Whether codes are signed, and whether the lowest code is left out: [-127, 127] instead of [-128, 127].
    axis : int or None
        The axis that keeps its own scale; by default the only one along which `scale` is longer than 1.
    group_size, group_axis : int or None
        How many neighbours share a scale, along which axis.
    codebook : ndarray of float32, optional
        What the codes stand for, in units of the scale: (entries,) for all, or the shape of `scale` and then entries.
    grid : str
        Name of the format; "codebook" for a codebook of the user's own.
    scale_dtype : {"float32", "float16", "e8m0", "uint8", "fp8_e4m3"}
        What scales are stored as; e8m0 is a power of two in a byte.
    scale_codes : tuple, optional
        For the last two dtypes: uint8 codes of the scales, and float32 scales of these codes, either one for all or one
        for each index of `axis`. `scale` is what the codes stand for. Kept as an object with `codes`, `scale` and
        `dequantize()`.

    Raises
    ------
    TypeError
        `scale` is not of a floating dtype, `zero_point`, `bits` or `axis` not integer, a flag not a bool.
    ValueError
        A scale is not finite, normal and positive, or not what `scale_dtype` holds; a zero point is no code; `scale` is
        longer than 1 along another axis than `axis`; a codebook has another number of entries than there are codes, or
        another shape.

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
    group_axis: int | None = None
    codebook: np.ndarray | None = None
    grid: str = "uniform"
    scale_dtype: str = "float32"
    scale_codes: ScaleCodes | None = None

    def __post_init__(self) -> None:
        _check.choice("grid", self.grid, tuple(GRIDS))
        why = "" if self.grid == "uniform" else f" for grid {self.grid!r}"
        object.__setattr__(self, "bits", _check.bits(self.bits, sorted(GRIDS[self.grid].widths), why))
        object.__setattr__(self, "signed", _check.flag("signed", self.signed))
        object.__setattr__(self, "narrow", _check.flag("narrow", self.narrow))
        check_narrow(self.bits, self.narrow)
        _check.choice("scale_dtype", self.scale_dtype, tuple(SCALE_BITS))
        scale = _check.normal("scale", _check.real_array("scale", self.scale).copy())
        self._keep("scale", scale)
        self._check_scale_dtype(scale)
        granularity = Granularity.of(scale.ndim, self.axis, self.group_size, self.group_axis)
        object.__setattr__(self, "axis", granularity.axis_of(scale.shape))
        object.__setattr__(self, "group_size", granularity.group_size)
        object.__setattr__(self, "group_axis", granularity.group_axis)
        has_codebook = self.grid not in ("uniform", "mxint8")
        if (self.codebook is not None) != has_codebook:
            wanted, came = ("one", "None") if has_codebook else ("None", "one")
            raise ValueError(f"codebook: expected {wanted} for grid {self.grid!r}, got {came}")
        if self.codebook is not None:
            self._keep("codebook", self._checked_codebook(self.codebook))
        self._keep("zero_point", self._checked_zero_point(_check.integers("zero_point", self.zero_point)))

    def _keep(self, name: str, value: np.ndarray) -> None:
        """Set a field to an array that nobody can write to any more."""
        value.flags.writeable = False
        object.__setattr__(self, name, value)

    def _check_scale_dtype(self, scale: np.ndarray) -> None:
        """Refuse scales that `scale_dtype` cannot hold."""
        codes = self.scale_codes
        if (codes is not None) != (self.scale_dtype in TWO_LEVELS):
            raise ValueError(
                f"scale_codes: expected {'some' if codes is None else 'None'} for scale_dtype {self.scale_dtype!r}, "
                f"got {codes!r}"
            )
        held = scale  # as scale_dtype stores them
        if codes is not None:
            codes = ScaleCodes.of(codes, self.scale_dtype)
            object.__setattr__(self, "scale_codes", codes)
            held = codes.dequantize()
        elif self.scale_dtype == "float16":
            with np.errstate(over="ignore"):
                held = scale.astype(np.float16).astype(np.float32)
        elif self.scale_dtype == "e8m0":
            _, exponent = np.frexp(scale)
            held = np.ldexp(np.float32(1), exponent - 1)
        if not np.array_equal(held, scale):
            what = f"{scale[held != scale].flat[0]}" if held.shape == scale.shape else f"shape {scale.shape}"
            raise ValueError(f"scale: expected what {self.scale_dtype} holds, got {what}")

    def _checked_zero_point(self, zero_point: np.ndarray) -> np.ndarray:
        if self.codebook is not None and zero_point.any():
            raise ValueError(f"zero_point: expected 0 with a codebook, got {zero_point.ravel()[:4]}")
        if zero_point.size and not self.qmin <= zero_point.min() <= zero_point.max() <= self.qmax:
            raise ValueError(
                f"zero_point: expected {self.qmin} to {self.qmax}, got {zero_point.ravel()[:4]}"
                f"{self._with_codes_for(zero_point.min(), zero_point.max())}"
            )
        try:
            return np.broadcast_to(zero_point, self.scale.shape).astype(np.int32, order="C")
        except ValueError:
            raise ValueError(
                f"zero_point: expected a shape that fits scale's {self.scale.shape}, got {zero_point.shape}"
            ) from None

    def _with_codes_for(self, low: int, high: int) -> str:
        """The option with which codes of this width reach from low to high, for the end of a message; or nothing."""
        first, last = (0, (1 << self.bits) - 1) if self.signed else (-(1 << self.bits - 1), (1 << self.bits - 1) - 1)
        if first <= low and high <= last:
            return f" (signed={not self.signed} has {first} to {last})"
        is_left_out = self.narrow and low == self.qmin - 1 and high <= self.qmax
        return " (narrow=False has one code more)" if is_left_out else ""

    def _checked_codebook(self, book: Any) -> np.ndarray:
        if self.signed or self.narrow:
            raise ValueError(
                f"signed: expected unsigned codes of the full range with a codebook, got signed={self.signed} "
                f"and narrow={self.narrow}"
            )
        check = codebooks.checked if self.grid == "codebook" else _check.scales
        book = check("codebook", book).copy()
        if book.ndim == 0 or not 2 <= book.shape[-1] <= 1 << min(self.bits, 8):
            raise ValueError(f"codebook: expected 2 to {1 << min(self.bits, 8)} entries, got shape {book.shape}")
        if book.ndim > 1 and book.shape[:-1] != self.scale.shape:
            raise ValueError(
                f"codebook: expected one for all, or scale's shape {self.scale.shape} and entries, got {book.shape}"
            )
        if not np.all(np.isfinite(book).sum(axis=-1) >= 2):
            raise ValueError(f"codebook: expected at least two finite entries, got {book.ravel()[:4]}")
        values = GRIDS[self.grid].values
        if values is not None and not np.array_equal(book, values(self.bits), equal_nan=True):
            raise ValueError(f"codebook: expected that of grid {self.grid!r}, got another one")
        return book

    @classmethod
    def _of_range(cls, low: np.ndarray, high: np.ndarray, spec: GridSpec, granularity: Granularity) -> "QParams":
        """The parameters with which the codes of a format reach from low to high."""
        spec.check_scales(low, high)
        if spec.scale_dtype not in TWO_LEVELS:
            return cls._trusted(*spec.scales(low, high), spec, granularity)
        # Widened to hold 0: the scale that brings a constant back would not survive as a code, but spoil the others.
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        scale, zero_point = spec.scales(low, high)
        codes = ScaleCodes.nearest(np.where(low == high, np.float32(0), scale), granularity.axis, spec.scale_dtype)
        scale = codes.dequantize()
        if not spec.symmetric and spec.codebook is None:  # the codes have moved the scales
            zero_point = np.rint(spec.qmin - np.minimum(low, 0) / scale).clip(spec.qmin, spec.qmax).astype(np.int32)
        return cls._of_spec(scale, zero_point, spec, granularity, scale_codes=codes)

    @classmethod
    def _of_spec(
        cls,
        scale: np.ndarray,
        zero_point: Any,
        spec: GridSpec,
        granularity: Granularity,
        codebook: np.ndarray | None = None,
        scale_codes: ScaleCodes | None = None,
    ) -> "QParams":
        """The parameters of a format with these scales, zero points and, if it is fitted, this codebook; checked."""
        return cls(
            scale,
            zero_point,
            spec.bits,
            spec.signed,
            spec.narrow,
            granularity.axis,
            granularity.group_size,
            granularity.group_axis,
            spec.codebook if codebook is None else codebook,
            spec.grid,
            spec.scale_dtype,
            scale_codes,
        )

    @classmethod
    def _trusted(cls, scale: np.ndarray, zero_point: np.ndarray, spec: GridSpec, granularity: Granularity) -> "QParams":
        """The same for arrays that the core has just made, unchecked: checks take longer than 1000 values."""
        scale.setflags(write=False)
        zero_point.setflags(write=False)
        axis = granularity.axis if scale.size == 1 else granularity.axis_of(scale.shape)
        p = object.__new__(cls)
        p.__dict__.update(
            granularity=granularity if axis == granularity.axis else replace(granularity, axis=axis),
            scale=scale,
            zero_point=zero_point,
            bits=spec.bits,
            signed=spec.signed,
            narrow=spec.narrow,
            axis=axis,
            group_size=granularity.group_size,
            group_axis=granularity.group_axis,
            codebook=spec.codebook,
            grid=spec.grid,
            scale_dtype=spec.scale_dtype,
            scale_codes=None,
        )
        return p

    @classmethod
    def from_range(
        cls,
        low: Any,
        high: Any,
        bits: int | None = None,
        *,
        grid: Any = "uniform",
        symmetric: bool,
        signed: bool | None = None,
        narrow: bool | None = None,
        axis: int | None = None,
        group_size: int | None = None,
        group_axis: int | None = None,
        scale_dtype: str | None = None,
    ) -> "QParams":
        """Return the parameters whose codes reach from `low` to `high`.

        Symmetric: zero is the middle code z and ``scale = max(-low / (z - qmin), high / (qmax - z))``.
        Asymmetric: the range is widened to hold 0, ``scale = (high - low) / (qmax - qmin)`` and
        ``zero_point = rint(qmin - low / scale)``. ``low == high`` gets a scale that brings the constant back exactly.
        A codebook is scaled until its ends reach those of the range. A scale that its dtype does not hold is rounded
        up, so that nothing inside is clipped.

        Parameters
        ----------
        low, high : array_like of real numbers
            The ends, both of the shape that `scale` is to have.
        bits, grid, symmetric, signed, narrow, scale_dtype
            See `choose_qparams`.
        axis, group_size, group_axis : int, optional
            Which values share a scale, as in the class.

        Raises
        ------
        TypeError
            An end that is not a real number, or a flag that is not a bool.
        ValueError
            Ends that are not finite, of different shapes, or in the wrong order; an option that there is not.

        Examples
        --------
        >>> import qlite as ql
        >>> ql.QParams.from_range(-1.0, 1.55, symmetric=False)
        QParams(uint8 [0, 255], scale=0.01, zero_point=100)
        >>> ql.QParams.from_range(-1.0, 3.0, grid="nf4", symmetric=True)
        QParams(nf4, 16 entries, scale=3)
        """
        spec = GridSpec.of(bits, grid, symmetric, signed, narrow, scale_dtype)
        check_symmetric(spec, symmetric)
        if spec.is_fitted:
            raise ValueError(f"grid: expected one that a range determines, got {grid!r}, which is fitted to data")
        low, high = (_check.finite(n, _check.scales(n, v)) for n, v in (("low", low), ("high", high)))
        if low.shape != high.shape:
            raise ValueError(f"high: expected shape {low.shape} as low, got {high.shape}")
        if np.any(low > high):
            worst = np.argmax(low > high)
            raise ValueError(f"low: expected at most high, {high.flat[worst]}, got {low.flat[worst]}")
        return cls._of_range(low, high, spec, Granularity.of(low.ndim, axis, group_size, group_axis))

    @cached_property
    def _by_rank(self) -> "dict[int, QParams]":
        return {}

    def _of_rank(self, ndim: int) -> "QParams":
        """Return the same parameters for data of another rank, if all values share them; else these as they are."""
        if self.scale.size != 1 or self.scale.ndim == ndim or self.group_size is not None:
            return self
        if ndim not in self._by_rank:
            self._by_rank[ndim] = self._reshaped((1,) * ndim)
        return self._by_rank[ndim]

    def _reshaped(self, shape: tuple[int, ...]) -> "QParams":
        book = self.codebook
        if book is not None and book.ndim > 1:
            book = book.reshape(*shape, -1)
        scale, zero_point = self.scale.reshape(shape), self.zero_point.reshape(shape)
        codes = None if self.scale_codes is None else self.scale_codes.reshaped(shape)
        return replace(self, scale=scale, zero_point=zero_point, axis=None, codebook=book, scale_codes=codes)

    def _moved(self, move: Callable[[np.ndarray], np.ndarray], axes: Mapping[int | None, int]) -> "QParams":
        """The parameters after a change of the data's axes or shape: `move` does it to arrays of parameters, which may
        have entries as one axis more; `axes` are the axes that stay, by their former numbers."""
        book, group_axis = self.codebook, axes.get(self.group_axis)
        return replace(
            self,
            scale=move(self.scale),
            zero_point=move(self.zero_point),
            axis=axes.get(self.axis),
            group_size=None if group_axis is None else self.group_size,
            group_axis=group_axis,
            codebook=book if book is None or book.ndim == 1 else move(book),
            scale_codes=None if self.scale_codes is None else self.scale_codes.moved(move),
        )

    def _taken(self, indices: Any, axis: int) -> "QParams":
        """The parameters at some indices of an axis of the data."""
        book = self.codebook
        if book is not None and book.ndim > 1:
            book = taken(book, indices, axis)
        scale, zero_point = taken(self.scale, indices, axis), taken(self.zero_point, indices, axis)
        codes = None if self.scale_codes is None else self.scale_codes.taken(indices, axis)
        return replace(self, scale=scale, zero_point=zero_point, codebook=book, scale_codes=codes)

    @cached_property
    def granularity(self) -> Granularity:
        """Which values share their parameters."""
        return Granularity(self.scale.ndim, self.axis, self.group_size, self.group_axis)

    @cached_property
    def qmin(self) -> int:
        """The lowest code."""
        return (-(1 << self.bits - 1) if self.signed else 0) + self.narrow

    @cached_property
    def qmax(self) -> int:
        """The highest code."""
        if self.codebook is not None:
            return self.codebook.shape[-1] - 1
        return (1 << self.bits - self.signed) - 1

    @cached_property
    def dtype(self) -> np.dtype:
        """The dtype of unpacked codes: 8 bits, or 16 for more than 8."""
        if self.bits > 8:
            return np.dtype(np.int16 if self.signed else np.uint16)
        return np.dtype(np.int8 if self.signed else np.uint8)

    @property
    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and greatest representable value of each scale, in the shape of `scale`."""
        if self.codebook is not None:
            return np.nanmin(self.codebook, axis=-1) * self.scale, np.nanmax(self.codebook, axis=-1) * self.scale
        return (self.qmin - self.zero_point) * self.scale, (self.qmax - self.zero_point) * self.scale

    @property
    def nbytes(self) -> int:
        """Bytes of scales, zero points that are not 0, and codebooks that no format fixes."""
        bits = 0
        if self.scale_codes is not None:
            bits += 8 * self.scale_codes.nbytes
        elif not self.is_unscaled:
            bits += self.scale.size * SCALE_BITS[self.scale_dtype]
        if self.zero_point.any():
            bits += self.zero_point.size * self.bits
        if self.codebook is not None and not self.has_known_codebook:
            bits += 8 * self.codebook.nbytes
        return -(-bits // 8)

    @property
    def is_unscaled(self) -> bool:
        """Whether codebooks, one for each scale, hold the values themselves, as those do that were fitted to data."""
        has_one_each = self.codebook is not None and self.codebook.size // self.codebook.shape[-1] == self.scale.size
        return GRIDS[self.grid].is_fitted and has_one_each and bool(np.all(self.scale == 1))

    @property
    def has_known_codebook(self) -> bool:
        """Whether the codebook follows from the grid's name and the width."""
        return GRIDS[self.grid].values is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QParams):
            return NotImplemented
        for name in (f.name for f in fields(self)):
            ours, theirs = getattr(self, name), getattr(other, name)
            if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
                if not np.array_equal(ours, theirs, equal_nan=True):
                    return False
            elif isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray) or ours != theirs:
                return False
        return True

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        *values, codes = (getattr(self, f.name) for f in fields(self))
        return QParams, (*values, None if codes is None else (codes.codes, codes.scale))

    def __repr__(self) -> str:
        if self.codebook is None:
            kind = f"{'int' if self.signed else 'uint'}{self.bits} [{self.qmin}, {self.qmax}]"
        else:
            kind = f"{self.grid}, {self.codebook.shape[-1]} entries"
        if self.scale.size == 1:
            zero_point = "" if self.codebook is not None else f", zero_point={self.zero_point.item()}"
            return f"QParams({kind}, scale={self.scale.item():.6g}{zero_point})"
        scales = f"{self.scale.min():.4g} to {self.scale.max():.4g}" if self.scale.size else "none"
        return f"QParams({kind}, {self._scales()}: {scales})"

    def _scales(self) -> str:
        """The number of scales and which values share one, in words."""
        noun = "scale" if self.codebook is None or self.codebook.ndim == 1 else "codebook"
        if self.scale.size == 1:
            return f"1 {noun}"
        text = f"{self.scale.size} {noun}s"
        if self.group_size is not None:
            return f"{text} for groups of {self.group_size} along axis {self.group_axis}"
        return text if self.axis is None else f"{text} along axis {self.axis}"
