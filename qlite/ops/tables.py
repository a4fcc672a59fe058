"""Functions of 8-bit codes as tables of 256 entries."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams
from qlite.ops import epilogue

F32 = np.float32
CODES = np.arange(256, dtype=np.uint8)


def _each(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """`function`, one of the module `math`, on arrays. NumPy's own differ in the last bit from CPU to CPU."""
    return lambda x: np.array([function(v) for v in x.tolist()])


def _exp(v: float) -> float:
    return math.exp(v) if v < 709 else math.inf


def _gelu(x: np.ndarray) -> np.ndarray:
    """In the float32 steps of LiteRT, which often end exactly at x where the true value is a little less."""
    x = np.clip(x, -1e30, np.finfo(F32).max).astype(F32)  # below, erfc is 0: not 0 times infinity
    return F32(0.5) * x * _each(math.erfc)(x * F32(-math.sqrt(0.5))).astype(F32)


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": _each(_exp),
    "gelu": _gelu,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "elu": _each(lambda v: v if v >= 0 else math.expm1(v)),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": _each(lambda v: 1 / (1 + _exp(-v))),
    "silu": _each(lambda v: v / (1 + _exp(-v))),
    "softplus": _each(lambda v: max(v, 0.0) + math.log1p(math.exp(-abs(v)))),
    "tanh": _each(math.tanh),
}
FUNCTIONS["swish"] = FUNCTIONS["silu"]  # Keras knows it by both names


def lookup_table(function: Any, input_qparams: QParams, output_qparams: QParams) -> np.ndarray:
    """Tabulate a function of real numbers for all 256 codes of 8 bits.

    ``table[code] = clip(round(function(s_in * (code - z_in)) / s_out) + z_out, qmin, qmax)`` in float64, rounded half
    away from zero. The entries lie by the byte of the code, so that ``table[codes]`` is right for signed codes too.

    Sigmoid (output: scale 1/256, the zero at the lowest code) and tanh (1/128, the zero in the middle) are those of
    LiteRT's default path, byte for byte; gelu, in the erf spec, and exp those of all its paths.

    Parameters
    ----------
    function : {"elu", "exp", "gelu", "hard_sigmoid", "hard_swish", "relu", "relu6", "sigmoid", "silu", "softplus", \
            "swish", "tanh"} or callable
        "swish" is another name of "silu". A callable gets a float64 array of 256 values and returns as many numbers, or
        it is one of single numbers, as those of `math` are; infinities become the ends.
    input_qparams, output_qparams : QParams
        Uniform grids of up to 8 bits with one scale.

    Returns
    -------
    ndarray of int8 or uint8, (256,)

    Raises
    ------
    TypeError
        `function` is neither a name nor callable or returns no real numbers, `input_qparams` or `output_qparams` is no
        QParams.
    ValueError
        There is no function of that name, or it fails for a value; a grid is not as above; a result has another shape
        or is NaN.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x, y = ql.QParams(np.float32([0.05]), 0), ql.QParams(np.float32([1 / 256]), -128)
    >>> table = ql.lookup_table("sigmoid", x, y)
    >>> table[np.array([-128, 0, 20, 127], np.int8)]
    array([-128,    0,   59,  127], dtype=int8)
    >>> leaky = ql.lookup_table(lambda v: np.where(v < 0, 0.1 * v, v), x, x)
    >>> leaky[np.array([-100, 50], np.int8)]
    array([-10,  50], dtype=int8)
    """
    if isinstance(function, str):
        function = FUNCTIONS[_check.choice("function", function, tuple(FUNCTIONS))]
    elif not callable(function):
        raise TypeError(f"function: expected a name or a callable, got {type(function).__name__}")
    x, y = (_one_grid(name, p) for name, p in (("input_qparams", input_qparams), ("output_qparams", output_qparams)))
    codes = CODES.view(x.dtype).astype(np.float64)
    value = _check.numbers("function", _of_all(function, float(x.scale.flat[0]) * (codes - int(x.zero_point.flat[0]))))
    if value.shape != (256,):
        raise ValueError(f"function: expected results of shape (256,), got {value.shape}")
    if np.isnan(value).any():
        raise ValueError(f"function: expected numbers, got NaN for code {int(codes[np.isnan(value)][0])}")
    return entries(value, float(y.scale.flat[0]), int(y.zero_point.flat[0]), (y.qmin, y.qmax), y.dtype)


def entries(
    values: np.ndarray, scale: float, zero_point: int, code_range: tuple[int, int], dtype: np.dtype
) -> np.ndarray:
    """Return the codes of the results of a function, rounded half away from zero."""
    with np.errstate(over="ignore"):
        steps = values.astype(np.float64) / scale
    return np.clip(rounded_away(steps) + zero_point, *code_range).astype(dtype)


def rounded_away(steps: np.ndarray) -> np.ndarray:
    """Round half away from zero, to at most 2**16, which is beyond all codes."""
    whole = np.trunc(np.clip(steps, -(2**16), 2**16))
    return whole + np.sign(steps) * (np.abs(steps - whole) >= 0.5)


def _of_all(function: Callable[[Any], Any], x: np.ndarray) -> Any:
    """What a function makes of an array, or, if it takes none, of its values one by one."""
    try:
        return function(x)
    except (TypeError, ValueError):
        results = []
    for v in x.tolist():
        try:
            results.append(function(v))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ValueError(f"function: expected numbers, got {type(error).__name__} for {v:.6g}") from error
    return results


def _one_grid(name: str, p: Any) -> QParams:
    """Return a uniform grid of up to 8 bits with one scale."""
    if not isinstance(p, QParams):
        raise TypeError(f"{name}: expected QParams, got {type(p).__name__}")
    if p.bits > 8 or p.codebook is not None or p.scale.size != 1:
        raise ValueError(f"{name}: expected a uniform grid of up to 8 bits with one scale, got {p!r}")
    return p


def apply_table(codes: Any, table: Any, *, output_qparams: QParams | None = None, out: np.ndarray | None = None) -> Any:
    """Look codes up in a table: ``table[codes]``, only faster.

    Parameters
    ----------
    codes : array_like of int8 or uint8, or, with `output_qparams`, QArray of up to 8 bits with one scale
    table : ndarray of int8 or uint8, (256,)
        What `lookup_table` returns: the entry of a code stands at its byte, that of -1 last.
    output_qparams : QParams, optional
        The grid that `table` was made for, where `codes` is a QArray.
    out : ndarray of the dtype of `table`, optional
        Where to put the result; may be `codes`.

    Returns
    -------
    ndarray of codes, or QArray on `output_qparams` for a QArray

    Raises
    ------
    TypeError, ValueError
        Another dtype, shape or grid, entries of `table` that are no codes of `output_qparams`, `output_qparams` for
        plain codes, or none for a QArray.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> p = ql.QParams(np.float32([0.1]), 0)
    >>> ql.apply_table(np.array([-50, 30, 90], np.int8), ql.lookup_table("relu6", p, p))
    array([ 0, 30, 60], dtype=int8)

    From a QArray to one on the grid of the results:

    >>> q = ql.quantize(np.array([-5.0, 3.0, 9.0]), p)
    >>> np.asarray(ql.apply_table(q, ql.lookup_table("relu6", p, p), output_qparams=p))
    array([0., 3., 6.], dtype=float32)
    """
    if output_qparams is None and type(codes) is not QArray:
        return _core.lookup(_check.as_array("codes", codes), _check.as_array("table", table), out)
    if not isinstance(codes, QArray):
        raise ValueError(
            f"output_qparams: expected None for plain codes, whose results are plain, got {output_qparams!r}"
        )
    if output_qparams is None:
        raise TypeError("codes: expected int8 or uint8, got a QArray: give its q.codes, or output_qparams")
    _one_grid("codes", codes.qparams)
    y, table = _one_grid("output_qparams", output_qparams), _check.codes("table", table)
    if table.dtype != y.dtype or (table.size and not y.qmin <= table.min() <= table.max() <= y.qmax):
        raise ValueError(f"table: expected entries of {y!r}, got {table.dtype} from {table.min()} to {table.max()}")
    return epilogue.wrap(_core.lookup(codes.codes, table, out), y, out)
