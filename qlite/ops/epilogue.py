"""What becomes of the exact sums of a static product: `linear` and `conv2d` share these arguments.

A product of codes on one grid for all of `x` with weights of one scale per output column takes ``bias, activation,
output_qparams, requant`` and does this::

    bias, out_spec = epilogue.resolve(x.scale.item(), weight_scale, bias, activation, output_qparams, requant)
    y = _core.linear_static(x.codes, packed, x.zero_point.ravel(), bias, out_spec, out)  # a new array, or out
    return epilogue.wrap(y, output_qparams, out)

`x` is what `static_input` let pass, `weight_scale` float32 (columns,), `bias` None or int32 (columns,) afterwards.
`out_spec` is an `Output`; in C `ql_py_output` (csrc/python/py_output.c) makes a `ql_output` of it, and
`ql_epilogue_fill` the epilogue that kernels take.
"""

from typing import Any, NamedTuple

import numpy as np

from qlite import _check
from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams

#: Activations that are clamps, which products apply themselves.
ACTIVATIONS = ("relu", "relu6")

#: The rules by which sums become codes: see `requantize`.
RULES = ("float", "fixed")

INT32_MAX = np.iinfo(np.int32).max


class Output(NamedTuple):
    """The fields of `ql_output`, as `_core` takes them.

    `store` is "float32", or the rule of codes; what the other does not need is 0.
    """

    store: str
    is_signed: bool
    activation: str | None
    input_scale: float
    weight_scale: np.ndarray
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


def image_biases(bias: np.ndarray, input_scale: np.ndarray, weight_scale: np.ndarray) -> np.ndarray:
    """`integer_bias` for each of several input scales that are large enough, (scales, columns)."""
    return np.rint(bias.astype(np.float64) / (input_scale.astype(np.float64)[:, None] * weight_scale)).astype(np.int32)


def static_bias(bias: Any, input_scale: float, weight_scale: np.ndarray) -> np.ndarray | None:
    """A bias as int32 (columns,): integers as they are, floats at the scale of the sums."""
    if bias is None:
        return None
    array, shape = _check.numbers("bias", bias), weight_scale.shape
    if array.shape != shape:
        raise ValueError(f"bias: expected shape {shape}, got {array.shape}")
    if array.dtype.kind == "f":
        return integer_bias("bias", _check.finite("bias", _check.real_array("bias", array)), input_scale, weight_scale)
    if array.dtype.newbyteorder("=") != np.int32:
        raise TypeError(f"bias: expected int32, the sums' own integers, or a real floating dtype, got {array.dtype}")
    return array


def resolve(
    input_scale: float, weight_scale: np.ndarray, bias: Any, activation: str | None, output_qparams: Any, requant: str
) -> tuple[np.ndarray | None, Output]:
    """Check the arguments of a static product and bring them into the form of the core.

    float32 (no `output_qparams`): ``clamp(float32(acc + bias) * float32(input_scale * weight_scale))``. Codes: rule A
    or B with the multiplier ``input_scale * weight_scale / output_qparams.scale``, between the codes of what the
    activation lets through.

    Raises
    ------
    TypeError, ValueError
        An option that there is not, a bias of another shape or dtype, a grid that is not one of up to 8 bits for all.
    OverflowError
        The bias does not fit int32 at the scale of the sums.
    """
    _check.choice("requant", requant, RULES)
    check_activation(activation)
    if output_qparams is None:
        out_spec = Output("float32", False, activation, input_scale, weight_scale, 0.0, 0, 0, 0)
    elif not isinstance(output_qparams, QParams):
        raise TypeError(f"output_qparams: expected QParams or None, got {type(output_qparams).__name__}")
    else:
        one_grid("output_qparams", output_qparams)
        p = output_qparams
        out_spec = Output(
            *(requant, p.signed, activation, input_scale, weight_scale),
            *(float(p.scale.item()), int(p.zero_point.item()), p.qmin, p.qmax),
        )
    return static_bias(bias, input_scale, weight_scale), out_spec


def wrap(result: np.ndarray, output_qparams: QParams | None, out: np.ndarray | None) -> Any:
    """Return the float32 result as it is, codes as an array with `output_qparams`; `out` is the caller's or None."""
    if output_qparams is None:
        return result
    if out is None:
        result.flags.writeable = False
    return QArray._of_codes(result, output_qparams)
