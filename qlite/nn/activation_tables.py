"""Activations of codes: the grids of their results, and their tables."""

import numpy as np

from qlite.grids.qparams import QParams
from qlite.nn.program import Buffer
from qlite.ops.tables import lookup_table


def known_grid(function: str, bits: int = 8) -> QParams | None:
    """Return the unsigned grid of results whose range is known, as TensorFlow Lite has it, or None.

    Sigmoid and softmax: ``2**-bits`` from 0 on, softmax of 8 bits always. Tanh: ``2**(1 - bits)``, 0 in the middle.
    """
    if function == "tanh":
        return QParams(np.array([2.0 ** (1 - bits)], np.float32), np.array([1 << (bits - 1)]), bits, signed=False)
    if function not in ("sigmoid", "softmax"):
        return None
    bits = 8 if function == "softmax" else bits
    return QParams(np.array([2.0**-bits], np.float32), np.array([0]), bits, signed=False)


def activation_table(function: str, slope: float, source: Buffer, target: Buffer) -> np.ndarray:
    """Return the table that gives the codes of `target` for those of `source`."""
    real = (lambda v: np.where(v < 0, slope * v, v)) if function == "leaky_relu" else function
    return lookup_table(real, _grid(source), _grid(target))


def _grid(buffer: Buffer) -> QParams:
    scale, zero_point = buffer.affine
    signed = buffer.dtype == "int8"
    return QParams(np.array([scale], np.float32), np.array([zero_point]), buffer.bits, signed)
