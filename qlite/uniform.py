"""Quantizing arrays on uniform grids."""

from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.array import QArray
from qlite.calibration import NONFINITE, PERCENTILE
from qlite.grids import choose_qparams
from qlite.qparams import QParams, along, code_range

#: How `quantize` chooses a grid unless it is told.
CHOICE = {"grid": "uniform", "method": "minmax", "group_size": None, "percentile": PERCENTILE}
FORM = {"axis": None, "symmetric": True, "signed": None, "narrow": None}


def quantize(
    w: Any,
    bits: int | QParams = 8,
    *,
    grid: str = "uniform",
    method: str = "minmax",
    axis: int | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    signed: bool | None = None,
    narrow: bool | None = None,
    percentile: float = PERCENTILE,
    scale: Any = None,
    zero_point: Any = None,
    nonfinite: str = "raise",
    out: np.ndarray | None = None,
) -> QArray:
    """Quantize an array: ``code = clip(rint(w / scale) + zero_point, qmin, qmax)``.

    The division is rounded once to float32, ties go to the even code, as in ONNX QuantizeLinear.

    Parameters
    ----------
    w : array_like of a real floating dtype
        The values; anything but float32 is rounded to float32 first.
    bits : int or QParams
        Width of a code (8 so far), or the whole grid, from `choose_qparams` or a `Calibrator`; then no option of a
        grid may be given besides.
    grid, method, axis, group_size, symmetric, signed, narrow, percentile
        How the grid is chosen: see `choose_qparams`.
    scale, zero_point : array_like, optional
        The grid's parameters, if they are known: one, or one for each index along `axis`. Nothing is chosen then.
    nonfinite : {"raise", "saturate"}
        What NaN and infinities are: an error, or the zero point and the ends of the range.
    out : ndarray of int8 or uint8, optional
        Where to put the codes; the result shows this memory.

    Returns
    -------
    QArray

    Raises
    ------
    TypeError
        `w` is not of a real floating dtype, `out` not of the codes' dtype, or an option is of another type.
    ValueError
        An option is not one of those that there are, or does not apply beside another one; `w` holds NaN or infinity,
        or a shape does not fit. `out` is untouched then.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> w = np.array([[0.1, -0.4], [1.27, 0.2]], np.float32)
    >>> q = ql.quantize(w, axis=1)
    >>> q.codes
    array([[  10, -127],
           [ 127,   64]], dtype=int8)
    >>> q
    QArray(shape=(2, 2), int8, 2 scales along axis 1, 12 bytes, 24.00 bits/value)
    """
    _check.choice("nonfinite", nonfinite, NONFINITE)
    choice: dict[str, Any] = {"grid": grid, "method": method, "group_size": group_size, "percentile": percentile}
    form: dict[str, Any] = {"axis": axis, "symmetric": symmetric, "signed": signed, "narrow": narrow}
    w = _check.real_array("w", w)
    if isinstance(bits, QParams):
        known = {"scale": None, "zero_point": None}
        given = {**choice, **form, "scale": scale, "zero_point": zero_point}
        _check.left_alone(given, {**CHOICE, **FORM, **known}, "beside a whole grid")
        p = bits._of_rank(w.ndim)
    elif scale is not None:
        _check.left_alone(choice, CHOICE, "beside scale")
        p = _given_qparams(w.ndim, bits, scale, zero_point, **form)
    elif zero_point is not None:
        raise ValueError("zero_point: expected only together with scale")
    else:
        p = choose_qparams(w, bits, nonfinite=nonfinite, **choice, **form)
    is_unseen = isinstance(bits, QParams) or scale is not None  # choosing has found w finite
    refuse = nonfinite == "raise" and is_unseen
    codes = _core.quantize(w, p.scale, p.zero_point, p.qmin, p.qmax, refuse, out, "w")
    if out is None:
        codes.flags.writeable = False
    return QArray(codes, p)


def _given_qparams(
    ndim: int, bits: int, scale: Any, zero_point: Any, axis: int | None, symmetric: Any, signed: Any, narrow: Any
) -> QParams:
    symmetric, signed, narrow = code_range(symmetric, signed, narrow)
    axis = _check.axis(axis, ndim)
    scale = _check.scales("scale", scale)
    if scale.ndim != ndim:
        if scale.size != 1 and (axis is None or scale.ndim != 1):
            raise ValueError(f"scale: expected one element, or an axis and a vector, got shape {scale.shape}")
        scale = scale.reshape(along(axis, ndim))
    zero_point = np.asarray(128 * (symmetric and not signed) if zero_point is None else zero_point)
    if zero_point.ndim == 1 and axis is not None:
        zero_point = zero_point.reshape(along(axis, ndim))
    return QParams(scale, zero_point, bits, signed, narrow, axis)


def dequantize(q: QArray, out: np.ndarray | None = None) -> np.ndarray:
    """Return the float32 values of a quantized array: ``float32(code - zero_point) * scale``.

    Parameters
    ----------
    q : QArray
    out : ndarray of float32, optional
        Where to put them.

    Raises
    ------
    TypeError
        `q` is no QArray, `out` is not float32.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.dequantize(ql.quantize(np.array([0.5, -1.27])))
    array([ 0.5 , -1.27], dtype=float32)
    """
    if not isinstance(q, QArray):
        raise TypeError(f"q: expected a QArray, got {type(q).__name__}")
    return q.dequantize(out)


def fake_quantize(x: Any, qparams: QParams, *, nonfinite: str = "raise", out: np.ndarray | None = None) -> np.ndarray:
    """Return the values that quantizing and dequantizing gives, without the codes in between: the same bits.

    Parameters
    ----------
    x : array_like of a real floating dtype
    qparams : QParams
    nonfinite : {"raise", "saturate"}
        As in `quantize`.
    out : ndarray of float32, optional
        Where to put them; may be `x`.

    Raises
    ------
    TypeError, ValueError
        As `quantize`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.array([0.26, -0.24, 9.0])
    >>> ql.fake_quantize(x, ql.QParams(np.float32([0.5]), np.int32([0])))
    array([0.5, 0. , 9. ], dtype=float32)
    """
    if not isinstance(qparams, QParams):
        raise TypeError(f"qparams: expected QParams, got {type(qparams).__name__}")
    _check.choice("nonfinite", nonfinite, NONFINITE)
    p, x = qparams, _check.real_array("x", x)
    return _core.fake_quantize(x, p.scale, p.zero_point, p.qmin, p.qmax, nonfinite == "raise", out)


def requantize(
    acc: Any,
    multiplier: Any,
    zero_point: int = 0,
    *,
    bits: int = 8,
    signed: bool = True,
    axis: int | None = None,
    requant: str = "float",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Turn int32 sums into 8-bit codes: ``clip(round(acc * multiplier) + zero_point)``, by one of two named rules.

    ``"float"`` multiplies by ``float32(multiplier)``, clamps and rounds half to even, as LiteRT's default path and ONNX
    Runtime do. ``"fixed"`` multiplies by a 31-bit integer and shifts, rounding twice (gemmlowp), as TensorFlow Lite
    Micro and CMSIS-NN do: integers only.

    Parameters
    ----------
    acc : array_like of int32
    multiplier : array_like of float
        ``s_a * s_w / s_out``: one, or one for each index along `axis`. Over 0, below 2**30.
    zero_point : int
        The output's code of 0.0.
    bits, signed
        Width and signedness of the codes; 8 bits so far.
    axis : int, optional
        The axis that `multiplier` lies along.
    requant : {"float", "fixed"}
        The rule.
    out : ndarray of int8 or uint8, optional
        Where to put the codes.

    Raises
    ------
    TypeError
        `acc` is not int32, `multiplier` no numbers, `zero_point` no integer.
    ValueError
        A multiplier or zero point is out of range, or a shape does not fit.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> acc = np.array([1, 2, 3, 10000], np.int32)
    >>> ql.requantize(acc, 0.5)
    array([  0,   1,   2, 127], dtype=int8)
    >>> ql.requantize(acc, 0.5, requant="fixed")
    array([  1,   1,   2, 127], dtype=int8)
    """
    _check.eight_bits(bits)
    _check.flag("signed", signed)
    _check.choice("requant", requant, ("float", "fixed"))
    acc = np.asarray(acc)
    axis = _check.axis(axis, acc.ndim)
    multiplier = _check.numbers("multiplier", multiplier).astype(np.float64)
    if multiplier.ndim == 1 and axis is not None:
        multiplier = multiplier.reshape(along(axis, acc.ndim))
    codes = QParams(np.ones(1, np.float32), np.array([0 if signed else 128]), bits, bool(signed))
    zero_point = _check.integer("zero_point", zero_point)
    if not codes.qmin <= zero_point <= codes.qmax:
        raise ValueError(f"zero_point: expected {codes.qmin} to {codes.qmax}, got {zero_point}")
    return _core.requantize(acc, multiplier, zero_point, codes.qmin, codes.qmax, requant == "fixed", out)
