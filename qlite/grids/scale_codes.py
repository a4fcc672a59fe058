"""Scales of two levels: codes of 8 bits under float32 scales of their own, as in QLoRA and NVFP4."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.grids import codebooks
from qlite.grids.granularity import taken

#: Codes of all dtypes are those of 8 bits without a sign.
QMIN, QMAX = 0, 255


@dataclass(frozen=True, eq=False)
class ScaleCodes:
    """Scales as codes: ``scale * code`` for the dtype "uint8", ``scale * codebook[code]`` for "fp8_e4m3"."""

    codes: np.ndarray  # uint8
    scale: np.ndarray  # float32, of the same rank: one for each index of the axis that is kept, or one for all
    dtype: str

    @classmethod
    def of(cls, value: Any, dtype: str) -> "ScaleCodes":
        """Check codes and their scale, from a pair or from `ScaleCodes`."""
        if isinstance(value, ScaleCodes):
            value = (value.codes, value.scale)
        if not isinstance(value, tuple) or len(value) != 2:
            raise TypeError(f"scale_codes: expected a pair of codes and their scale, got {type(value).__name__}")
        codes = _check.as_array("scale_codes", value[0]).copy()
        scale = _check.normal("scale_codes", _check.real_array("scale_codes", value[1]).copy())
        if codes.dtype != np.uint8:
            raise TypeError(f"scale_codes: expected codes of uint8, got {codes.dtype}")
        if scale.ndim != codes.ndim or any(s not in (1, n) for s, n in zip(scale.shape, codes.shape, strict=True)):
            raise ValueError(f"scale_codes: expected a scale that fits codes' shape {codes.shape}, got {scale.shape}")
        codes.flags.writeable = scale.flags.writeable = False
        return cls(codes, scale, dtype)

    @classmethod
    def nearest(cls, scale: np.ndarray, axis: int | None, dtype: str) -> "ScaleCodes":
        """Round scales to codes above 0, under a float32 scale for each index of `axis`, or one for all."""
        over = tuple(i for i in range(scale.ndim) if i != axis)
        greatest = scale.max(axis=over, keepdims=True) if scale.size else np.ones((1,) * scale.ndim, np.float32)
        book = codebook(dtype)
        own, zero_point = _core.range_qparams(np.zeros_like(greatest), greatest, QMIN, QMAX, False, "float32", book)
        if book is None:
            codes = _core.quantize(scale, own, zero_point, QMIN, QMAX, True, None)
        else:
            codes = _core.quantize_codebook(scale, own, book, True, None)
        return cls.of((np.maximum(codes, 1), own), dtype)

    def dequantize(self) -> np.ndarray:
        """The float32 scales that the codes stand for."""
        book = codebook(self.dtype)
        values = self.codes.astype(np.float32) if book is None else book[self.codes]
        with np.errstate(over="ignore"):
            return values * self.scale

    def reshaped(self, shape: tuple[int, ...]) -> "ScaleCodes":
        """The same codes in another shape, if they are under one scale."""
        return ScaleCodes(self.codes.reshape(shape), self.scale.reshape((1,) * len(shape)), self.dtype)

    def taken(self, indices: Any, axis: int) -> "ScaleCodes":
        """What stands at some indices of an axis."""
        return ScaleCodes(taken(self.codes, indices, axis), taken(self.scale, indices, axis), self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and their scales."""
        return self.codes.nbytes + self.scale.nbytes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScaleCodes):
            return NotImplemented
        is_same = np.array_equal(self.codes, other.codes) and np.array_equal(self.scale, other.scale)
        return is_same and self.dtype == other.dtype

    __hash__ = None  # type: ignore[assignment]


@cache
def codebook(dtype: str) -> np.ndarray | None:
    """What the codes of a dtype stand for; None where they stand for themselves."""
    return None if dtype == "uint8" else codebooks.small_float(*codebooks.SMALL_FLOATS[dtype])
