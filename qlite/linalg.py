"""Products of quantized matrices."""

from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.array import QArray


class PackedWeight:
    """A right operand in the layout that this machine multiplies from. Made by `pack`; it cannot be changed.

    Attributes
    ----------
    shape : tuple
        (in, out).
    nbytes : int
        Bytes of the packed form.
    isa : str
        The instruction set that it was packed for.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> p = ql.pack(ql.quantize(np.ones((3, 2)), axis=1))
    >>> p.shape
    (3, 2)
    >>> ql.linear(np.ones((1, 3)), p)
    array([[3., 3.]], dtype=float32)
    """

    def __init__(self, packed: "_core.Packed | _core.Grouped", scale: np.ndarray | None = None) -> None:
        self._packed = packed
        self._scale = scale
        self.shape: tuple[int, int] = packed.shape
        self.nbytes: int = packed.nbytes
        self.isa: str = packed.isa

    def __repr__(self) -> str:
        scaled = "" if self._scale is None else ", with scales"
        return f"PackedWeight(shape={self.shape}, {self.nbytes} bytes for {self.isa}{scaled})"


def _codes(name: str, value: Any) -> np.ndarray:
    codes = np.asarray(value)
    if codes.dtype not in (np.int8, np.uint8):
        raise TypeError(f"{name}: expected int8 or uint8, got {codes.dtype}")
    if codes.ndim != 2:
        raise ValueError(f"{name}: expected 2 dimensions, got shape {codes.shape}")
    return codes


def _zero_points(name: str, value: Any, dtype: np.dtype, lengths: tuple[int, ...]) -> np.ndarray:
    """One zero point, or a vector of one of the lengths, as int32 in the range of the codes."""
    zero_point = np.asarray(value)
    if zero_point.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {zero_point.dtype}")
    zero_point = zero_point.ravel()
    if zero_point.size not in lengths:
        raise ValueError(f"{name}: expected one element or {lengths[-1]}, got {zero_point.size}")
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if zero_point.size and not low <= zero_point.min() <= zero_point.max() <= high:
        raise ValueError(f"{name}: expected {low} to {high} for {dtype} codes, got {zero_point[:4]}")
    return zero_point.astype(np.int32)


def pack(b: Any, zero_point: Any = 0) -> PackedWeight:
    """Bring a right operand into the layout of this machine's kernels, once for many products.

    Parameters
    ----------
    b : QArray or array_like of int8 or uint8
        Weights (in, out). A QArray brings its own zero points and scales: one, or one per column; or, for `linear`,
        groups that cut axis 0, or a codebook.
    zero_point : int or array_like
        Of plain codes: one, or one per column.

    Raises
    ------
    TypeError, ValueError
        Codes of another dtype or rank, zero points outside the codes' range, scales along the rows; groups that are no
        multiple of 8, a codebook of more than 16 entries.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> p = ql.pack(np.ones((3, 2), np.int8))
    >>> ql.matmul_integer(np.array([[1, 2, 3]], np.uint8), p)
    array([[6, 6]], dtype=int32)
    """
    if isinstance(b, QArray):
        if not _is_zero(zero_point) and np.any(np.asarray(zero_point)):
            raise ValueError("zero_point: expected 0 with a QArray, which has its own")
        return PackedWeight(*b._pack("b", "integer"))
    return PackedWeight(_pack_codes(b, "zero_point", zero_point))


def _pack_codes(b: Any, name: str, zero_point: Any) -> _core.Packed:
    codes = _codes("b", b)
    zero_point = _zero_points(name, zero_point, codes.dtype, (1, codes.shape[1]))
    return _core.Packed(codes, np.ascontiguousarray(np.broadcast_to(zero_point, codes.shape[1])), "integer")


def matmul_integer(
    a: Any, b: Any, a_zero_point: Any = 0, b_zero_point: Any = 0, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Multiply 8-bit matrices exactly: ``sum_k (a - a_zero_point) * (b - b_zero_point)`` in int32.

    The operator is ONNX MatMulInteger. Nothing saturates: the result is the same on every instruction set.

    Parameters
    ----------
    a : array_like of int8 or uint8, (m, k)
    b : array_like of int8 or uint8, (k, n), or QArray or PackedWeight
    a_zero_point : int or array_like
        One, or one per row.
    b_zero_point : int or array_like
        One, or one per column; a QArray or PackedWeight has its own.
    out : ndarray of int32, (m, n), optional
        Where to put the result.

    Raises
    ------
    TypeError, ValueError
        Other dtypes, shapes that do not fit, zero points outside the codes' range.
    OverflowError
        The product is so deep that an int32 could overflow: ``max|a - a_zero_point| * max_j sum_k |b - b_zero_point|``
        exceeds ``2**31 - 1``.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> a = np.array([[255, 255]], np.uint8)
    >>> ql.matmul_integer(a, np.array([[127], [127]], np.int8))
    array([[64770]], dtype=int32)
    """
    if isinstance(b, (QArray, PackedWeight)):
        if not _is_zero(b_zero_point) and np.any(np.asarray(b_zero_point)):
            raise ValueError("b_zero_point: expected 0 with a QArray or packed weights, which have their own")
        packed = b._packed if isinstance(b, PackedWeight) else b._pack("b", "integer")[0]
    else:
        packed = _pack_codes(b, "b_zero_point", b_zero_point)
    if isinstance(packed, _core.Grouped):
        raise ValueError(
            "b: expected one scale or one per column, got groups or a codebook, whose sums are no integers"
        )
    if type(a) is not np.ndarray or a.ndim != 2:
        a = _codes("a", a)
    zero_point = _NO_ZERO_POINT
    if not _is_zero(a_zero_point):
        zero_point = _zero_points("a_zero_point", a_zero_point, _codes("a", a).dtype, (1, a.shape[0]))
    return _core.matmul_integer(a, packed, zero_point, out)


_NO_ZERO_POINT = np.zeros(1, np.int32)


def _is_zero(value: Any) -> bool:
    """The default, told without making an array of it: that would cost more than a small product."""
    return type(value) is int and value == 0


def linear(
    x: Any, w: Any, bias: Any = None, *, activation: str | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Multiply floats by weights of up to 8 bits with integer arithmetic: each row of `x` is quantized on the way.

    ``y = activation((acc * s_x) * s_w + bias)`` with the exact ``acc = sum_k (x_q - z_x) * (w_q - z_w)``. A row's scale
    and zero point come from its own range, widened to hold 0: ``s_x = (max - min) / 255``.

    Weights in groups along `in` or on a codebook take rows without a zero point, as ``quantize(x, axis=0)`` makes them
    (``s_x = max(abs(row)) / 127``), and ``y = activation(s_x * sum_g acc_g * s_w_g + bias)``: each `acc_g` is exact,
    and all else float32, groups in order. A codebook of up to 16 entries becomes 8-bit levels when it is packed:
    entries that are multiples of a power of two, at most 127 of it, stay exact (fp4, for one); others move by up to
    half a 127th of the greatest, and the product by up to ``sum(abs(x)) * s_w * max(abs(codebook)) / 254``.

    Parameters
    ----------
    x : array_like of a real floating dtype, (m, in)
    w : QArray (in, out), or what `pack` made of it
        With one scale, one per column, or groups that cut axis 0 (``quantize(w, 4, axis=1, group_size=32)``).
        A QArray is packed at its first product and keeps that form.
    bias : array_like of a real floating dtype, (out,), optional
    activation : {None, "relu"}
    out : ndarray of float32, (m, out), optional
        Where to put the result.

    Raises
    ------
    TypeError, ValueError
        Other dtypes, shapes that do not fit, NaN or infinity in `x` or `bias`, an activation that there is not.
    OverflowError
        The product is so deep that an int32 could overflow.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> w = ql.quantize(np.array([[0.5, -1.0], [1.0, 0.25]]), axis=1)
    >>> ql.linear(np.array([[1.0, 2.0]]), w, activation="relu").round(2)
    array([[2.5, 0. ]], dtype=float32)
    >>> w4 = ql.quantize(np.ones((64, 2)), 4, axis=1, group_size=32)
    >>> ql.linear(np.full((1, 64), 0.25), w4)
    array([[16., 16.]], dtype=float32)
    """
    if isinstance(w, QArray):
        packed, scale = w._pack("w", "integer")
    elif not isinstance(w, PackedWeight):
        raise TypeError(f"w: expected a QArray or a PackedWeight, got {type(w).__name__}")
    elif w._scale is None:
        raise ValueError("w: expected weights with scales, pack(QArray), got packed codes")
    else:
        packed, scale = w._packed, w._scale
    if bias is not None:
        bias = _check.finite("bias", _check.real_array("bias", bias))
    low, high = _clamps(activation)
    x = _check.real_array("x", x)
    if isinstance(packed, _core.Grouped):
        return _core.linear_grouped(x, packed, bias, low, high, out)
    return _core.linear(x, packed, scale, bias, low, high, False, out)


#: What an activation that is a clamp keeps floats in.
_CLAMPS = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0)}


def _clamps(activation: str | None) -> tuple[float, float]:
    if activation is None:
        return -np.inf, np.inf
    return _CLAMPS[_check.choice("activation", activation, tuple(_CLAMPS))]
