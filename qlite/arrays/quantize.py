"""quantize, dequantize, fake_quantize and requantize, for formats of every kind."""

from dataclasses import replace
from operator import is_
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.arrays.qarray import QArray
from qlite.arrays.storage import WHOLE_WIDTHS
from qlite.grids.choose import choose_qparams
from qlite.grids.granularity import Granularity, laid_along
from qlite.grids.qparams import QParams
from qlite.grids.spec import NONFINITE, PERCENTILE, GridSpec, check_symmetric

ROUNDINGS = ("even", "away", "stochastic")
#: Half of the smallest float32: up to here a number is 0 as float32.
HALF_SMALLEST = 2.0**-150


def quantize(
    w: Any,
    bits: int | QParams | None = None,
    *,
    grid: Any = "uniform",
    method: str = "minmax",
    axis: int | None = None,
    group_size: int | None = None,
    group_axis: int | None = None,
    symmetric: bool = True,
    signed: bool | None = None,
    narrow: bool | None = None,
    percentile: float = PERCENTILE,
    importance: Any = None,
    keep_zero: bool = False,
    scale: Any = None,
    zero_point: Any = None,
    scale_dtype: str | None = None,
    rounding: str = "even",
    seed: int = 0,
    nonfinite: str = "raise",
    out: np.ndarray | None = None,
) -> QArray:
    """Quantize an array: ``code = clip(rint(w / scale) + zero_point, qmin, qmax)``.

    The division is rounded once to float32, ties go to the even code, as in ONNX QuantizeLinear. On a grid with a
    codebook the code is that of the entry nearest to ``w / scale``, of two that are equally near the even one, which is
    how small floats round.

    Parameters
    ----------
    w : array_like of a real floating dtype
        The values; anything but float32 is rounded to float32 first.
    bits : int or QParams, optional
        Width of a code; or all parameters, from `choose_qparams` or a `Calibrator`, and then none of the options that
        say how to choose them.
    grid, method, axis, group_size, group_axis, symmetric, signed, narrow, percentile, importance
    keep_zero, scale_dtype
        How parameters are chosen: see `choose_qparams`. Activations that are never negative want ``symmetric=False``.
    scale, zero_point : array_like, optional
        Known scales and zero points, for which nothing is chosen: one, or one for each index along `axis`, or the rank
        of `w`. With a zero point codes have their full range, unless `narrow` says otherwise.
    rounding : {"even", "away", "stochastic"}
        Ties to the even code, ties away from zero, or up with the probability of what is cut off, ``floor(t) + (u < t -
        floor(t))`` for ``t = w / scale`` and a uniform u that a hash makes of the seed and the value's place: the same
        codes in every run, on every CPU. The last two are for uniform grids.
    seed : int
        Seed of the stochastic rounding, 0 to 2**64 - 1.
    nonfinite : {"raise", "saturate"}
        What NaN and infinities are: an error, or the zero point and the ends of the range.
    out : ndarray, optional
        Memory for the codes, in the form of `QArray.stored`; the result shares it.

    Returns
    -------
    QArray
        Codes of 8 and 16 bits lie in memory as `w` does (NumPy's order "K"), those of other widths packed by rows.

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
    >>> ql.quantize(np.ones((8, 64)), grid="mxfp4")
    QArray(shape=(8, 64), mxfp4, 16 scales for groups of 32 along axis 1, 272 bytes, 4.25 bits/value)
    """
    refuse, seed = _checked_policy(rounding, seed, nonfinite)
    w = _check.real_array("w", w)
    if isinstance(bits, QParams):
        ranges = (method, axis, group_size, group_axis, symmetric, signed, narrow, percentile, importance, keep_zero)
        choosing = (grid, *ranges, scale, zero_point, scale_dtype)
        if not all(map(is_, choosing, CHOOSING.values())):
            _check.expect_defaults(dict(zip(CHOOSING, choosing, strict=True)), CHOOSING, "beside QParams")
        p = bits._of_rank(w.ndim)
    elif scale is not None:
        options = {
            "method": method,
            "percentile": percentile,
            "importance": importance,
            "keep_zero": keep_zero,
            "scale_dtype": scale_dtype,
        }
        _check.expect_defaults(options, DEFAULTS, "beside scale")
        spec = GridSpec.of(bits, grid, symmetric, signed, narrow, None)
        check_symmetric(spec, symmetric)
        if zero_point is not None and narrow is None and spec.grid == "uniform":
            spec = replace(spec, narrow=False)
        granularity = Granularity.of(w.ndim, axis, spec.group_size(group_size), group_axis)
        p = _given_qparams(scale, zero_point, spec, granularity, w.shape)
    elif zero_point is not None:
        raise ValueError(f"zero_point: expected None without scale, got {zero_point!r:.40}")
    else:
        p = choose_qparams(
            w,
            bits,
            grid=grid,
            method=method,
            axis=axis,
            group_size=group_size,
            group_axis=group_axis,
            symmetric=symmetric,
            signed=signed,
            narrow=narrow,
            percentile=percentile,
            importance=importance,
            keep_zero=keep_zero,
            scale_dtype=scale_dtype,
            nonfinite=nonfinite,
        )
        refuse = False  # the choice has found w finite, or shall not care
    if p.bits not in WHOLE_WIDTHS:
        q = QArray._of_codes(_encoded("w", w, p, rounding, seed, refuse, None), p)
        return q if out is None else q._into(out)
    codes = _encoded("w", w, p, rounding, seed, refuse, out)
    if out is None:
        codes.setflags(write=False)
    return QArray._of_stored(codes, codes.shape, p)


#: Defaults of the options of `quantize`, by name.
DEFAULTS: Any = quantize.__kwdefaults__
#: Those of the options that QParams stand for, in their order.
CHOOSING = {name: DEFAULTS[name] for name in DEFAULTS if name not in ("rounding", "seed", "nonfinite", "out")}


def _checked_policy(rounding: Any, seed: Any, nonfinite: Any) -> tuple[bool, int]:
    """Check the three options; returns whether NaN and infinities are refused, and the seed."""
    _check.choice("nonfinite", nonfinite, NONFINITE)
    _check.choice("rounding", rounding, ROUNDINGS)
    seed = _check.integer("seed", seed)
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed: expected 0 to {(1 << 64) - 1}, got {seed}")
    if seed and rounding != "stochastic":
        raise ValueError(f"seed: expected 0 unless rounding='stochastic', got {seed}")
    return nonfinite == "raise", seed


def _given_qparams(
    scale: Any, zero_point: Any, spec: GridSpec, granularity: Granularity, shape: tuple[int, ...]
) -> QParams:
    """The parameters, for data of this shape, with a known scale and perhaps a known zero point."""
    if spec.is_fitted:
        raise ValueError(f"scale: expected None for grid {spec.grid!r}, which is fitted to the data, got {scale!r:.40}")
    scale = laid_along("scale", _check.scales("scale", scale), granularity.axis, shape)
    if scale.ndim != len(shape):
        if scale.size != 1:
            raise ValueError(f"scale: expected one element, or an axis and a vector, got shape {scale.shape}")
        scale = scale.reshape((1,) * len(shape))
    if zero_point is None:
        zero_point = (spec.qmin + spec.qmax + 1) // 2 if spec.symmetric and spec.codebook is None else 0
    zero_point = laid_along("zero_point", _check.integers("zero_point", zero_point), granularity.axis, shape)
    return QParams._of_spec(scale, zero_point, spec, granularity)


def _encoded(
    name: str, x: np.ndarray, p: QParams, rounding: str, seed: int, refuse: bool, out: np.ndarray | None
) -> np.ndarray:
    """The codes of float32 data."""
    if p.codebook is None:
        options = (*p.granularity.groups, rounding, seed)
        return _core.quantize(x, p.scale, p.zero_point, p.qmin, p.qmax, refuse, out, name, *options)
    if rounding != "even":
        raise ValueError(f"rounding: expected 'even' for grid {p.grid!r}, got {rounding!r}")
    if p.codebook.ndim == 1 or p.axis is None or p.group_size is not None:
        return _core.quantize_codebook(x, p.scale, p.codebook, refuse, out, name, *p.granularity.groups)
    # With the axis first, values that share a codebook are neighbours.
    rows, scale, book = (_core.contiguous(np.moveaxis(a, p.axis, 0)) for a in (x, p.scale, p.codebook))
    codes = np.moveaxis(_core.quantize_codebook(rows, scale, book, refuse, None, name), 0, p.axis)
    out = np.empty_like(x, codes.dtype) if out is None else _check.out(out, codes.dtype, codes.shape)
    out[...] = codes
    return out


def dequantize(q: QArray, out: np.ndarray | None = None) -> np.ndarray:
    """Return the float32 values of a quantized array: ``float32(code - zero_point) * scale``.

    Their axes lie in memory in the order of those of the codes: of what came Fortran and has 8 or 16 bits, Fortran.

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


def fake_quantize(
    x: Any,
    qparams: QParams,
    *,
    rounding: str = "even",
    seed: int = 0,
    nonfinite: str = "raise",
    return_mask: bool = False,
    out: np.ndarray | None = None,
) -> Any:
    """Return the values that quantizing and dequantizing gives, without the codes in between: the same bits.

    Parameters
    ----------
    x : array_like of a real floating dtype
    qparams : QParams
    rounding, seed, nonfinite
        As in `quantize`.
    return_mask : bool
        Also return where the straight-through gradient passes: True where ``qmin <= rint(x / scale) + zero_point <=
        qmax``, with a codebook where ``x / scale`` lies between its ends.
    out : ndarray of float32, optional
        Where to put the values; may be `x`.

    Returns
    -------
    ndarray of float32, or that and an ndarray of bool
        In memory as `x` is (NumPy's order "K").

    Raises
    ------
    TypeError, ValueError
        As `quantize`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.array([0.26, -0.24, 9.0, 900.0])
    >>> ql.fake_quantize(x, ql.QParams(np.float32([0.5]), np.int32([0])), return_mask=True)
    (array([ 0.5,  0. ,  9. , 63.5], dtype=float32), array([ True,  True,  True, False]))
    """
    if not isinstance(qparams, QParams):
        raise TypeError(f"qparams: expected QParams, got {type(qparams).__name__}")
    refuse, seed = _checked_policy(rounding, seed, nonfinite)
    p, x = qparams, _check.real_array("x", x)
    mask = None
    if p.codebook is None:
        if _check.flag("return_mask", return_mask):
            mask = _core.in_range(x, p.scale, p.zero_point, p.qmin, p.qmax, *p.granularity.groups)
        options = (*p.granularity.groups, rounding, seed)
        y = _core.fake_quantize(x, p.scale, p.zero_point, p.qmin, p.qmax, refuse, out, *options)
    else:
        q = QArray._of_codes(_encoded("x", x, p, rounding, seed, refuse, None), p)
        if _check.flag("return_mask", return_mask):
            low, high = map(q._spread, q.qparams.range)
            mask = (low <= x) & (x <= high)
        y = q.dequantize(out)
    return y if mask is None else (y, mask)


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
    _check.bits(bits, (8,))
    _check.flag("signed", signed)
    _check.choice("requant", requant, ("float", "fixed"))
    acc = _check.as_array("acc", acc)
    axis = _check.axis(axis, acc.ndim)
    multiplier = _check.numbers("multiplier", multiplier).astype(np.float64)
    wrong = multiplier[~((multiplier > HALF_SMALLEST) & (multiplier < 2.0**30))]
    if wrong.size:
        raise ValueError(f"multiplier: expected over 0 (as float32) and below 2**30, got {wrong[0]}")
    multiplier = laid_along("multiplier", multiplier, axis, acc.shape)
    zero_point = _check.integer("zero_point", zero_point)
    qmin, qmax = (-128, 127) if signed else (0, 255)
    if not qmin <= zero_point <= qmax:
        raise ValueError(f"zero_point: expected {qmin} to {qmax}, got {zero_point}")
    return _core.requantize(acc, multiplier, zero_point, qmin, qmax, requant == "fixed", out)
