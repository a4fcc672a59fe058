"""Weights in the layout that this machine multiplies from."""

import math
from typing import Any, NamedTuple

import numpy as np

from qlite import _check, _core
from qlite._public import public
from qlite.arrays.qarray import QArray
from qlite.ops.grouped import is_grouped, pack_grouped
from qlite.ops.window import pair


class Weights(NamedTuple):
    """The packed form of weights; their scales, None for plain codes; and the columns that are all zeros, if any."""

    packed: _core.Packed
    scale: Any
    idle: np.ndarray | None


#: The default of zero points, told by `is`: == would make an array of an array, np.any takes 3 us.
ZERO: Any = 0


@public
class PackedWeight:
    """Weights in the layout that this machine multiplies from. Made by `pack`; they cannot be changed.

    Attributes
    ----------
    shape : tuple
        (in, out), or (kernel_h, kernel_w, in, out) of a convolution.
    nbytes : int
        Bytes of the packed form.
    isa : str
        The instruction set that it was packed for.
    activation_bits : int
        8, or 7 for left operands of 7 bits or fewer.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> p = ql.pack(ql.quantize(np.ones((3, 2)), axis=1))
    >>> p.shape
    (3, 2)
    >>> ql.linear(np.ones((1, 3)), p)
    array([[3., 3.]], dtype=float32)
    """

    def __init__(self, weights: Weights) -> None:
        if not isinstance(weights, Weights):
            raise TypeError(f"weights: expected what pack makes a PackedWeight of, got {weights!r:.80}")
        self._weights = weights
        packed = weights.packed
        self.shape: tuple[int, ...] = packed.shape
        self.nbytes: int = packed.nbytes
        self.isa: str = packed.isa
        self.activation_bits = 7 if packed.purpose == "integer7" else 8

    def __repr__(self) -> str:
        scaled = "" if self._weights.scale is None else ", with scales"
        return f"PackedWeight(shape={self.shape}, {self.nbytes} bytes for {self.isa}{scaled})"

    def __copy__(self) -> "PackedWeight":
        return self

    def __deepcopy__(self, memo: Any) -> "PackedWeight":
        return self

    def __reduce__(self) -> Any:
        raise TypeError("PackedWeight: the layout stays in its process: pickle the QArray and pack that there")

    def __rmatmul__(self, x: Any) -> Any:
        raise TypeError("x @ p: expected a QArray, got a PackedWeight, which linear and matmul_integer take")

    def __matmul__(self, x: Any) -> Any:
        raise TypeError("p @ x: expected the weights on the right: linear(x, p) or matmul_integer(codes, p)")

    __array_ufunc__ = None  # x @ p comes here before NumPy makes an array of p


def codes_of(name: str, value: Any, ndims: tuple[int, ...] = (2,)) -> np.ndarray:
    """Return plain codes of 8 bits as an array, which has one of these numbers of dimensions."""
    if isinstance(value, QArray):
        raise TypeError(f"{name}: expected int8 or uint8, got a QArray (it has q.codes and q.zero_point)")
    if isinstance(value, PackedWeight):
        raise TypeError(f"{name}: expected a QArray, or codes of int8 or uint8, got a PackedWeight")
    codes = _check.as_array(name, value)
    if codes.dtype not in (np.int8, np.uint8):
        hint = f" (ql.quantize({name}) makes codes of floats)" if codes.dtype.kind == "f" else ""
        raise TypeError(f"{name}: expected int8 or uint8, got {codes.dtype}{hint}")
    if codes.ndim not in ndims:
        raise ValueError(f"{name}: expected {' or '.join(map(str, ndims))} dimensions, got shape {codes.shape}")
    return codes


def no_weights(w: Any, axis: int) -> TypeError:
    """The error for what is neither a QArray nor packed, whose outputs would lie along `axis`."""
    is_codes = isinstance(w, np.ndarray) and w.dtype.char in "bB"
    way = "QArray.from_codes(w, scale)" if is_codes else f"ql.quantize(w, axis={axis})"
    came = f"an ndarray of {w.dtype}" if isinstance(w, np.ndarray) else type(w).__name__
    return TypeError(f"w: expected a QArray ({way}) or a PackedWeight, got {came}")


def code_range(dtype: np.dtype) -> tuple[int, int]:
    """Return the least and the greatest code of int8 or uint8, for which np.iinfo takes 3 us."""
    return (-128, 127) if dtype.kind == "i" else (0, 255)


def zero_points_of(name: str, value: Any, dtype: np.dtype, lengths: tuple[int, ...]) -> np.ndarray:
    """One zero point, or a vector of one of the lengths, as int32 in the range of the codes."""
    low, high = code_range(dtype)
    if type(value) is int and low <= value <= high:
        return np.array([value], np.int32)
    zero_point = _check.integers(name, value).ravel()
    if zero_point.size not in lengths:
        raise ValueError(f"{name}: expected one element or {lengths[-1]}, got {zero_point.size}")
    if zero_point.size and not low <= zero_point.min() <= zero_point.max() <= high:
        raise ValueError(f"{name}: expected {low} to {high} for {dtype} codes, got {zero_point[:4]}")
    return zero_point.astype(np.int32)


def pack(b: Any, zero_point: Any = 0, *, activation_bits: int = 8, groups: int = 1, dilation: Any = 1) -> PackedWeight:
    """Bring weights into the layout of this machine's kernels, once for many products or convolutions.

    Parameters
    ----------
    b : QArray or array_like of int8 or uint8
        Weights (in, out), or (kernel_h, kernel_w, in, out) of a convolution. A QArray brings its own zero points and
        scales: one, or one per column, the last axis; or, for `linear`, groups that cut axis 0, or a codebook. Plain
        codes have no scales: they are for `matmul_integer` and `conv2d_integer`.
    zero_point : int or array_like
        Of plain codes: one, or one per column.
    activation_bits : int
        1 to 8, for a matrix. With 7 or fewer, the codes of the left operand have to lie in [0, 127], whatever their
        dtype, and `matmul_integer` refuses others: without VNNI that is faster, and elsewhere the same. `linear` of
        floats needs 8.
    groups : int
        Of a convolution: as in `conv2d`.
    dilation : int or (int, int)
        Of a convolution: as in `conv2d`. Weights for windows with gaps along the width have a layout of their own.

    Returns
    -------
    PackedWeight
        For this process: it cannot be pickled or saved, which the QArray can.

    Raises
    ------
    TypeError, ValueError
        Codes of another dtype or rank, zero points outside the codes' range, scales along other axes, groups that are
        no multiple of 8, a codebook of more than 16 entries, activation_bits outside 1 to 8, `groups` that do not
        divide the outputs.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> p = ql.pack(np.ones((3, 2), np.int8))
    >>> ql.matmul_integer(np.array([[1, 2, 3]], np.uint8), p)
    array([[6, 6]], dtype=int32)
    """
    if _check.integer("activation_bits", activation_bits) not in range(1, 9):
        raise ValueError(f"activation_bits: expected 1 to 8, got {activation_bits!r}")
    if not isinstance(b, QArray):
        b = codes_of("b", b, (2, 4))
    elif _check.integers("zero_point", zero_point).any():
        raise ValueError("zero_point: expected 0 with a QArray, which has its own")
    if b.ndim == 4:
        _check.expect_defaults({"activation_bits": activation_bits}, {"activation_bits": 8}, "for a convolution")
        is_dilated = pair("dilation", dilation)[1] > 1
        return PackedWeight(pack_filter("b", b, "zero_point", zero_point, groups, is_dilated))
    _check.expect_defaults({"groups": groups, "dilation": dilation}, {"groups": 1, "dilation": 1}, "for a matrix")
    purpose = "integer" if activation_bits == 8 else "integer7"
    if isinstance(b, QArray):
        return PackedWeight(pack_matrix(b, "b", purpose))
    packed = _core.Packed.matrix(*column_codes(b, "zero_point", zero_point), purpose)
    return PackedWeight(Weights(packed, None, None))


def column_codes(b: Any, name: str, zero_point: Any) -> tuple[np.ndarray, np.ndarray]:
    """Plain codes (in, out), and a zero point for each column; `name` is that of the zero point, for the error."""
    codes = codes_of("b", b)
    zero_point = zero_points_of(name, zero_point, codes.dtype, (1, codes.shape[1]))
    return codes, np.ascontiguousarray(np.broadcast_to(zero_point, codes.shape[1]))


def pack_matrix(q: QArray, name: str, purpose: str) -> Weights:
    """Weights (in, out), packed, and their scales; `name` is for the error."""
    if purpose in q._packed:
        return q._packed[purpose]
    if is_grouped(q):
        return _keep(q, purpose, Weights(pack_grouped(q, name, purpose), q.scale, None))
    scale, zero_point = columns_of(q, name)
    codes = q.codes
    packed = _core.Packed.matrix(codes, zero_point, purpose)
    return _keep(q, purpose, Weights(packed, scale, idle_columns(codes, zero_point)))


def pack_filter(name: str, w: Any, zero_point_name: str, zero_point: Any, groups: Any, is_dilated: bool) -> Weights:
    """Weights (kernel_h, kernel_w, in, out), packed, and the scales of a QArray; names are for the error."""
    if type(w) is not QArray:
        w = codes_of(name, w, (4,))
    shape = w.shape
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"{name}: expected (kernel_h, kernel_w, in, out), none of them 0, got shape {shape}")
    if _check.integer("groups", groups) < 1 or shape[3] % groups:
        raise ValueError(f"groups: expected a divisor of the {shape[3]} output channels of {name}, got {groups}")
    if not isinstance(w, QArray):
        zero_point = zero_points_of(zero_point_name, zero_point, w.dtype, (1, shape[3]))
        zero_point = np.ascontiguousarray(np.broadcast_to(zero_point, shape[3]))
        return Weights(_core.Packed.filter(w, zero_point, groups, is_dilated), None, None)
    key = groups, is_dilated
    if key in w._packed:
        return w._packed[key]
    scale, zero_point = columns_of(w, name, ("kernel_h", "kernel_w", "in", "out"))
    codes = w.codes
    packed = _core.Packed.filter(codes, zero_point, groups, is_dilated)
    return _keep(w, key, Weights(packed, scale, idle_columns(codes, zero_point)))


def _keep(q: QArray, key: Any, weights: Weights) -> Weights:
    """Remember a packed form, unless somebody may still write to the codes."""
    if q._is_fixed:
        q._packed[key] = weights
    return weights


def idle_columns(codes: np.ndarray, zero_point: np.ndarray) -> np.ndarray | None:
    """Which columns, along the last axis, hold nothing but zeros; None if none does."""
    rows = codes.reshape(math.prod(codes.shape[:-1]), codes.shape[-1])
    is_idle = rows[0] == zero_point if len(rows) else np.ones(len(zero_point), bool)
    candidates = np.flatnonzero(is_idle)  # few: others need not be looked through
    is_idle[candidates] = (rows[:, candidates] == zero_point[candidates]).all(axis=0)
    return is_idle if is_idle.any() else None


def columns_of(q: QArray, name: str, axes: tuple[str, ...] = ("in", "out")) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of each column, the last axis, as kernels take them; `name` is for the error."""
    p = q.qparams
    if p.codebook is not None or p.group_size is not None or p.bits > 8:
        what = "a product (dequantize() makes floats of any array)"
        if len(axes) == 4:
            what = "a convolution (conv2d takes one scale or one per output, axis=3)"
        raise ValueError(f"{name}: expected up to 8 bits on a uniform grid without groups for {what}, got {q!r}")
    if q.ndim != len(axes) or (q.scale.size != 1 and q.scale.size != q.scale.shape[-1]):
        raise ValueError(
            f"{name}: expected {len(axes)} dimensions ({', '.join(axes)}) with scales along axis {len(axes) - 1} "
            f"or one scale, got {q!r}"
        )
    scale, zero_point = (np.broadcast_to(p.ravel(), q.shape[-1]) for p in (q.scale, q.zero_point))
    return np.ascontiguousarray(scale), np.ascontiguousarray(zero_point)
