"""The parameters of a grid: where the codes of an array stand, and which values share what."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qlite import _check, _core, codebook

if TYPE_CHECKING:
    from qlite.array import QArray


@dataclass(frozen=True)
class Grid:
    """What a grid's name stands for."""

    widths: Sequence[int]  # bits of a code; the first is the default
    values: Callable[[int], np.ndarray] | None = None  # the codebook of a width; None: uniform, or fitted to the data
    is_fitted: bool = False
    block_exponent: int | None = None  # of the block formats: scale = 2**(floor(log2(max|w|)) - block_exponent)


def _small_float(name: str) -> Callable[[int], np.ndarray]:
    return lambda bits: codebook.small_float(*codebook.SMALL_FLOATS[name])


#: The grids by name. Block formats (OCP Microscaling Formats, 1.0) are 32 values under a power of two.
GRIDS = {
    "uniform": Grid((8, *range(1, 8), *range(9, 17))),
    "sign": Grid((1,), codebook.sign),
    "kmeans": Grid((4, 1, 2, 3, 5, 6, 7, 8), is_fitted=True),
    "quantile": Grid((4, 1, 2, 3, 5, 6, 7, 8), is_fitted=True),
    "log2": Grid((4, 2, 3, 5, 6, 7, 8), codebook.log2),
    "apot": Grid((4, 3, 5, 7), codebook.apot),
    "nf3": Grid((3,), codebook.normal_float),
    "nf4": Grid((4,), lambda bits: np.array(codebook.NF4, np.float32)),
    "fp4": Grid((4,), _small_float("fp4")),
    "fp6_e2m3": Grid((6,), _small_float("fp6_e2m3")),
    "fp6_e3m2": Grid((6,), _small_float("fp6_e3m2")),
    "fp8_e4m3": Grid((8,), _small_float("fp8_e4m3")),
    "fp8_e5m2": Grid((8,), _small_float("fp8_e5m2")),
    "mxfp4": Grid((4,), _small_float("fp4"), block_exponent=2),
    "mxfp6_e2m3": Grid((6,), _small_float("fp6_e2m3"), block_exponent=2),
    "mxfp6_e3m2": Grid((6,), _small_float("fp6_e3m2"), block_exponent=4),
    "mxfp8_e4m3": Grid((8,), _small_float("fp8_e4m3"), block_exponent=8),
    "mxfp8_e5m2": Grid((8,), _small_float("fp8_e5m2"), block_exponent=15),
    "mxint8": Grid((8,), block_exponent=6),
    "codebook": Grid(range(1, 9)),
}
BLOCK_SIZE = 32
#: What the core counts the values of a group with.
MAX_GROUP = (1 << 31) - 1

#: What a scale is stored as, and in how many bits. The last two are codes under one float32 scale per index of `axis`.
SCALE_BITS = {"float32": 32, "float16": 16, "e8m0": 8, "uint8": 8, "fp8_e4m3": 8}
TWO_LEVELS = ("uint8", "fp8_e4m3")


def along(axis: int | None, ndim: int) -> tuple[int, ...]:
    """The shape that lays a vector along an axis of data of rank `ndim`; without an axis, that lays out one element."""
    return tuple(-1 if i == axis else 1 for i in range(ndim))


def code_range(symmetric: Any, signed: Any, narrow: Any) -> tuple[bool, bool, bool]:
    """The three flags, checked; `signed` is `symmetric` by default, and `narrow` is both."""
    symmetric = _check.flag("symmetric", symmetric)
    signed = symmetric if signed is None else _check.flag("signed", signed)
    narrow = symmetric and signed if narrow is None else _check.flag("narrow", narrow)
    return symmetric, signed, narrow


def _check_narrow(bits: int, narrow: bool) -> None:
    if narrow and bits == 1:
        raise ValueError("narrow: expected False for 1 bit, of which one code would be left, got True")


@dataclass(frozen=True)
class Sharing:
    """Which values share their parameters: how a shape is divided among scales.

    Without groups an index of `axis` has its own, or everything has one. Groups cut `group_axis` into runs of
    `group_size`; then without an `axis` every index of the other axes has its own, as in ONNX's blocked quantization.
    """

    ndim: int
    axis: int | None
    group_size: int | None = None
    group_axis: int | None = None

    @classmethod
    def of(cls, ndim: int, axis: Any, group_size: Any = None, group_axis: Any = None) -> "Sharing":
        """Check the three options against a rank; groups cut the last axis that is not kept by default."""
        try:
            return _sharing(ndim, axis, group_size, group_axis)
        except TypeError:  # also for what has no hash
            return cls._settled(ndim, axis, group_size, group_axis)

    @classmethod
    def _settled(cls, ndim: int, axis: Any, group_size: Any, group_axis: Any) -> "Sharing":
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
        """The axis that has its own scales, once these, of this shape, are shared in no other way."""
        own = [i for i, n in enumerate(shape) if n != 1 and i != self.group_axis]
        if self.axis is None:
            return own[0] if len(own) == 1 else None
        if own not in ([], [self.axis]):
            raise ValueError(f"axis: expected scale to be longer than 1 along it alone, got {self.axis} and {shape}")
        return self.axis

    @cached_property
    def groups(self) -> tuple[int, int]:
        """Size and axis of the groups as the core takes them: size 0 for none."""
        return self.group_size or 0, self.group_axis or 0


_sharing = lru_cache(maxsize=256, typed=True)(Sharing._settled)


@dataclass(frozen=True, eq=False)
class QParams:
    """A grid: ``real = scale * (code - zero_point)``, or ``real = scale * codebook[code]``.

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
        The grid's name; "codebook" for one of the user's own.
    scale_dtype : {"float32", "float16", "e8m0", "uint8", "fp8_e4m3"}
        What scales are stored as; e8m0 is a power of two in a byte.
    scale_codes : QArray, optional
        The scales as codes under scales of their own, for the last two dtypes: `scale` is what they stand for.

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
    scale_codes: "QArray | None" = None

    def __post_init__(self) -> None:
        _check.choice("grid", self.grid, tuple(GRIDS))
        why = "" if self.grid == "uniform" else f" for grid {self.grid!r}"
        object.__setattr__(self, "bits", _check.bits(self.bits, sorted(GRIDS[self.grid].widths), why))
        object.__setattr__(self, "signed", _check.flag("signed", self.signed))
        object.__setattr__(self, "narrow", _check.flag("narrow", self.narrow))
        _check_narrow(self.bits, self.narrow)
        _check.choice("scale_dtype", self.scale_dtype, tuple(SCALE_BITS))
        scale = _check.real_array("scale", self.scale).copy()
        smallest = np.finfo(np.float32).smallest_normal
        if not np.all((scale >= smallest) & (scale < np.inf)):
            bad = scale[~((scale >= smallest) & (scale < np.inf))].flat[0]
            raise ValueError(f"scale: expected finite, normal and positive values, got {bad}")
        self._keep("scale", scale)
        self._check_scale_dtype(scale)
        sharing = Sharing.of(scale.ndim, self.axis, self.group_size, self.group_axis)
        object.__setattr__(self, "axis", sharing.axis_of(scale.shape))
        object.__setattr__(self, "group_axis", sharing.group_axis)
        has_codebook = self.grid not in ("uniform", "mxint8")
        if (self.codebook is not None) != has_codebook:
            wanted, came = ("one", "None") if has_codebook else ("None", "one")
            raise ValueError(f"codebook: expected {wanted} for grid {self.grid!r}, got {came}")
        if self.codebook is not None:
            self._keep("codebook", self._checked_codebook(self.codebook))
        self._keep("zero_point", self._checked_zero_point(np.asarray(self.zero_point)))

    def _keep(self, name: str, value: np.ndarray) -> None:
        value.flags.writeable = False
        object.__setattr__(self, name, value)

    def _check_scale_dtype(self, scale: np.ndarray) -> None:
        """Refuse scales that are not what they are stored as."""
        codes = self.scale_codes
        if (codes is not None) != (self.scale_dtype in TWO_LEVELS):
            raise ValueError(
                f"scale_codes: expected {'some' if codes is None else 'None'} for scale_dtype {self.scale_dtype!r}, "
                f"got {codes!r}"
            )
        held = scale
        if codes is not None:
            from qlite.array import QArray

            if not isinstance(codes, QArray):
                raise TypeError(f"scale_codes: expected a QArray, got {type(codes).__name__}")
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
        if zero_point.dtype.kind not in "iu":
            raise TypeError(f"zero_point: expected integers, got {zero_point.dtype}")
        if self.codebook is not None and zero_point.any():
            raise ValueError(f"zero_point: expected 0 with a codebook, got {zero_point.ravel()[:4]}")
        if zero_point.size and not self.qmin <= zero_point.min() <= zero_point.max() <= self.qmax:
            raise ValueError(f"zero_point: expected {self.qmin} to {self.qmax}, got {zero_point.ravel()[:4]}")
        try:
            return np.broadcast_to(zero_point, self.scale.shape).astype(np.int32, order="C")
        except ValueError:
            raise ValueError(
                f"zero_point: expected a shape that fits scale's {self.scale.shape}, got {zero_point.shape}"
            ) from None

    def _checked_codebook(self, book: Any) -> np.ndarray:
        if self.signed or self.narrow:
            raise ValueError(
                f"signed: expected unsigned codes of the full range with a codebook, got signed={self.signed} "
                f"and narrow={self.narrow}"
            )
        check = codebook.checked if self.grid == "codebook" else _check.scales
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
    def _trusted(cls, scale: np.ndarray, zero_point: np.ndarray, form: "Form", sharing: Sharing) -> "QParams":
        """A grid of parameters that the core has just made: the checks would take longer than a small array."""
        scale.flags.writeable = zero_point.flags.writeable = False
        p = object.__new__(cls)
        p.__dict__.update(
            scale=scale,
            zero_point=zero_point,
            bits=form.bits,
            signed=form.signed,
            narrow=form.narrow,
            axis=sharing.axis_of(scale.shape),
            group_size=sharing.group_size,
            group_axis=sharing.group_axis,
            codebook=form.codebook,
            grid=form.grid,
            scale_dtype=form.scale_dtype,
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
        """Return the grid that reaches from `low` to `high`.

        Symmetric: zero stands at the middle code z and ``scale = max(-low / (z - qmin), high / (qmax - z))``.
        Asymmetric: the range is widened to hold 0, ``scale = (high - low) / (qmax - qmin)`` and
        ``zero_point = rint(qmin - low / scale)``. ``low == high`` gets a scale that brings the constant back exactly.
        A codebook is scaled until its ends reach those of the range. A scale that its dtype does not hold is rounded
        up, so that nothing inside is clipped.

        Parameters
        ----------
        low, high : array_like of a real floating dtype
            The ends, both of the shape that `scale` is to have.
        bits, grid, symmetric, signed, narrow, scale_dtype
            See `choose_qparams`.
        axis, group_size, group_axis : int, optional
            Which values share a scale, as in the class.

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
        >>> ql.QParams.from_range(-1.0, 3.0, grid="nf4", symmetric=True)
        QParams(nf4, 16 entries, scale=3)
        """
        form = Form.of(bits, grid, symmetric, signed, narrow, scale_dtype)
        if form.is_fitted:
            raise ValueError(f"grid: expected one that a range determines, got {grid!r}, which is fitted to data")
        low, high = (_check.finite(n, _check.real_array(n, v)) for n, v in (("low", low), ("high", high)))
        if low.shape != high.shape:
            raise ValueError(f"high: expected shape {low.shape} as low, got {high.shape}")
        if np.any(low > high):
            worst = np.argmax(low > high)
            raise ValueError(f"low: expected at most high, {high.flat[worst]}, got {low.flat[worst]}")
        return form.spanning(low, high, Sharing.of(low.ndim, axis, group_size, group_axis))

    def _of_rank(self, ndim: int) -> "QParams":
        """Return the same grid for data of another rank, if it is one for all values; else the grid as it is."""
        if self.scale.size != 1 or self.scale.ndim == ndim or self.group_size is not None:
            return self
        shape = (1,) * ndim
        book = self.codebook
        if book is not None and book.ndim > 1:
            book = book.reshape(*shape, -1)
        scale, zero_point, codes = self.scale.reshape(shape), self.zero_point.reshape(shape), self.scale_codes
        if codes is not None:
            codes = type(codes)._of_codes(codes.codes.reshape(shape), codes.qparams)
        return replace(self, scale=scale, zero_point=zero_point, axis=None, codebook=book, scale_codes=codes)

    @cached_property
    def sharing(self) -> Sharing:
        """Which values share their parameters."""
        return Sharing(self.scale.ndim, self.axis, self.group_size, self.group_axis)

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
        """Bytes of what the codes need besides: scales, zero points that are not 0, codebooks of no fixed format."""
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
        """Whether codebooks that were fitted to the data hold the values themselves."""
        return GRIDS[self.grid].is_fitted and bool(np.all(self.scale == 1))

    @property
    def has_known_codebook(self) -> bool:
        """Whether the name of the grid and the width say what the codebook is."""
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
        return QParams, tuple(getattr(self, f.name) for f in fields(self))

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
        """How many scales there are and what they are for."""
        if self.scale.size == 1:
            return "1 scale"
        text = f"{self.scale.size} {'scales' if self.codebook is None or self.codebook.ndim == 1 else 'codebooks'}"
        if self.group_size is not None:
            return f"{text} for groups of {self.group_size} along axis {self.group_axis}"
        return text if self.axis is None else f"{text} along axis {self.axis}"


@dataclass(frozen=True, eq=False)
class Form:
    """What is known of a grid before the data is seen."""

    grid: str
    bits: int
    symmetric: bool
    signed: bool
    narrow: bool
    scale_dtype: str
    codebook: np.ndarray | None

    @classmethod
    def of(cls, bits: Any, grid: Any, symmetric: Any, signed: Any, narrow: Any, scale_dtype: Any) -> "Form":
        """Check the options that name a grid, and settle those that were left open."""
        try:
            return _form(bits, grid, symmetric, signed, narrow, scale_dtype)
        except TypeError:  # also for what has no hash, such as a codebook
            return cls._settled(bits, grid, symmetric, signed, narrow, scale_dtype)

    @classmethod
    def _settled(cls, bits: Any, grid: Any, symmetric: Any, signed: Any, narrow: Any, scale_dtype: Any) -> "Form":
        book = None
        if isinstance(grid, str):
            name = _check.choice("grid", grid, tuple(name for name in GRIDS if name != "codebook"))
            widths = GRIDS[name].widths
            bits = widths[0] if bits is None else _check.bits(bits, sorted(widths), f" for grid {name!r}")
            if name == "uniform" and bits == 1 and symmetric is True:
                name = "sign"
        else:
            name, book = "codebook", codebook.checked("grid", grid)
            entries = book.shape[-1]
            least = math.ceil(math.log2(entries))
            bits = least if bits is None else _check.bits(bits, range(least, 9), f" for {entries} entries")
        kind = GRIDS[name]
        if kind.values is not None:
            book = kind.values(bits)
        symmetric, signed, narrow = code_range(symmetric, signed, narrow)
        if kind.block_exponent is not None and book is None:
            symmetric, signed, narrow = True, True, True
        if book is not None or kind.is_fitted:
            signed = narrow = False
        _check_narrow(bits, narrow)
        default = "float32" if kind.block_exponent is None else "e8m0"
        scale_dtype = default if scale_dtype is None else _check.choice("scale_dtype", scale_dtype, tuple(SCALE_BITS))
        if kind.block_exponent is not None and scale_dtype != "e8m0":
            raise ValueError(f"scale_dtype: expected 'e8m0' for grid {name!r}, got {scale_dtype!r}")
        if kind.is_fitted and scale_dtype != "float32":
            raise ValueError(
                f"scale_dtype: expected 'float32' for grid {name!r}, which has no scale, got {scale_dtype!r}"
            )
        if book is not None:
            book.flags.writeable = False
        return cls(name, bits, symmetric, signed, narrow, scale_dtype, book)

    @property
    def is_fitted(self) -> bool:
        """Whether the codebook comes from the data."""
        return GRIDS[self.grid].is_fitted

    @property
    def block_exponent(self) -> int | None:
        """Of a block format, else None."""
        return GRIDS[self.grid].block_exponent

    def grouped(self, group_size: Any) -> Any:
        """The size of the groups: that of a block format, else what was asked for."""
        if self.block_exponent is None:
            return group_size
        if group_size is not None and _check.integer("group_size", group_size) != BLOCK_SIZE:
            raise ValueError(f"group_size: expected {BLOCK_SIZE} for grid {self.grid!r}, got {group_size!r}")
        return BLOCK_SIZE

    @property
    def is_sign(self) -> bool:
        """Whether codes say no more than the sign."""
        return self.grid == "sign"

    @property
    def entries(self) -> int:
        """How many values a code can take."""
        return 1 << self.bits

    @property
    def qmin(self) -> int:
        """The lowest code."""
        return (-(1 << self.bits - 1) if self.signed else 0) + self.narrow

    @property
    def qmax(self) -> int:
        """The highest code."""
        return (1 << self.bits - self.signed) - 1

    @property
    def core_options(self) -> tuple[Any, ...]:
        """What the core's searches take: lowest and highest code, symmetric, type of scales, codebook."""
        scale_type = self.scale_dtype if self.scale_dtype in ("float16", "e8m0") else "float32"
        return self.qmin, self.qmax, self.symmetric, scale_type, self.codebook

    def spanning(self, low: np.ndarray, high: np.ndarray, sharing: Sharing) -> QParams:
        """The grid from low to high."""
        if self.is_sign:  # which has no code for zero: what comes closest to it
            smallest = np.finfo(np.float32).smallest_normal
            low, high = np.minimum(low, -smallest), np.maximum(high, smallest)
        scale, zero_point = _core.range_qparams(low, high, *self.core_options)
        if self.scale_dtype not in TWO_LEVELS:
            return QParams._trusted(scale, zero_point, self, sharing)
        p = self.at(scale, zero_point, sharing)
        if self.symmetric or self.codebook is not None:
            return p
        zero_point = np.rint(self.qmin - np.minimum(low, 0) / p.scale).clip(self.qmin, self.qmax)  # the scale moved
        return replace(p, zero_point=zero_point.astype(np.int32))

    def at(self, scale: np.ndarray, zero_point: Any, sharing: Sharing, book: np.ndarray | None = None) -> QParams:
        """The grid with these scales, zero points and, if it was fitted, codebooks."""
        scale_codes = None
        if self.scale_dtype in TWO_LEVELS:
            scale_codes = two_level(scale, sharing, self.scale_dtype)
            scale = scale_codes.dequantize()
        return QParams(
            scale,
            zero_point,
            self.bits,
            self.signed,
            self.narrow,
            sharing.axis,
            sharing.group_size,
            sharing.group_axis,
            self.codebook if book is None else book,
            self.grid,
            self.scale_dtype,
            scale_codes,
        )


_form = lru_cache(maxsize=256, typed=True)(Form._settled)


def two_level(scale: np.ndarray, sharing: Sharing, dtype: str) -> "QArray":
    """Scales as codes above 0, under a float32 scale for each index of the axis that is kept, or one for all."""
    from qlite.array import QArray

    over = tuple(i for i in range(scale.ndim) if i != sharing.axis)
    greatest = scale.max(axis=over, keepdims=True) if scale.size else np.ones((1,) * scale.ndim, np.float32)
    form = Form.of(8, "uniform" if dtype == "uint8" else dtype, False, False, False, None)
    p = form.spanning(np.zeros_like(greatest), greatest, Sharing(scale.ndim, sharing.axis))
    if form.codebook is None:
        codes = _core.quantize(scale, p.scale, p.zero_point, 0, 255, True, None)
    else:
        codes = _core.quantize_codebook(scale, p.scale, form.codebook, True, None)
    return QArray._of_codes(np.maximum(codes, 1), p)
