"""What training asks of the core. Everything else in this folder is Python and NumPy."""

import math
from dataclasses import dataclass

import numpy as np

from qlite import _core

cross_entropy = _core.cross_entropy


@dataclass
class Update:
    """The numbers of one step of an optimizer; ``ql_optimize_f32`` in ``csrc/qlite.h`` says what they do."""

    gradient_scale: float = 1.0
    limit: float = math.inf
    decay: float = 0.0
    shrink: float = 1.0
    rate: float = 0.0
    momentum: float = 0.0
    memory: float = 0.0
    root: float = 1.0
    epsilon: float = 0.0
    nesterov: bool = False


def optimize(
    rule: str,
    update: Update,
    parameter: np.ndarray,
    gradient: np.ndarray,
    first: np.ndarray | None,
    second: np.ndarray | None,
) -> None:
    """Change a parameter and the moments of its gradients in place."""
    u = update
    numbers = (u.gradient_scale, u.limit, u.decay, u.shrink, u.rate, u.momentum, u.memory, u.root, u.epsilon)
    _core.optimize(rule, parameter, gradient, first, second, (*numbers, u.nesterov))


def square_sum(x: np.ndarray) -> float:
    """The sum of squares in float64, in a fixed order."""
    return float(_core.moments(x, (1,) * x.ndim)[1].item())


quantize, dequantize = _core.quantize, _core.dequantize
quantize_gradient, requantize_gradient = _core.quantize_gradient, _core.requantize_gradient
