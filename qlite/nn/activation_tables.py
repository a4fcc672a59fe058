"""Activations of codes: the grid of their results, and their tables."""

from typing import Any

import numpy as np

from qlite.grids.qparams import QParams
from qlite.nn.program import CODE_RANGES, Buffer
from qlite.ops.tables import lookup_table

#: Grids of results whose range is known, as those of TensorFlow Lite: the scale, and the code of 0 above the lowest.
KNOWN_GRIDS = {"sigmoid": (1 / 256, 0), "tanh": (1 / 128, 128), "softmax": (1 / 256, 0)}


def output_grid(function: str, dtype: str) -> dict[str, Any] | None:
    """Return the scale and zero point of results, of a buffer of this dtype, or None: they have to be calibrated."""
    if function not in KNOWN_GRIDS:
        return None
    scale, zero = KNOWN_GRIDS[function]
    return {"scale": scale, "zero_point": CODE_RANGES[dtype][0] + zero}


def activation_table(function: str, slope: float, source: Buffer, target: Buffer) -> np.ndarray:
    """Return the table that gives the codes of `target` for those of `source`."""
    real = (lambda v: np.where(v < 0, slope * v, v)) if function == "leaky_relu" else function
    return lookup_table(real, _grid(source), _grid(target))


def _grid(buffer: Buffer) -> QParams:
    scale, zero_point = buffer.affine
    signed = buffer.dtype == "int8"
    return QParams(np.array([scale], np.float32), np.array([zero_point]), signed=signed)
