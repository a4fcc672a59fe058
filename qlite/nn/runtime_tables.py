"""Tables of functions as TensorFlow Lite's runtimes compute them: "litert", the default path of LiteRT on x86-64
(XNNPACK's where it takes the operator), and "tflm", TensorFlow Lite Micro.

A function is one of codes that are less their zero point, of their scale and that of the results, all in float32 unless
something else is said. Where a runtime has no such operator, or not for such scales, there is none here.
"""

import math
from collections.abc import Callable

import numpy as np

from qlite.nn import fixed_point
from qlite.nn.program import Buffer
from qlite.ops.tables import CODES, FUNCTIONS, rounded_away

F32 = np.float32
#: Fraction bits of the multipliers of functions that XNNPACK takes, and the ratios of scales that it takes them for.
FRACTION_BITS, LEAST_RATIO, GREATEST_RATIO = 8, 2.0**-8, 2.0**7
#: Ends of the clamps.
ENDS = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0)}
#: The fixed-point functions of TensorFlow Lite Micro: the fraction bits of their results.
FIXED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "sigmoid": (fixed_point.sigmoid, 8),
    "tanh": (fixed_point.tanh, 7),
}


def runtime_table(function: str, slope: float, source: Buffer, target: Buffer, runtime: str) -> np.ndarray | None:
    """Return the table of 256 codes that a runtime's operator gives, or None where it has none."""
    (scale, zero_point), (target_scale, target_zero_point) = source.affine, target.affine
    steps = CODES.view(source.dtype).astype(np.int64) - zero_point
    scales = F32(scale), F32(target_scale)
    with np.errstate(over="ignore", under="ignore"):
        codes = _codes(function, slope, steps, scales, target_zero_point, runtime)
    if codes is None:
        return None
    low, high = _ends(function, target)
    return np.clip(codes, low, high).astype(target.dtype)


def _codes(
    function: str, slope: float, steps: np.ndarray, scales: tuple[F32, F32], zero_point: int, runtime: str
) -> np.ndarray | None:
    """The codes of the results, before they are clamped."""
    scale, target_scale = scales
    ratio = scale / target_scale
    if function == "relu6" and runtime == "tflm":  # it keeps the grid, so that codes are put on the result's before it
        return fixed_point.scaled(steps, float(scale) / float(target_scale)) + zero_point
    if function in ("relu", "relu6"):
        return fixed_point.scaled(steps, float(ratio)) + zero_point
    if function == "hard_swish":
        return _hard_swish(steps, *scales, zero_point)
    if function in ("identity", "leaky_relu"):
        slope = slope if function == "leaky_relu" else 1.0
        slopes = (ratio, ratio * F32(slope))
        if runtime == "litert" and all(LEAST_RATIO <= r <= GREATEST_RATIO for r in slopes):
            return _of_few_bits(steps, slopes) + zero_point
        if function == "identity":
            return fixed_point.scaled(steps, float(scale) / float(target_scale)) + zero_point
        below = fixed_point.scaled(steps, float(scale * F32(slope) / target_scale))
        return np.where(steps >= 0, fixed_point.scaled(steps, float(ratio)), below) + zero_point
    if runtime == "tflm" and function in FIXED:
        return _fixed(function, steps, scale, target_scale, zero_point)
    if function not in ("sigmoid", "tanh", "elu", "gelu"):
        return None
    results = FUNCTIONS[function]((steps.astype(F32) * scale).astype(np.float64)).astype(F32)
    if runtime == "litert" and function != "gelu":
        return np.rint(results * (F32(1) / target_scale) + F32(zero_point))
    return rounded_away(results * (F32(1) / target_scale)) + zero_point


def _ends(function: str, target: Buffer) -> tuple[int, int]:
    """The codes between which results lie: ends of a clamp are rounded half away from zero."""
    lowest, highest = target.code_range
    scale, zero_point = target.affine
    low, high = ENDS.get(function, (-math.inf, math.inf))
    with np.errstate(over="ignore"):
        ends = rounded_away(np.array([low, high], F32) / F32(scale)) + zero_point
    first, last = np.clip(ends, lowest, highest)
    return int(first), int(last)


def _of_few_bits(steps: np.ndarray, slopes: tuple[F32, F32]) -> np.ndarray:
    """Products with multipliers of few bits: of steps from 0 on, and of those below."""
    above, below = (int(np.rint(F32(1 << FRACTION_BITS) * slope)) for slope in slopes)
    return (steps * np.where(steps >= 0, above, below) + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS


def _fixed(function: str, steps: np.ndarray, scale: F32, target_scale: F32, zero_point: int) -> np.ndarray | None:
    """Results in fixed point, of arguments with 4 integer bits: of codes on the one grid that these have."""
    compute, bits = FIXED[function]
    if float(target_scale) != 2.0**-bits:
        return None
    value = float(scale) * 2**27
    _, exponent = fixed_point.multiplier(value)
    radius = math.floor(15 * 2**27 / 2.0**exponent)
    arguments = fixed_point.scaled(np.clip(steps, 1 - radius, radius - 1), value)
    codes = fixed_point.divided(compute(arguments), 31 - bits)
    least = 0 if function == "sigmoid" else -(1 << bits)
    codes = np.where(steps >= radius, (1 << bits) - 1, np.where(steps <= -radius, least, codes))
    return codes + zero_point


def _hard_swish(steps: np.ndarray, scale: F32, target_scale: F32, zero_point: int) -> np.ndarray | None:
    """In fixed point of 16 bits: x times the gate, which is (x + 3) / 6 saturated, and has been shifted to [-1, 1)."""
    fine = scale * (F32(1) / F32(128))
    if not LEAST_RATIO <= scale / target_scale < 128:
        return None
    (of_result, shift), (of_gate, gate_shift) = (
        _multiplier_of_16_bits(real) for real in (fine / target_scale, fine / (F32(3) / F32(32768)))
    )
    wide = steps << 7
    result = fixed_point.doubled_high(wide, of_result, 16)
    if gate_shift > 0:
        gate = fixed_point.doubled_high(_saturated(wide << (gate_shift - 1)), of_gate, 16)
        gate = _saturated(gate << 1)
    else:
        gate = fixed_point.divided(fixed_point.doubled_high(wide, of_gate, 16), -gate_shift)
    gate = (gate + (1 << 15)) >> 1
    product = gate * result
    product = np.sign(product) * (np.abs(product) >> 15)
    return fixed_point.divided(product, max(-shift, 0)) + zero_point


def _multiplier_of_16_bits(real: F32) -> tuple[int, int]:
    q, e = fixed_point.multiplier(float(real))
    return min((q + (1 << 15)) >> 16, 32767), e


def _saturated(a: np.ndarray) -> np.ndarray:
    """As int16."""
    return np.clip(a, -(1 << 15), (1 << 15) - 1)
