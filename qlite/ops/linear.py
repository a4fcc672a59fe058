"""Products of quantized matrices."""

from functools import partial
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams
from qlite.ops import epilogue
from qlite.ops.packing import ZERO, PackedWeight, codes_of, column_codes, no_weights, pack_matrix, zero_points_of


def matmul_integer(
    a: Any, b: Any, a_zero_point: Any = 0, b_zero_point: Any = 0, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Multiply 8-bit matrices exactly: ``sum_k (a - a_zero_point) * (b - b_zero_point)`` in int32.

    The operator is ONNX MatMulInteger. Nothing saturates: the result is the same on every instruction set.

    Parameters
    ----------
    a : array_like of int8 or uint8, (m, k), or QArray of up to 8 bits with one scale or one per row
    b : array_like of int8 or uint8, (k, n), or QArray or PackedWeight
        An array, by rows or by columns (``w.T``), is packed for this product alone, or multiplied as it lies.
    a_zero_point : int or array_like
        One, or one per row; a QArray has its own.
    b_zero_point : int or array_like
        One, or one per column; a QArray or PackedWeight has its own.
    out : ndarray of int32, (m, n), optional
        Where to put the result.

    Returns
    -------
    ndarray of int32, (m, n)
        Times the scales of both it is the product of what the codes stand for.

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
        packed = b._weights.packed
    elif isinstance(b, QArray):
        packed = pack_matrix(b, "b", "integer").packed
    else:
        a, a_zero_point = _left_codes(a, a_zero_point)
        b, b_zero_point = column_codes(b, "b_zero_point", b_zero_point)
        a_zero_point = zero_points_of("a_zero_point", a_zero_point, a.dtype, (1, a.shape[0]))
        return _core.matmul_unpacked(a, b, a_zero_point, b_zero_point, out)
    if packed.kind != "matrix":
        raise ValueError(
            f"b: expected one scale or one per column of a matrix, whose sums are integers, got {_kind(packed)}"
        )
    if b_zero_point is not ZERO and _check.integers("b_zero_point", b_zero_point).any():
        raise ValueError("b_zero_point: expected 0 with a QArray or packed weights, which have their own")
    if type(a) is not _ndarray:
        a, a_zero_point = _left_codes(a, a_zero_point)
    if a_zero_point is ZERO:
        return _core.matmul_integer(a, packed, _NO_ZERO_POINT, out)
    a = codes_of("a", a)
    return _core.matmul_integer(a, packed, zero_points_of("a_zero_point", a_zero_point, a.dtype, (1, a.shape[0])), out)


def _left_codes(a: Any, zero_point: Any) -> tuple[np.ndarray, Any]:
    """The left operand of `matmul_integer` that is no ndarray: its codes, and their zero points."""
    if not isinstance(a, QArray):
        return codes_of("a", a), zero_point
    p = a.qparams
    if a.ndim != 2 or p.bits > 8 or p.codebook is not None or p.group_size is not None or p.scale.shape[1] != 1:
        raise ValueError(
            f"a: expected 2 dimensions and up to 8 bits on a uniform grid with one scale or one per row (axis=0), got "
            f"{a!r}"
        )
    if _check.integers("a_zero_point", zero_point).any():
        raise ValueError("a_zero_point: expected 0 with a QArray, which has its own")
    return a.codes, p.zero_point


def linear(
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    activation: str | None = None,
    output_qparams: QParams | None = None,
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
    codes with `output_qparams`, by one of the two rules of `requantize` with the multiplier ``s_x * s_w / s_y`` and
    clamped to the codes that the activation lets through: what a step of a quantized model computes. These begin at
    ``z_y``; those of relu6 end at ``rint(float32(6 / s_y) + z_y)``, half to even, or by "fixed" at ``z_y +
    round(float32(6 / s_y))``, half away from zero. A float bias that has no room among the sums (``abs(bias_q) >
    2**30``), or whose column of weights is all zeros, is added to the result as float32 instead; codes are then made of
    that.

    Weights in groups along `in` or on a codebook take floats `x`, whose rows have no zero point, as
    ``quantize(x, axis=0)`` makes them (``s_x = max(abs(row)) / 127``): ``y = activation(s_x * sum_g acc_g * s_w_g +
    bias)``, where each `acc_g` is exact and all else float32, groups in order. A codebook of up to 16 entries becomes
    a table of int8 when it is packed: entries that are multiples of a power of two, at most 127 of it, stay exact (fp4,
    for one); others move by up to half a 127th of the greatest, and the product by up to
    ``sum(abs(x)) * s_w * max(abs(codebook)) / 254``.

    Parameters
    ----------
    x : array_like of a real floating dtype, (..., in), or QArray of up to 8 bits with one scale
        Images on one grid become rows by ``QArray(x.codes.reshape(count, -1), x.qparams)``.
    w : QArray (in, out), or what `pack` made of it
        With one scale, one per column, or groups that cut axis 0 (``quantize(w, 4, axis=1, group_size=32)``).
        A QArray is packed at its first product and keeps that form.
    bias : array_like of a real floating dtype, (out,), optional
        With codes `x` also of int32, which is then ``bias_q`` itself.
    activation : {None, "relu", "relu6"}
    output_qparams : QParams, optional
        With codes `x`: the grid of the result, of up to 8 bits with one scale.
    requant : {"float", "fixed"}
        The rule for `output_qparams`, see `requantize`; codes `x` without `output_qparams` have no use for it.
    per : {"row", "tensor"}
        What has a scale of its own in floats `x`.
    out : ndarray, (..., out), optional
        Where to put the result: float32, or the dtype of the codes.

    Returns
    -------
    ndarray of float32, (..., out), or QArray with `output_qparams`

    Raises
    ------
    TypeError, ValueError
        Other dtypes, shapes that do not fit, NaN or infinity in `x` or `bias`, an option that there is not or that has
        no effect.
    OverflowError
        The product is so deep that an int32 could overflow, together with a bias of int32.

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
    >>> y = ql.linear(x, w, output_qparams=ql.QParams.from_range(-2.0, 3.1, symmetric=False))
    >>> y.codes
    array([[225,  75]], dtype=uint8)
    >>> y.dequantize()
    array([[ 2.5, -0.5]], dtype=float32)
    """
    if type(w) is PackedWeight:
        packed, scale, idle = w._weights
        if scale is None:
            raise ValueError("w: expected weights with scales, pack(QArray), got packed codes")
    elif isinstance(w, QArray):
        packed, scale, idle = pack_matrix(w, "w", "integer")
    else:
        raise no_weights(w, axis=1)
    if packed.kind != "matrix":
        if packed.kind == "filter":
            raise ValueError(f"w: expected weights of a matrix, got {_kind(packed)}")
        return _linear_grouped(
            x, packed, bias, activation, {"output_qparams": output_qparams, "requant": requant, "per": per}, out
        )
    if type(x) is not _ndarray and isinstance(x, QArray):
        _check.expect_defaults({"per": per}, {"per": "row"}, "for codes x, which have their scale")
        input_scale = epilogue.static_input("x", x).scale.item()
        sums_bias, fields, late = epilogue.resolve(input_scale, scale, idle, bias, activation, output_qparams, requant)
        operands = x.codes, packed, x.zero_point.ravel()
        if late is None:
            y = _core.linear_static(*operands, sums_bias, fields, out)
        else:
            y = epilogue.with_late_biases(partial(_core.linear_static, *operands), sums_bias, fields, late, out)
        return epilogue.wrap(y, output_qparams, out)
    if output_qparams is not None or type(requant) is not str or requant != "float":
        options = {"output_qparams": output_qparams, "requant": requant}
        _check.expect_defaults(
            options, {"output_qparams": None, "requant": "float"}, "for floats x, whose result is float32"
        )
    if type(w) is PackedWeight and w.activation_bits != 8:
        raise ValueError(f"w: expected weights packed for 8-bit activations, got {w.activation_bits}")
    per_tensor = (type(per) is not str or per != "row") and _check.choice("per", per, ("row", "tensor")) == "tensor"
    if activation is not None:
        epilogue.check_activation(activation)
    if bias is not None:
        bias = _check.real_array("bias", bias)
    x = _check.real_array("x", x, may_be_codes=True)
    return _core.linear(x, packed, scale, bias, activation, per_tensor, out)


def _kind(packed: _core.Packed) -> str:
    """What packed weights are that are no matrix, for errors."""
    if packed.kind == "filter":
        return f"those of a convolution, of shape {packed.shape}"
    return "groups or a codebook"


def _linear_grouped(
    x: Any, packed: _core.Packed, bias: Any, activation: str | None, others: dict[str, Any], out: np.ndarray | None
) -> np.ndarray:
    """`linear` with weights in groups or on a codebook; `others` are the options that these have no use for."""
    if isinstance(x, QArray):
        raise ValueError(f"x: expected floats for weights with groups or a codebook, got {x!r}")
    defaults = {"output_qparams": None, "requant": "float", "per": "row"}
    _check.expect_defaults(others, defaults, "for weights with groups or a codebook")
    epilogue.check_activation(activation)
    if bias is not None:
        bias = _check.real_array("bias", bias)
    return _core.linear_grouped(_check.real_array("x", x), packed, bias, activation, out)


def matmul_float(x: Any, q: QArray) -> np.ndarray:
    """Multiply floats (..., in) by weights: `QArray.__rmatmul__`."""
    packed, scale, _ = pack_matrix(q, "q", "float")
    x = _check.real_array("x", x)
    if packed.kind == "grouped":
        return _core.matmul_grouped(x, packed, None)
    return _core.matmul_float(x, packed, scale, None, None, None)


# Made once, because of a small product's 0.8 us they would take:
_ndarray = np.ndarray  # 0.03
_NO_ZERO_POINT = np.zeros(1, np.int32)  # 0.7
