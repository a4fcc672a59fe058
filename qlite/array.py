"""Quantized arrays."""

from typing import Any

import numpy as np

from qlite import _core
from qlite.qparams import QParams


class QArray:
    """Integer codes and the grid that they stand on: ``real = scale * (code - zero_point)``.

    Made by `quantize`, or by `QArray.from_codes` from integers that came from elsewhere. ``np.asarray(q)`` dequantizes.
    ``x @ q`` multiplies floats by the 8-bit weights without dequantizing them first. An array is not changed once made.

    Attributes
    ----------
    codes : ndarray of int8 or uint8, read-only
    qparams : QParams
    """

    def __init__(self, codes: np.ndarray, qparams: QParams) -> None:
        codes = np.asarray(codes)
        if codes.dtype != qparams.dtype:
            raise TypeError(f"codes: expected {qparams.dtype}, got {codes.dtype}")
        if qparams.scale.size != 1:
            fits = codes.ndim == qparams.scale.ndim
            if not (fits and all(s in (1, n) for s, n in zip(qparams.scale.shape, codes.shape, strict=True))):
                raise ValueError(f"scale: expected a shape that fits codes' {codes.shape}, got {qparams.scale.shape}")
        self.codes = codes.view()
        self.codes.flags.writeable = False
        self.qparams = qparams
        self._weights: tuple[_core.Packed, np.ndarray] | None = None

    @classmethod
    def from_codes(
        cls, codes: Any, scale: Any, zero_point: Any = 0, *, bits: int = 8, axis: int | None = None
    ) -> "QArray":
        """Take over integers that were quantized elsewhere.

        Parameters
        ----------
        codes : array_like of int8 or uint8
        scale, zero_point : array_like
            One, or one for each index along `axis`, or the rank of `codes`.
        bits : int
            Width of a code; 8 so far.
        axis : int, optional
            The axis that has its own scales.

        Raises
        ------
        TypeError, ValueError
            Codes of another dtype; a scale that is not finite, normal and positive; shapes that do not fit.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> q = ql.QArray.from_codes(np.array([[10, -20]], np.int8), [0.5, 0.25], axis=1)
        >>> np.asarray(q)
        array([[ 5., -5.]], dtype=float32)
        """
        codes = np.asarray(codes)
        if codes.dtype not in (np.int8, np.uint8):
            raise TypeError(f"codes: expected int8 or uint8, got {codes.dtype}")
        scale, zero_point = np.asarray(scale), np.asarray(zero_point)
        if scale.dtype.kind in "iu":
            scale = scale.astype(np.float32)
        if axis is not None and -codes.ndim <= axis < codes.ndim:
            axis = axis % codes.ndim
            shape = tuple(-1 if i == axis else 1 for i in range(codes.ndim))
            scale = scale.reshape(shape) if scale.ndim == 1 else scale
            zero_point = zero_point.reshape(shape) if zero_point.ndim == 1 else zero_point
        elif axis is not None:
            raise ValueError(f"axis: expected -{codes.ndim} to {codes.ndim - 1}, got {axis}")
        if scale.size == 1:
            scale = scale.reshape((1,) * codes.ndim)
        return cls(codes, QParams(scale, zero_point, bits, codes.dtype == np.int8, False, axis))

    @property
    def scale(self) -> np.ndarray:
        """Scales, of the rank of the codes."""
        return self.qparams.scale

    @property
    def zero_point(self) -> np.ndarray:
        """The codes of 0.0, in the shape of `scale`."""
        return self.qparams.zero_point

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self.qparams.bits

    @property
    def axis(self) -> int | None:
        """The axis that keeps its own scale."""
        return self.qparams.axis

    @property
    def group_size(self) -> int | None:
        """How many values share a scale along the axis that is cut."""
        return self.qparams.group_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes."""
        return self.codes.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.codes.ndim

    @property
    def size(self) -> int:
        """Number of codes."""
        return self.codes.size

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, and zero points where there are any that are not 0."""
        zero_points = self.zero_point.size if self.zero_point.any() else 0
        return self.codes.nbytes + self.scale.nbytes + zero_points

    @property
    def bits_per_value(self) -> float:
        """Bits per value, scales and zero points included."""
        return 8 * self.nbytes / self.size if self.size else 0.0

    def dequantize(self, out: np.ndarray | None = None) -> np.ndarray:
        """Return the float32 values ``float32(code - zero_point) * scale``.

        Parameters
        ----------
        out : ndarray of float32, optional
            Where to put them.
        """
        return _core.dequantize(self.codes, self.scale, self.zero_point, out)

    def _columns(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point of each column of a matrix (in, out), as kernels take them; `name` is for the error."""
        if self.ndim != 2 or self.axis == 0:
            raise ValueError(f"{name}: expected 2 dimensions with scales along axis 1 or one scale, got {self!r}")
        scale, zero_point = (np.broadcast_to(p.ravel(), self.shape[1]) for p in (self.scale, self.zero_point))
        return np.ascontiguousarray(scale), np.ascontiguousarray(zero_point)

    def error(self, w: Any) -> Any:
        """Return how far the values are from the originals `w`: see `quantization_error`."""
        from qlite.error import quantization_error

        return quantization_error(w, self)

    def plot(self, w: Any = None) -> Any:
        """Draw the distribution of the codes, and of the errors if the originals `w` are given (extra: plot)."""
        from qlite.plot import plot_array

        return plot_array(self, w)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("copy: expected None or True: dequantizing makes new values")
        return self.dequantize().astype(dtype or np.float32, copy=False)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __getitem__(self, index: Any) -> "QArray":
        codes = self.codes[index]
        if self.scale.size == 1:
            scale, zero_point = (p.reshape((1,) * np.ndim(codes)) for p in (self.scale, self.zero_point))
            axis = None
        else:
            scale, zero_point = (np.broadcast_to(p, self.shape)[index] for p in (self.scale, self.zero_point))
            scale, zero_point, axis = _shared_axis(scale, zero_point)
        p = self.qparams
        return QArray(np.asarray(codes), QParams(scale, zero_point, p.bits, p.signed, p.narrow, axis))

    def __rmatmul__(self, x: Any) -> np.ndarray:
        """Multiply floats by the quantized weights: one fused multiply-add per term, in order, then the scale.

        NaN and infinities pass through, as in a float product.
        """
        if self._weights is None:
            scale, zero_point = self._columns("q")
            self._weights = _core.Packed(self.codes, zero_point, "float"), scale
        packed, scale = self._weights
        return _core.matmul_float(x, packed, scale, None, False, None)

    __array_priority__ = 100  # x @ q comes here before NumPy makes an array of q
    __array_ufunc__ = None

    def __reduce__(self) -> Any:
        return QArray, (self.codes, self.qparams)

    def __repr__(self) -> str:
        p = self.qparams
        kind = f"{'int' if p.signed else 'uint'}{p.bits}"
        scales = "1 scale" if p.scale.size == 1 else f"{p.scale.size} scales along axis {p.axis}"
        return (
            f"QArray(shape={self.shape}, {kind}, {scales}, {self.nbytes} bytes, {self.bits_per_value:.2f} bits/value)"
        )

    def _repr_html_(self) -> str:
        p = self.qparams
        rows = {
            "shape": " x ".join(map(str, self.shape)),
            "codes": f"{p.dtype}, {p.qmin} to {p.qmax}",
            "scales": f"{p.scale.size}, {p.scale.min():.4g} to {p.scale.max():.4g}" if p.scale.size else "0",
            "size": f"{self.nbytes:,} bytes, {self.bits_per_value:.2f} bits per value",
        }
        cells = "".join(f"<tr><th style='text-align:left'>{k}</th><td>{v}</td></tr>" for k, v in rows.items())
        return f"<table><caption>QArray</caption>{cells}</table>"


def _shared_axis(scale: np.ndarray, zero_point: np.ndarray) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Shrink broadcast parameters to length 1 along every axis where they repeat; at most one axis is left."""
    kept = None
    for axis in range(scale.ndim):
        first = [slice(None)] * scale.ndim
        first[axis] = slice(0, 1)
        head = scale[tuple(first)], zero_point[tuple(first)]
        if scale.strides[axis] == 0 or scale.shape[axis] == 1:
            scale, zero_point = head
        elif kept is None:
            kept = axis
        else:
            raise IndexError("index: expected one that leaves the scales on one axis")
    return scale, zero_point, kept
