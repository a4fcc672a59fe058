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
    block_exponent: int | None = None  # of the block formats: scale = 2**(floor(log2(max|w|)) - block_exponent)


def _small_float(name: str) -> Callable[[int], np.ndarray]:
    return lambda bits: codebooks.small_float(*codebooks.SMALL_FLOATS[name])


#: Block formats (OCP Microscaling Formats, 1.0) have a power of two as the scale of each `BLOCK_SIZE` values.
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
    "mxfp4": Grid((4,), _small_float("fp4"), block_exponent=2),
    "mxfp6_e2m3": Grid((6,), _small_float("fp6_e2m3"), block_exponent=2),
    "mxfp6_e3m2": Grid((6,), _small_float("fp6_e3m2"), block_exponent=4),
    "mxfp8_e4m3": Grid((8,), _small_float("fp8_e4m3"), block_exponent=8),
    "mxfp8_e5m2": Grid((8,), _small_float("fp8_e5m2"), block_exponent=15),
    "mxint8": Grid((8,), block_exponent=6),
    "codebook": Grid(range(1, 9)),
}
BLOCK_SIZE = 32

#: Dtypes of stored scales, and their bits. The last two are codes under a float32 scale for each index of `axis`.
SCALE_BITS = {"float32": 32, "float16": 16, "e8m0": 8, "uint8": 8, "fp8_e4m3": 8}
TWO_LEVELS = ("uint8", "fp8_e4m3")
