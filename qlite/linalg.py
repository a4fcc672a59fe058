"""Products of quantized matrices."""

from typing import Any

import numpy as np

from qlite import _check, _core, _output
from qlite._window import pair
from qlite.array import QArray
from qlite.qparams import QParams


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

    def __init__(self, packed: "_core.Packed | _core.Grouped | _core.Filter", scale: np.ndarray | None = None) -> None:
        self._packed: Any = packed
        self._scale = scale
        self.shape: tuple[int, ...] = packed.shape
        self.nbytes: int = packed.nbytes
        self.isa: str = packed.isa
        self.activation_bits = 7 if isinstance(packed, _core.Packed) and packed.purpose == "integer7" else 8

    def __repr__(self) -> str:
        scaled = "" if self._scale is None else ", with scales"
        return f"PackedWeight(shape={self.shape}, {self.nbytes} bytes for {self.isa}{scaled})"


def _codes(name: str, value: Any, ndim: int = 2) -> np.ndarray:
    codes = np.asarray(value)
    if codes.dtype not in (np.int8, np.uint8):
        raise TypeError(f"{name}: expected int8 or uint8, got {codes.dtype}")
    if codes.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimensions, got shape {codes.shape}")
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


def pack(b: Any, zero_point: Any = 0, *, activation_bits: int = 8, groups: int = 1, dilation: Any = 1) -> PackedWeight:
    """Bring weights into the layout of this machine's kernels, once for many products or convolutions.

    Parameters
    ----------
    b : QArray or array_like of int8 or uint8
        Weights (in, out), or (kernel_h, kernel_w, in, out) of a convolution. A QArray brings its own zero points and
        scales: one, or one per column, the last axis; or, for `linear`, groups that cut axis 0, or a codebook.
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
    if activation_bits not in range(1, 9):
        raise ValueError(f"activation_bits: expected 1 to 8, got {activation_bits!r}")
    if isinstance(b, QArray) and np.any(np.asarray(zero_point)):
        raise ValueError("zero_point: expected 0 with a QArray, which has its own")
    if np.ndim(b) == 4:
        _check.left_alone({"activation_bits": activation_bits}, {"activation_bits": 8}, "for a convolution")
        is_dilated = pair("dilation", dilation)[1] > 1
        return PackedWeight(*pack_filter("b", b, "zero_point", zero_point, groups, is_dilated))
    _check.left_alone({"groups": groups, "dilation": dilation}, {"groups": 1, "dilation": 1}, "for a matrix")
    purpose = "integer" if activation_bits == 8 else "integer7"
    if isinstance(b, QArray):
        return PackedWeight(*b._pack("b", purpose))
    return PackedWeight(_pack_codes(b, "zero_point", zero_point, purpose))


def pack_filter(
    name: str, w: Any, zero_point_name: str, zero_point: Any, groups: Any, is_dilated: bool
) -> tuple["_core.Filter", np.ndarray | None]:
    """Weights (kernel_h, kernel_w, in, out) in the layout of this machine's kernels, and the scales of a QArray."""
    if type(w) is not QArray:
        w = _codes(name, w, 4)
    shape = w.shape
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"{name}: expected (kernel_h, kernel_w, in, out), none of them 0, got shape {shape}")
    if _check.integer("groups", groups) < 1 or shape[3] % groups:
        raise ValueError(f"groups: expected a divisor of the {shape[3]} output channels of {name}, got {groups}")
    if isinstance(w, QArray):
        return w._pack_filter(name, groups, is_dilated)
    zero_point = _zero_points(zero_point_name, zero_point, w.dtype, (1, shape[3]))
    return _core.Filter(w, np.ascontiguousarray(np.broadcast_to(zero_point, shape[3])), groups, is_dilated), None


def _pack_codes(b: Any, name: str, zero_point: Any, purpose: str) -> _core.Packed:
    codes = _codes("b", b)
    zero_point = _zero_points(name, zero_point, codes.dtype, (1, codes.shape[1]))
    return _core.Packed(codes, np.ascontiguousarray(np.broadcast_to(zero_point, codes.shape[1])), purpose)


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
        Other dtypes, shapes that do not fit, zero points outside the codes' range, codes of `a` that `b` was not
        packed for (`activation_bits`).
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
    if type(b) is PackedWeight:
        packed = b._packed
    elif isinstance(b, QArray):
        packed = b._pack("b", "integer")[0]
    else:
        packed = _pack_codes(b, "b_zero_point", b_zero_point, "integer")
        b_zero_point = 0
    if type(packed) is not _core.Packed:
        raise ValueError(
            "b: expected one scale or one per column, got groups or a codebook, whose sums are not integers"
        )
    if b_zero_point is not _ZERO and np.any(np.asarray(b_zero_point)):
        raise ValueError("b_zero_point: expected 0 with a QArray or packed weights, which have their own")
    if type(a) is not _ndarray:
        a = _codes("a", a)
    if a_zero_point is _ZERO:
        return _core.matmul_integer(a, packed, _NO_ZERO_POINT, out)
    a = _codes("a", a)
    return _core.matmul_integer(a, packed, _zero_points("a_zero_point", a_zero_point, a.dtype, (1, a.shape[0])), out)


def linear(
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    activation: str | None = None,
    output: QParams | None = None,
    requant: str = "float",
    per: str = "row",
    out: np.ndarray | None = None,
) -> Any:
    """Multiply by weights of up to 8 bits with integer arithmetic: ``activation(x @ w + bias)``.

    Floats `x` are quantized on the way (dynamic): ``y = activation((acc * s_x) * s_w + bias)`` with the exact
    ``acc = sum_k (x_q - z_x) * (w_q - z_w)``. Each row's scale and zero point come from its own range, widened to hold
    0: ``s_x = (max - min) / 255``; or those of all rows from the range of all.

    Codes `x` are multiplied as they are (static): ``acc`` is as above, with an int32 bias at the scale ``s_x * s_w``
    added to it, ``bias_q = rint(bias / (s_x * s_w))``. The result is float32, ``y = activation(acc * (s_x * s_w))``, or
    codes on the grid `output`, by rule A or B of `requantize` with the multiplier ``s_x * s_w / s_y`` and clamped to
    the codes that the activation lets through: what a step of a quantized model computes.

    Weights in groups along `in` or on a codebook take floats `x`, whose rows have no zero point, as
    ``quantize(x, axis=0)`` makes them (``s_x = max(abs(row)) / 127``): ``y = activation(s_x * sum_g acc_g * s_w_g +
    bias)``, where each `acc_g` is exact and all else float32, groups in order. A codebook of up to 16 entries becomes
    8-bit levels when it is packed: entries that are multiples of a power of two, at most 127 of it, stay exact (fp4,
    for one); others move by up to half a 127th of the greatest, and the product by up to
    ``sum(abs(x)) * s_w * max(abs(codebook)) / 254``.

    Parameters
    ----------
    x : array_like of a real floating dtype, (..., in), or QArray of up to 8 bits with one scale
    w : QArray (in, out), or what `pack` made of it
        With one scale, one per column, or groups that cut axis 0 (``quantize(w, 4, axis=1, group_size=32)``).
        A QArray is packed at its first product and keeps that form.
    bias : array_like of a real floating dtype, (out,), optional
        With codes `x` also of int32, which is then ``bias_q`` itself.
    activation : {None, "relu", "relu6"}
    output : QParams, optional
        With codes `x`: the grid of the result, of up to 8 bits with one scale.
    requant : {"float", "fixed"}
        Rule A or B, for `output`.
    per : {"row", "tensor"}
        What has a scale of its own in floats `x`.
    out : ndarray, (..., out), optional
        Where to put the result: float32, or the dtype of the codes.

    Returns
    -------
    ndarray of float32, (..., out), or QArray on the grid `output`

    Raises
    ------
    TypeError, ValueError
        Other dtypes, shapes that do not fit, NaN or infinity in `x` or `bias`, an option that there is not or that has
        no effect.
    OverflowError
        The product is so deep that an int32 could overflow, or the bias does not fit int32.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> w = ql.quantize(np.array([[0.5, -1.0], [1.0, 0.25]]), axis=1)
    >>> ql.linear(np.array([[1.0, 2.0]]), w, activation="relu").round(2)
    array([[2.5, 0. ]], dtype=float32)

    Four bits, a scale for every 32:

    >>> w4 = ql.quantize(np.ones((64, 2)), 4, axis=1, group_size=32)
    >>> ql.linear(np.full((1, 64), 0.25), w4)
    array([[16., 16.]], dtype=float32)

    Codes in, codes out:

    >>> x = ql.QArray.from_codes(np.array([[50, 100]], np.uint8), 0.02)
    >>> y = ql.linear(x, w, output=ql.QParams.from_range(-2.0, 3.1, symmetric=False))
    >>> y.codes
    array([[225,  75]], dtype=uint8)
    >>> y.dequantize()
    array([[ 2.5, -0.5]], dtype=float32)
    """
    if type(w) is PackedWeight:
        packed, scale = w._packed, w._scale
        if scale is None:
            raise ValueError("w: expected weights with scales, pack(QArray), got packed codes")
    elif isinstance(w, QArray):
        packed, scale = w._pack("w", "integer")
    else:
        raise TypeError(f"w: expected a QArray or a PackedWeight, got {type(w).__name__}")
    if type(packed) is _core.Grouped:
        return _linear_grouped(x, packed, bias, activation, {"output": output, "requant": requant, "per": per}, out)
    if type(x) is not _ndarray and isinstance(x, QArray):
        _check.left_alone({"per": per}, {"per": "row"}, "for codes x, which have their scale")
        bias, fields = _output.resolve(_output.static_input("x", x), scale, bias, activation, output, requant)
        y = _core.linear_static(x.codes, packed, x.zero_point.ravel(), bias, fields, out)
        return _output.wrap(y, output, out)
    if output is not None or requant != "float":
        options = {"output": output, "requant": requant}
        _check.left_alone(options, {"output": None, "requant": "float"}, "for floats x, whose result is float32")
    if type(w) is PackedWeight and w.activation_bits != 8:
        raise ValueError(f"w: expected weights packed for 8-bit activations, got {w.activation_bits}")
    per_tensor = per != "row" and _check.choice("per", per, ("row", "tensor")) == "tensor"
    low, high = _ALL if activation is None else _output.clamps(activation)
    if bias is not None:
        bias = _check.real_array("bias", bias)
    return _core.linear(_check.real_array("x", x), packed, scale, bias, low, high, per_tensor, out)


def _linear_grouped(
    x: Any, packed: _core.Grouped, bias: Any, activation: str | None, others: dict[str, Any], out: np.ndarray | None
) -> np.ndarray:
    """`linear` with weights in groups or on a codebook; `others` are the options that these have no use for."""
    if isinstance(x, QArray):
        raise ValueError(f"x: expected floats for weights with groups or a codebook, got {x!r}")
    defaults = {"output": None, "requant": "float", "per": "row"}
    _check.left_alone(others, defaults, "for weights with groups or a codebook")
    low, high = _ALL if activation is None else _output.clamps(activation)
    if bias is not None:
        bias = _check.real_array("bias", bias)
    return _core.linear_grouped(_check.real_array("x", x), packed, bias, low, high, out)


# For the way of a small product, which a look-up more would make longer.
_ndarray = np.ndarray
_ALL = _output.clamps(None)
_NO_ZERO_POINT = np.zeros(1, np.int32)
_ZERO: Any = 0  # the default, told by `is`: == would make an array of an array
