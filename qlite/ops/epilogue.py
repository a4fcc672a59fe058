"""What becomes of the exact sums of a static product: `linear` and `conv2d` share these arguments.

A product of codes on one grid for all of `x` with weights of one scale per output column takes ``bias, activation,
output_qparams, requant`` and does this::

    sums_bias, fields, late = epilogue.resolve(
        x.scale.item(), weight_scale, idle, bias, activation, output_qparams, requant
    )
    product = partial(_core.linear_static, x.codes, packed, x.zero_point.ravel())
    if late is None:
        y = product(sums_bias, fields, out)  # a new array, or out
    else:
        y = epilogue.with_late_biases(product, sums_bias, fields, late, out)
    return epilogue.wrap(y, output_qparams, out)

`x` is what `static_input` let pass, `weight_scale` float32 (columns,), `idle` which of the weights' columns are zeros.

A float bias joins the sums as int32. One that has no room there, or whose column is zeros, so that the scale of the
weights says nothing about the bias, is added to the result instead: to float32 as it is; codes of such a column come
from a float32 result, a second product, which is as rare as weights of 1e-9 beside an ordinary bias.

`fields` is an `Output`; in C `ql_py_output` (csrc/python/py_output.c) makes a `ql_output` of it, and
`ql_epilogue_fill` the epilogue that kernels take.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from qlite import _check, _core
from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams

#: Activations that are clamps, which products apply themselves.
ACTIVATIONS = ("relu", "relu6")

#: The rules by which sums become codes: see `requantize`.
RULES = ("float", "fixed")

INT32_MAX = np.iinfo(np.int32).max

#: A bias may take up half of an int32 sum; the other half is the product's.
BIAS_ROOM = 2.0**30


class Output(NamedTuple):
    """The fields of `ql_output`, as `_core` takes them.

    `store` is "float32", or the rule of codes; what the other does not need is 0. `offset` is added to float32.
    """

    store: str
    is_signed: bool
    activation: str | None
    input_scale: float
    weight_scale: np.ndarray
    offset: np.ndarray | None
    scale: float
    zero_point: int
    qmin: int
    qmax: int


def check_activation(activation: str | None) -> str | None:
    """Return the name of an activation that products apply themselves, or None."""
    if activation is None or (type(activation) is str and activation in ACTIVATIONS):
        return activation
    if not isinstance(activation, str) or activation.lower() in ACTIVATIONS:
        return _check.choice("activation", activation, ACTIVATIONS)
    raise ValueError(
        f"activation: expected None, {' or '.join(map(repr, ACTIVATIONS))}, got {activation!r} (lookup_table and "
        f"apply_table take any function, afterwards)"
    )


def one_grid(name: str, qparams: QParams) -> None:
    """Refuse a grid that is not uniform, of up to 8 bits, with one scale and one zero point."""
    if qparams.codebook is not None or qparams.bits > 8 or qparams.scale.size != 1 or qparams.group_size is not None:
        raise ValueError(f"{name}: expected a uniform grid of up to 8 bits with one scale, got {qparams!r}")


def static_input(name: str, x: QArray) -> QArray:
    """Return `x` if a static product can read it: codes of up to 8 bits on one grid."""
    one_grid(name, x.qparams)
    return x


def integer_bias(prefix: str, bias: np.ndarray, input_scale: float, weight_scale: np.ndarray) -> np.ndarray:
    """Return ``rint(bias / (input_scale * weight_scale))`` in float64, as int32."""
    codes = np.rint(bias.astype(np.float64) / (np.float64(input_scale) * weight_scale))
    if np.any(np.abs(codes) > INT32_MAX):
        worst = int(np.argmax(np.abs(codes)))
        raise OverflowError(
            f"{prefix}: the bias {bias[worst]:.4g} of output {worst} does not fit int32 at the scale "
            f"{input_scale:.4g} * {weight_scale[worst]:.4g}"
        )
    return codes.astype(np.int32)


class LateBias(NamedTuple):
    """A bias, and for which sums, (columns,) or (images, columns), it is added to the result."""

    bias: np.ndarray
    is_late: np.ndarray
    grid: QParams


def _checked_bias(bias: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A bias of one element per column: int32 as it is, or float32."""
    array = _check.numbers("bias", bias)
    if array.shape != shape:
        raise ValueError(f"bias: expected shape {shape}, got {array.shape}")
    if array.dtype.kind == "f":
        return _check.finite("bias", _check.real_array("bias", array))
    if array.dtype.newbyteorder("=") != np.int32:
        raise TypeError(f"bias: expected int32, the sums' own integers, or a real floating dtype, got {array.dtype}")
    return array


def _bias_of_sums(
    bias: np.ndarray, input_scale: Any, weight_scale: np.ndarray, idle: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """``rint(bias / (input_scale * weight_scale))`` in float64 as int32, 0 where it is late; and where that is."""
    codes = np.rint(bias.astype(np.float64) / (np.float64(input_scale) * weight_scale))
    is_late = np.abs(codes) > BIAS_ROOM
    if idle is not None:
        is_late = (is_late | (idle & (bias != 0))).reshape(codes.shape)
    if not is_late.any():
        return codes.astype(np.int32), None
    codes[is_late] = 0
    return codes.astype(np.int32), is_late


def resolve(
    input_scale: Any,
    weight_scale: np.ndarray,
    idle: np.ndarray | None,
    bias: Any,
    activation: str | None,
    output_qparams: Any,
    requant: str,
    *,
    is_dynamic: bool = False,
) -> tuple[np.ndarray | None, Output, LateBias | None]:
    """Check the arguments of a static product and bring them into the form of the core.

    float32 (no `output_qparams`): ``clamp(float32(acc + bias) * float32(input_scale * weight_scale) + offset)``. Codes:
    rule A or B with the multiplier ``input_scale * weight_scale / output_qparams.scale``, between the codes that the
    activation lets through by that rule.

    Parameters
    ----------
    input_scale : float, or float32 (images, 1)
    weight_scale : ndarray of float32, (columns,)
    idle : ndarray of bool, (columns,) or (images, columns), or None
        Which sums are 0 whatever the input: the weights, or the image, are nothing but zeros.
    is_dynamic : bool
        Whether `x` came as floats: float32 results then take their bias as float32.

    Returns
    -------
    sums_bias : ndarray of int32, (columns,) or (images, columns), or None
    fields : Output
    late : LateBias or None

    Raises
    ------
    TypeError, ValueError
        An option that there is not or that has no effect, a bias of another shape or dtype, a grid that is not one of
        up to 8 bits for all.
    """
    is_one = type(input_scale) is float
    scales = activation, input_scale if is_one else 1.0, weight_scale  # images have their own
    _check.choice("requant", requant, RULES)
    check_activation(activation)
    if output_qparams is None:
        if requant != "float":
            raise ValueError(f"requant: expected 'float', the default, without output_qparams, got {requant!r}")
        fields = Output("float32", False, *scales, None, 0.0, 0, 0, 0)
    elif not isinstance(output_qparams, QParams):
        raise TypeError(f"output_qparams: expected QParams or None, got {type(output_qparams).__name__}")
    else:
        one_grid("output_qparams", output_qparams)
        p = output_qparams
        scale, zero_point = float(p.scale.item()), int(p.zero_point.item())
        fields = Output(requant, p.signed, *scales, None, scale, zero_point, p.qmin, p.qmax)
    if bias is None:
        return None, fields, None
    bias = _checked_bias(bias, weight_scale.shape)
    if bias.dtype.kind == "i":
        return bias if is_one else np.tile(bias, (len(input_scale), 1)), fields, None
    if is_dynamic and output_qparams is None:
        return None, fields._replace(offset=bias.copy()), None  # a copy: `out` may be where it lies
    sums_bias, is_late = _bias_of_sums(bias, input_scale, weight_scale, idle)
    if is_late is None:
        return sums_bias, fields, None
    if output_qparams is None:
        return sums_bias, fields._replace(offset=np.where(is_late, bias, np.float32(0))), None
    return sums_bias, fields, LateBias(bias.copy(), is_late, output_qparams)


def with_late_biases(
    product: Callable[..., np.ndarray],
    sums_bias: np.ndarray | None,
    fields: Output,
    late: LateBias,
    out: np.ndarray | None,
) -> np.ndarray:
    """Return codes of ``product(sums_bias, fields, out)``; where the bias is late, codes of a float32 result."""
    p, grid = late.grid, (fields.scale, fields.zero_point, fields.qmin, fields.qmax)
    plain = fields._replace(store="float32", activation=None, offset=late.bias)
    floats = product(None, plain, None)  # first: `out` may be where x lies
    codes = _core.quantize(floats, p.scale, p.zero_point, p.qmin, p.qmax, False, None)
    np.clip(codes, *_core.output_clamps(fields.store, fields.activation, *grid), out=codes)
    y = product(sums_bias, fields, out)
    is_late = late.is_late
    if is_late.ndim == 2:
        is_late = is_late[:, None, None]
    np.copyto(y, codes, where=is_late)
    return y


def wrap(result: np.ndarray, output_qparams: QParams | None, out: np.ndarray | None) -> Any:
    """Return the float32 result as it is, codes as an array with `output_qparams`; `out` is the caller's or None."""
    if output_qparams is None:
        return result
    if out is None:
        result.flags.writeable = False
    return QArray._of_codes(result, output_qparams)
