"""Quantized arrays."""

import math
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.qparams import QParams, along


class QArray:
    """Integer codes and the grid that they stand on: ``real = scale * (code - zero_point)``.

    Made by `quantize`, or by `QArray.from_codes` from integers that came from elsewhere (the constructor itself takes
    codes over without a copy). ``np.asarray(q)`` dequantizes.
    ``x @ q`` multiplies floats by the 8-bit weights without dequantizing them first. An array is not changed once made.
    Indexing works as with any array, as long as the scales of what is left lie on one axis.

    Attributes
    ----------
    codes : ndarray of int8 or uint8, read-only
    qparams : QParams

    Raises
    ------
    TypeError, ValueError
        The codes are not of the grid's dtype, or the scales do not fit their shape.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> q = ql.quantize(np.array([[0.5, -1.0, 2.0], [1.0, 0.25, -4.0]]), axis=1)
    >>> q[:, [2, 0]]
    QArray(shape=(2, 2), int8, 2 scales along axis 1, 12 bytes, 24.00 bits/value)
    >>> (np.ones(2) @ q).round(1).tolist()[::2]
    [1.5, -2.0]
    """

    def __init__(self, codes: np.ndarray, qparams: QParams) -> None:
        if not isinstance(qparams, QParams):
            raise TypeError(f"qparams: expected QParams, got {type(qparams).__name__}")
        codes = np.asarray(codes)
        if codes.dtype != qparams.dtype:
            raise TypeError(f"codes: expected {qparams.dtype}, got {codes.dtype}")
        if qparams.scale.size != 1:
            fits = codes.ndim == qparams.scale.ndim
            if not (fits and all(s in (1, n) for s, n in zip(qparams.scale.shape, codes.shape, strict=True))):
                raise ValueError(f"scale: expected a shape that fits codes' {codes.shape}, got {qparams.scale.shape}")
        self._is_fixed = not codes.flags.writeable  # else somebody may write to the codes, and nothing is kept of them
        self.codes = codes.view()
        self.codes.flags.writeable = False
        self.qparams = qparams._of_rank(codes.ndim)
        self._packed: dict[str, tuple[_core.Packed, np.ndarray]] = {}

    @classmethod
    def from_codes(
        cls, codes: Any, scale: Any, zero_point: Any = 0, *, bits: int = 8, axis: int | None = None
    ) -> "QArray":
        """Take over a copy of integers that were quantized elsewhere.

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
        codes = np.array(codes)
        codes.flags.writeable = False
        if codes.dtype not in (np.int8, np.uint8):
            raise TypeError(f"codes: expected int8 or uint8, got {codes.dtype}")
        axis = _check.axis(axis, codes.ndim)
        scale, zero_point = _check.scales("scale", scale), np.asarray(zero_point)
        if axis is not None:
            scale, zero_point = (p.reshape(along(axis, codes.ndim)) if p.ndim == 1 else p for p in (scale, zero_point))
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

        Raises
        ------
        TypeError, ValueError
            `out` is not float32, has another shape or is read-only.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.quantize(np.array([0.5, -1.27])).dequantize()
        array([ 0.5 , -1.27], dtype=float32)
        """
        return _core.dequantize(self.codes, self.scale, self.zero_point, out)

    def _columns(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point of each column of a matrix (in, out), as kernels take them; `name` is for the error."""
        if self.ndim != 2 or (self.axis == 0 and self.scale.size != 1):
            raise ValueError(f"{name}: expected 2 dimensions with scales along axis 1 or one scale, got {self!r}")
        scale, zero_point = (np.broadcast_to(p.ravel(), self.shape[1]) for p in (self.scale, self.zero_point))
        return np.ascontiguousarray(scale), np.ascontiguousarray(zero_point)

    def error(self, w: Any) -> Any:
        """Return how far the values are from the originals `w`: see `quantization_error`.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> w = np.array([0.5, 127.0])
        >>> float(ql.quantize(w).error(w).max_abs)
        0.5
        """
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
        codes, p = np.asarray(self.codes[index]), self.qparams
        if p.scale.size == 1:
            return QArray(codes, p)
        if codes.size == 0:  # no value is left to say whose scale stays: the first one, or 1 if there never was one
            channels = np.zeros((1,) * codes.ndim, np.intp)
        else:
            numbers = np.arange(p.scale.size).reshape(p.scale.shape)
            channels = _without_repeats(np.asarray(np.broadcast_to(numbers, self.shape)[index]))
        scale = np.append(p.scale, np.float32(1))[channels]
        zero_point = np.append(p.zero_point, np.int32(p.qmin))[channels]
        return QArray(codes, QParams(scale, zero_point, p.bits, p.signed, p.narrow))

    def _pack(self, name: str, purpose: str) -> tuple[_core.Packed, np.ndarray]:
        """Weights (in, out) in the layout of this machine's kernels, and the scale of each column; made once."""
        if purpose in self._packed:
            return self._packed[purpose]
        scale, zero_point = self._columns(name)
        packed = _core.Packed(self.codes, zero_point, purpose), scale
        if self._is_fixed:
            self._packed[purpose] = packed
        return packed

    def __rmatmul__(self, x: Any) -> np.ndarray:
        """Multiply floats (..., in) by the weights: one fused multiply-add per term, in order, then the scale.

        NaN and infinities pass through, as in a float product.
        """
        packed, scale = self._pack("q", "float")
        x = _check.real_array("x", x)
        if x.ndim == 2:
            return _core.matmul_float(x, packed, scale, None, False, None)
        if x.ndim == 0 or x.shape[-1] != self.shape[0]:
            raise ValueError(f"x: expected {self.shape[0]} columns, got shape {x.shape}")
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return _core.matmul_float(rows, packed, scale, None, False, None).reshape(*x.shape[:-1], self.shape[1])

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


def _without_repeats(channels: np.ndarray) -> np.ndarray:
    """Channel numbers, of length 1 along every axis where they repeat; on at most one axis they may differ."""
    kept = None
    for axis in range(channels.ndim):
        head = channels.take([0], axis)
        if channels.strides[axis] == 0 or (channels == head).all():
            channels = head
        elif kept is None:
            kept = axis
        else:
            raise IndexError("index: expected one that leaves the scales on one axis")
    return channels
