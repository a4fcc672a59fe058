"""The format of codes that options ask for, before any data is seen."""

import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.grids import codebooks
from qlite.grids.formats import GRIDS, SCALE_BITS, SCALE_ENDS

#: What is done with NaN and infinities.
NONFINITE = ("raise", "saturate")
METHODS = ("minmax", "percentile", "mse", "entropy")
#: Names of the grids that can be asked for.
NAMES = tuple(name for name in GRIDS if name != "codebook")
#: Default of the option `percentile`.
PERCENTILE = 99.99


def code_range(symmetric: Any, signed: Any, narrow: Any) -> tuple[bool, bool, bool]:
    """Check the three flags; by default `signed` is as `symmetric`, and `narrow` is set where both are."""
    symmetric = _check.flag("symmetric", symmetric)
    signed = symmetric if signed is None else _check.flag("signed", signed)
    narrow = symmetric and signed if narrow is None else _check.flag("narrow", narrow)
    return symmetric, signed, narrow


def check_narrow(bits: int, narrow: bool) -> None:
    """Refuse to leave a code out where there are two."""
    if narrow and bits == 1:
        raise ValueError("narrow: expected False for 1 bit, of which one code would be left, got True")


def check_keep_zero(keep_zero: Any, spec: "GridSpec") -> bool:
    """Refuse to keep zeros on a grid that does not depend on the data."""
    if _check.flag("keep_zero", keep_zero) and not spec.is_fitted:
        raise ValueError(f"keep_zero: expected False for grid {spec.grid!r}, which is not fitted to data, got True")
    return bool(keep_zero)


def check_symmetric(spec: "GridSpec", symmetric: bool) -> None:
    """Refuse to move the zero of a grid that has one of its own."""
    if not symmetric and spec.grid != "uniform":
        raise ValueError(f"symmetric: expected True for grid {spec.grid!r}, which has its own zero, got {symmetric}")


def _named_grid(name: str) -> str:
    """Return the name of a grid if there is one; the message for a dtype of integers says which `bits` it has."""
    if name not in NAMES:
        hint = _bits_of_dtype(name) or _check.close(name, NAMES)
        raise ValueError(
            f"grid: expected an array of values, {', '.join(NAMES[:-1])} or {NAMES[-1]}, got {name!r}{hint}"
        )
    return name


def _bits_of_dtype(name: str) -> str:
    """What to give instead of the name of a dtype of integers, for the end of a message; or nothing."""
    found = re.fullmatch(r"q?(u?)(?:int)?(\d+)(?:_t)?", name.strip().lower())
    if found is None or int(found[2]) not in GRIDS["uniform"].widths:
        return ""
    return f": say bits={found[2]}" + (", signed=False" if found[1] else "")


def _instead_of_bits(value: Any) -> str:
    """What to give instead of something that is no width, for the end of a message; or nothing."""
    if hasattr(value, "qparams"):
        return ": its qparams would do"
    if isinstance(value, str):
        return f": grid={value!r} names a grid" if value in NAMES else _bits_of_dtype(value)
    return "" if isinstance(value, float) else _bits_of_dtype(getattr(value, "__name__", str(value).rpartition(".")[2]))


@dataclass(frozen=True, eq=False)
class GridSpec:
    """A named format with its width, its range of codes and the dtype of its scales."""

    grid: str
    bits: int
    symmetric: bool
    signed: bool
    narrow: bool
    scale_dtype: str
    codebook: np.ndarray | None

    @classmethod
    def of(cls, bits: Any, grid: Any, symmetric: Any, signed: Any, narrow: Any, scale_dtype: Any) -> "GridSpec":
        """Check the options that ask for a format, and fill in the defaults of those that are None."""
        try:
            if type(grid) is str:  # and no array, which may have a hash, but be changed
                return _cached(bits, grid, symmetric, signed, narrow, scale_dtype)
        except TypeError:  # an option that has no hash, or that is of a wrong type
            pass
        return cls._of(bits, grid, symmetric, signed, narrow, scale_dtype)

    @classmethod
    def _of(cls, bits: Any, grid: Any, symmetric: Any, signed: Any, narrow: Any, scale_dtype: Any) -> "GridSpec":
        book = None
        if bits is not None and not isinstance(bits, (int, np.integer)):
            raise TypeError(f"bits: expected an integer or QParams, got {_check.shown(bits)}{_instead_of_bits(bits)}")
        if grid is None:
            raise TypeError("grid: expected a name or an array of values, got None")
        if isinstance(grid, str):
            name = _named_grid(grid)
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
        if kind.group_size is not None and book is None:
            symmetric, signed, narrow = True, True, True
        if book is not None or kind.is_fitted:
            signed = narrow = False
        check_narrow(bits, narrow)
        if scale_dtype is None:
            scale_dtype = kind.scale_dtype
        _check.choice("scale_dtype", scale_dtype, tuple(SCALE_BITS))
        if kind.group_size is not None and scale_dtype != kind.scale_dtype:
            raise ValueError(f"scale_dtype: expected {kind.scale_dtype!r} for grid {name!r}, got {scale_dtype!r}")
        if kind.is_fitted and scale_dtype != "float32":
            raise ValueError(
                f"scale_dtype: expected 'float32' for grid {name!r}, which has no scale, got {scale_dtype!r}"
            )
        if book is not None:
            book.flags.writeable = False
        return cls(name, bits, symmetric, signed, narrow, scale_dtype, book)

    @cached_property
    def is_fitted(self) -> bool:
        """Whether the codebook comes from the data."""
        return GRIDS[self.grid].is_fitted

    @cached_property
    def is_sign(self) -> bool:
        """Whether codes say no more than the sign."""
        return self.grid == "sign"

    @cached_property
    def block_exponent(self) -> int | None:
        """Exponent of the greatest value of an MX format; None for all other formats."""
        return GRIDS[self.grid].block_exponent

    def group_size(self, asked: Any) -> Any:
        """The size of the groups: that of a block format, else the one that was asked for."""
        own = GRIDS[self.grid].group_size
        if own is None:
            return asked
        if asked is not None and _check.integer("group_size", asked) != own:
            raise ValueError(f"group_size: expected {own} for grid {self.grid!r}, got {asked!r}")
        return own

    @property
    def entries(self) -> int:
        """How many codes there are."""
        return 1 << self.bits

    @cached_property
    def qmin(self) -> int:
        """The lowest code."""
        return (-(1 << self.bits - 1) if self.signed else 0) + self.narrow

    @cached_property
    def qmax(self) -> int:
        """The highest code."""
        return (1 << self.bits - self.signed) - 1

    @cached_property
    def core_options(self) -> tuple[Any, ...]:
        """Arguments of the core's searches: lowest and highest code, symmetric, dtype of scales, codebook."""
        scale_dtype = self.scale_dtype if self.scale_dtype in ("float16", "e8m0") else "float32"
        return self.qmin, self.qmax, self.symmetric, scale_dtype, self.codebook

    def check_scales(self, low: np.ndarray, high: np.ndarray) -> None:
        """Refuse ranges that need a scale above all that `scale_dtype` holds, or no scale but such as are below all.

        A small scale among ordinary ones is rounded up: what that costs is less than the others' steps.
        """
        if self.scale_dtype not in SCALE_ENDS:
            return
        least, greatest = SCALE_ENDS[self.scale_dtype]
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        scale, _ = _core.range_qparams(low, high, self.qmin, self.qmax, self.symmetric, "float32", self.codebook)
        needed = float(np.max(scale, where=low < high, initial=0))
        if needed > greatest or 0 < needed < least:
            raise ValueError(
                f"scale_dtype: expected values whose scales {self.scale_dtype} holds, {least:.5g} to {greatest:.5g}, "
                f"got some that need {needed:.4g} (float32 has room)"
            )

    def scales(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The scales and zero points that make the codes reach from low to high."""
        if self.is_sign:  # no code means zero; the smallest floats come closest to it
            low, high = np.minimum(low, -_check.SMALLEST_NORMAL), np.maximum(high, _check.SMALLEST_NORMAL)
        return _core.range_qparams(low, high, *self.core_options)


_cached = lru_cache(maxsize=256, typed=True)(GridSpec._of)


def check_percentile(method: str, percentile: Any) -> float:
    """Check a percentile, which only the method of that name has; returns it as a float."""
    if percentile is PERCENTILE:
        return PERCENTILE
    percentile = _check.number("percentile", percentile)
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile: expected over 50 and at most 100, got {percentile}")
    if method != "percentile" and percentile != PERCENTILE:
        raise ValueError(f"percentile: expected the default unless method='percentile', got {percentile}")
    return percentile


def check_method(method: Any, methods: tuple[str, ...], spec: GridSpec, percentile: Any) -> float:
    """Check the options that say how a range is found in data; returns the percentile as a float."""
    _check.choice("method", method, methods)
    percentile = check_percentile(method, percentile)
    if spec.is_fitted and method not in ("minmax", "mse"):
        raise ValueError(f"method: expected the default for grid {spec.grid!r}, fitted to all values, got {method!r}")
    if method == "entropy" and spec.codebook is not None and not spec.is_sign:
        raise ValueError(f"method: expected another one than 'entropy', which is for uniform grids, got {spec.grid!r}")
    return percentile
