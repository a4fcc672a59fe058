"""Softmax of 8-bit codes."""

from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams

#: Grids of the result, by whether codes are signed: [0, 1) in steps of 1 / 256.
GRIDS = {
    signed: QParams(np.array([np.float32(1 / 256)]), np.array([-128 * signed]), 8, signed) for signed in (True, False)
}
#: Between these, numbers are neither 0 nor infinite as float32.
LEAST, BEYOND = 2.0**-150, 2.0**128 * (1 - 2.0**-25)


def softmax(
    x: Any, scale: Any = None, *, beta: float = 1.0, requant: str = "float", out: np.ndarray | None = None
) -> Any:
    """Softmax over the last axis of 8-bit codes: ``exp(beta * v) / sum(exp(beta * v))`` for ``v = scale * x``.

    The result has the scale 1/256 and the lowest code as zero point, so that codes reach from 0 to 255/256. One of two
    named rules says how it comes about, exactly. ``"float"``: 256 exponentials in float32, summed from left to right,
    one product per code, rounded half away from zero: LiteRT's default path. ``"fixed"``: gemmlowp's fixed-point
    exponential and reciprocal, integers only: the reference kernels of TensorFlow Lite and TensorFlow Lite Micro. (They
    stop the process where more than 511 classes have the same code; here all get the probability that rounds to.)

    Parameters
    ----------
    x : QArray on a uniform grid of up to 8 bits with one scale, or array_like of int8 or uint8
        Floats have to be quantized first.
    scale : float
        Of plain codes, whose zero point does not matter. None for a QArray, which has its own.
    beta : float
        A factor over 0, float32.
    requant : {"float", "fixed"}
        The rule.
    out : ndarray of the codes' dtype, optional
        Where to put the codes; may be `x`.

    Returns
    -------
    QArray for a QArray, else ndarray of codes

    Raises
    ------
    TypeError, ValueError
        Another dtype or grid, no axis, a scale or beta that is not finite and positive, for "fixed" ``scale * beta`` of
        at most 2**-26.
    OverflowError
        More than 4095 classes for "fixed".

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.softmax(np.array([[10, 20, 30]], np.int8), 0.1)
    array([[-105,  -65,   42]], dtype=int8)
    >>> q = ql.quantize(np.array([[1.0, 2.0, 3.0]]))
    >>> np.asarray(ql.softmax(q)).round(2)
    array([[0.09, 0.25, 0.66]], dtype=float32)
    """
    _check.choice("requant", requant, ("float", "fixed"))
    if isinstance(x, QArray):
        if scale is not None:
            raise ValueError(f"scale: expected None with a QArray, which has its own, got {scale!r:.40}")
        p = x.qparams
        if p.bits > 8 or p.codebook is not None or p.scale.size != 1:
            raise ValueError(f"x: expected a uniform grid of up to 8 bits with one scale, got {p!r}")
        codes, scale = x.codes, float(p.scale.flat[0])
    else:
        codes = _check.codes("x", x)
    y = _core.softmax(codes, _positive("scale", scale), _positive("beta", beta), requant == "fixed", out)
    if not isinstance(x, QArray):
        return y
    if out is None:
        y.flags.writeable = False
    return QArray._of_codes(y, GRIDS[y.dtype.kind == "i"])


def _positive(name: str, value: Any) -> float:
    """Return a number that is finite and over 0 as float32."""
    number = _check.number(name, value)
    if not LEAST < number < BEYOND:
        raise ValueError(f"{name}: expected a finite number over 0 (as float32), got {value!r}")
    return number
