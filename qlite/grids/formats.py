"""Grids, which are formats of codes, by name; and dtypes of scales."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qlite.grids import codebooks


@dataclass(frozen=True)
class Grid:
    """A format of codes."""

    widths: Sequence[int]  # bits of a code; the first is the default
    values: Callable[[int], np.ndarray] | None = None  # the codebook of a width; None: uniform, or fitted to the data
    is_fitted: bool = False
    group_size: int | None = None  # of the block formats, which have a scale for so many values
    scale_dtype: str = "float32"
    block_exponent: int | None = None  # of the MX formats: scale = 2**(floor(log2(max|w|)) - block_exponent)

    @property
    def book(self) -> np.ndarray:
        """The codebook of the default width."""
        assert self.values is not None
        return self.values(self.widths[0])


def _small_float(name: str) -> Callable[[int], np.ndarray]:
    return lambda bits: codebooks.small_float(*codebooks.SMALL_FLOATS[name])


def _mx(values: Callable[[int], np.ndarray] | None, bits: int, block_exponent: int) -> Grid:
    """A block format of the OCP Microscaling Formats Specification, 1.0: a power of two as the scale of 32 values."""
    return Grid((bits,), values, group_size=32, scale_dtype="e8m0", block_exponent=block_exponent)


GRIDS = {
    "uniform": Grid((8, *range(1, 8), *range(9, 17))),
    "sign": Grid((1,), codebooks.sign),
    "kmeans": Grid((4, 1, 2, 3, 5, 6, 7, 8), is_fitted=True),
    "quantile": Grid((4, 1, 2, 3, 5, 6, 7, 8), is_fitted=True),
    "log2": Grid((4, 2, 3, 5, 6, 7, 8), codebooks.log2),
    "apot": Grid((4, 3, 5, 7), codebooks.apot),
    "nf3": Grid((3,), codebooks.normal_float),
    "nf4": Grid((4,), lambda bits: np.array(codebooks.NF4, np.float32)),
    "fp4": Grid((4,), _small_float("fp4")),
    "fp6_e2m3": Grid((6,), _small_float("fp6_e2m3")),
    "fp6_e3m2": Grid((6,), _small_float("fp6_e3m2")),
    "fp8_e4m3": Grid((8,), _small_float("fp8_e4m3")),
    "fp8_e5m2": Grid((8,), _small_float("fp8_e5m2")),
    "mxfp4": _mx(_small_float("fp4"), 4, 2),
    "mxfp6_e2m3": _mx(_small_float("fp6_e2m3"), 6, 2),
    "mxfp6_e3m2": _mx(_small_float("fp6_e3m2"), 6, 4),
    "mxfp8_e4m3": _mx(_small_float("fp8_e4m3"), 8, 8),
    "mxfp8_e5m2": _mx(_small_float("fp8_e5m2"), 8, 15),
    "mxint8": _mx(None, 8, 6),
    "nvfp4": Grid((4,), _small_float("fp4"), group_size=16, scale_dtype="fp8_e4m3"),
    "codebook": Grid(range(1, 9)),
}

#: Dtypes of stored scales, and their bits. The last two are codes under a float32 scale for each index of `axis`.
SCALE_BITS = {"float32": 32, "float16": 16, "e8m0": 8, "uint8": 8, "fp8_e4m3": 8}
#: The least and the greatest scale of the dtypes that hold fewer than float32.
SCALE_ENDS = {"float16": (2.0**-24, 65504.0), "e8m0": (2.0**-126, 2.0**127)}
TWO_LEVELS = ("uint8", "fp8_e4m3")
