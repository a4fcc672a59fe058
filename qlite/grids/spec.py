"""What is known of a grid before the data is seen: the options that name it, checked and settled."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qlite import _check, _core
from qlite.grids import codebooks
from qlite.grids.formats import BLOCK_SIZE, GRIDS, SCALE_BITS, TWO_LEVELS
from qlite.grids.granularity import Granularity
from qlite.grids.qparams import QParams, check_narrow

if TYPE_CHECKING:
    from qlite.arrays.qarray import QArray

NONFINITE = ("raise", "saturate")
#: What the method "percentile" keeps, if nothing else is said.
PERCENTILE = 99.99

METHODS = ("minmax", "percentile", "mse", "entropy")


def code_range(symmetric: Any, signed: Any, narrow: Any) -> tuple[bool, bool, bool]:
    """The three flags, checked; `signed` is `symmetric` by default, and `narrow` is both."""
    symmetric = _check.flag("symmetric", symmetric)
    signed = symmetric if signed is None else _check.flag("signed", signed)
    narrow = symmetric and signed if narrow is None else _check.flag("narrow", narrow)
    return symmetric, signed, narrow


@dataclass(frozen=True, eq=False)
class GridSpec:
    """What is known of a grid before the data is seen."""

    grid: str
    bits: int
    symmetric: bool
    signed: bool
    narrow: bool
    scale_dtype: str
    codebook: np.ndarray | None

    @classmethod
    def of(cls, bits: Any, grid: Any, symmetric: Any, signed: Any, narrow: Any, scale_dtype: Any) -> "GridSpec":
        """Check the options that name a grid, and settle those that were left open."""
        try:
            return _form(bits, grid, symmetric, signed, narrow, scale_dtype)
        except TypeError:  # also for what has no hash, such as a codebook
            return cls._settled(bits, grid, symmetric, signed, narrow, scale_dtype)

    @classmethod
    def _settled(cls, bits: Any, grid: Any, symmetric: Any, signed: Any, narrow: Any, scale_dtype: Any) -> "GridSpec":
        book = None
        if isinstance(bits, str) or hasattr(bits, "qparams"):
            hint = f"grid={bits!r} names a grid" if isinstance(bits, str) else "its qparams() are a grid"
            raise TypeError(f"bits: expected an integer or QParams, got {bits!r}: {hint}")
        if grid is None:
            raise TypeError("grid: expected a name or an array of values, got None")
        if isinstance(grid, str):
            name = _check.choice("grid", grid, tuple(name for name in GRIDS if name != "codebook"))
            widths = GRIDS[name].widths
            bits = widths[0] if bits is None else _check.bits(bits, sorted(widths), f" for grid {name!r}")
            if name == "uniform" and bits == 1 and symmetric is True:
                name = "sign"
        else:
            name, book = "codebook", codebooks.checked("grid", grid).copy()
            entries = book.shape[-1]
            least = math.ceil(math.log2(entries))
            bits = least if bits is None else _check.bits(bits, range(least, 9), f" for {entries} entries")
        kind = GRIDS[name]
        if kind.values is not None:
            book = kind.values(bits)
        if name != "uniform" and (signed is not None or narrow is not None):
            raise ValueError(f"signed, narrow: expected None for grid {name!r}, got {signed!r} and {narrow!r}")
        symmetric, signed, narrow = code_range(symmetric, signed, narrow)
        if kind.block_exponent is not None and book is None:
            symmetric, signed, narrow = True, True, True
        if book is not None or kind.is_fitted:
            signed = narrow = False
        check_narrow(bits, narrow)
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

    def spanning(self, low: np.ndarray, high: np.ndarray, granularity: Granularity) -> QParams:
        """The grid from low to high."""
        if self.is_sign:  # which has no code for zero: what comes closest to it
            smallest = np.finfo(np.float32).smallest_normal
            low, high = np.minimum(low, -smallest), np.maximum(high, smallest)
        scale, zero_point = _core.range_qparams(low, high, *self.core_options)
        if self.scale_dtype not in TWO_LEVELS:
            return QParams._trusted(scale, zero_point, self, granularity)
        p = self.at(scale, zero_point, granularity)
        if self.symmetric or self.codebook is not None:
            return p
        zero_point = np.rint(self.qmin - np.minimum(low, 0) / p.scale).clip(self.qmin, self.qmax)  # the scale moved
        return replace(p, zero_point=zero_point.astype(np.int32))

    def at(
        self, scale: np.ndarray, zero_point: Any, granularity: Granularity, book: np.ndarray | None = None
    ) -> QParams:
        """The grid with these scales, zero points and, if it was fitted, codebooks."""
        scale_codes = None
        if self.scale_dtype in TWO_LEVELS:
            scale_codes = two_level(scale, granularity, self.scale_dtype)
            scale = scale_codes.dequantize()
        return QParams(
            scale,
            zero_point,
            self.bits,
            self.signed,
            self.narrow,
            granularity.axis,
            granularity.group_size,
            granularity.group_axis,
            self.codebook if book is None else book,
            self.grid,
            self.scale_dtype,
            scale_codes,
        )


_form = lru_cache(maxsize=256, typed=True)(GridSpec._settled)


def two_level(scale: np.ndarray, granularity: Granularity, dtype: str) -> "QArray":
    """Scales as codes above 0, under a float32 scale for each index of the axis that is kept, or one for all."""
    from qlite.arrays.qarray import QArray

    over = tuple(i for i in range(scale.ndim) if i != granularity.axis)
    greatest = scale.max(axis=over, keepdims=True) if scale.size else np.ones((1,) * scale.ndim, np.float32)
    spec = GridSpec.of(8, "uniform" if dtype == "uint8" else dtype, False, None, None, None)
    p = spec.spanning(np.zeros_like(greatest), greatest, Granularity(scale.ndim, granularity.axis))
    if spec.codebook is None:
        codes = _core.quantize(scale, p.scale, p.zero_point, 0, 255, True, None)
    else:
        codes = _core.quantize_codebook(scale, p.scale, spec.codebook, True, None)
    return QArray._of_codes(np.maximum(codes, 1), p)


def check_method(method: Any, methods: tuple[str, ...], spec: GridSpec, percentile: Any) -> float:
    """Check what any choice of a grid takes, before the data is looked at; returns the percentile as a float."""
    _check.choice("method", method, methods)
    percentile = _check.number("percentile", percentile)
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile: expected over 50 and at most 100, got {percentile}")
    if method != "percentile" and percentile != PERCENTILE:
        raise ValueError(f"percentile: expected the default unless method='percentile', got {percentile}")
    if spec.is_fitted and method not in ("minmax", "mse"):
        raise ValueError(f"method: expected the default for grid {spec.grid!r}, fitted to all values, got {method!r}")
    if method == "entropy" and spec.codebook is not None and not spec.is_sign:
        raise ValueError(f"method: expected another one than 'entropy', which is for uniform grids, got {spec.grid!r}")
    return percentile
