"""Functions of codes: the grids of their results, and their tables."""

import numpy as np

from qlite.grids.qparams import QParams
from qlite.nn.program import Buffer
from qlite.nn.runtime_tables import runtime_table
from qlite.ops.tables import CODES, FUNCTIONS, entries


def known_grid(function: str, bits: int = 8) -> QParams | None:
    """Return the unsigned grid of results whose range is known, as TensorFlow Lite has it, or None.

    Sigmoid and softmax: ``2**-bits`` from 0 on. Tanh and l2_normalize: ``2**(1 - bits)``, 0 in the middle. Softmax and
    l2_normalize have 8 bits always.
    """
    bits = 8 if function in ("softmax", "l2_normalize") else bits
    if function in ("tanh", "l2_normalize"):
        return QParams(np.array([2.0 ** (1 - bits)], np.float32), np.array([1 << (bits - 1)]), bits, signed=False)
    if function not in ("sigmoid", "softmax"):
        return None
    return QParams(np.array([2.0**-bits], np.float32), np.array([0]), bits, signed=False)


def activation_table(function: str, slope: float, source: Buffer, target: Buffer, tables: str = "exact") -> np.ndarray:
    """Return the table that gives the codes of `target` for those of `source`: see `lookup_table`.

    `tables` "litert" and "tflm" are the operators of these runtimes, where they have one; "exact" is rounded once.

    "identity" is requantization from one grid to another: ``clamp(rint((x - z) * r) + z_y)`` with ``r = float32(s) /
    float32(s_y)``, in float32, half to even.
    """
    if tables != "exact" and (table := runtime_table(function, slope, source, target, tables)) is not None:
        return table
    if function == "identity":
        return _requantizing_table(source, target)
    (scale, zero_point), (target_scale, target_zero_point) = source.affine, target.affine
    x = np.float64(np.float32(scale)) * (CODES.view(source.dtype).astype(np.float64) - zero_point)
    y = np.where(x < 0, slope * x, x) if function == "leaky_relu" else FUNCTIONS[function](x)
    scale = float(np.float32(target_scale))
    return entries(y, scale, target_zero_point, target.code_range, np.dtype(target.dtype))


def _requantizing_table(source: Buffer, target: Buffer) -> np.ndarray:
    (scale, zero_point), (target_scale, target_zero_point) = source.affine, target.affine
    greatest = np.finfo(np.float32).max
    with np.errstate(over="ignore", under="ignore"):
        ratio = min(np.float32(scale) / np.float32(target_scale), greatest)
        steps = np.rint((CODES.view(source.dtype).astype(np.int32) - zero_point).astype(np.float32) * ratio)
    lowest, highest = target.code_range
    steps = np.clip(steps, lowest - target_zero_point, highest - target_zero_point)
    return (steps.astype(np.int32) + target_zero_point).astype(target.dtype)
