"""Functions that layers apply to float32, and the gradients through them: private to the package.

The core computes them: the same bits on every instruction set and for any number of threads. `bias_activation_` and
`activation_gradient_` write into what they get, in one pass: they are what a step of training consists of, beside the
products.
"""

from typing import Any

import numpy as np

from qlite import _check, _core

#: Activations that are clamps, which products apply themselves, also on codes.
CLAMPS = ("relu", "relu6")
#: Those whose results tell as much as their arguments about the gradient; `activation_gradient_` takes either.
TOLD_BY_RESULTS = (*CLAMPS, "leaky_relu")
#: All that are applied element by element, and those of rows.
ELEMENTWISE = (*TOLD_BY_RESULTS, "sigmoid", "tanh", "gelu", "silu", "hard_swish", "elu", "hard_sigmoid", "softplus")
ACTIVATIONS = (*ELEMENTWISE, "softmax")
#: Of leaky_relu by default, as float32.
SLOPE = float(np.float32(0.01))


def check_activation(name: Any) -> str | None:
    """Return the name of an activation, or None."""
    return _check.choice("activation", name, (None, *ACTIVATIONS))


def check_slope(slope: Any) -> float:
    """Return the slope of a leaky_relu: over 0, so that results tell the sign of arguments, and at most 1."""
    with np.errstate(over="ignore"):
        number = float(np.float32(_check.number("slope", slope)))
    if not 0 < number <= 1:
        raise ValueError(f"slope: expected a number over 0, at most 1, got {slope!r}")
    return number


def activation(name: str | None, x: Any, out: np.ndarray | None = None, *, slope: float = SLOPE) -> np.ndarray:
    """Apply an activation to an array of a real floating dtype: float32, in the array `out` if there is one.

    relu ``max(x, 0)``, relu6 ``min(max(x, 0), 6)``, leaky_relu ``x if x >= 0 else slope * x``, sigmoid
    ``1 / (1 + exp(-x))``, tanh, gelu ``x * (1 + erf(x / sqrt(2))) / 2``, silu ``x * sigmoid(x)``, hard_swish
    ``x * relu6(x + 3) / 6``, elu ``x if x >= 0 else exp(x) - 1``, hard_sigmoid ``relu6(x + 3) / 6``, softplus
    ``log(1 + exp(x))``, softmax ``exp(x) / sum(exp(x))`` over the last axis. None: x.

    Examples
    --------
    >>> import numpy as np
    >>> from qlite.ops.activations import activation
    >>> activation("hard_swish", np.array([-4.0, 0.0, 1.0, 4.0]))
    array([-0.       ,  0.       ,  0.6666667,  4.       ], dtype=float32)
    """
    return _core.apply(x, name, slope, out)


def bias_activation_(y: np.ndarray, bias: np.ndarray, name: str | None, slope: float = SLOPE) -> np.ndarray:
    """Turn `y`, C-contiguous float32 with rows along its last axis, into ``activation(y + bias)``, and return it."""
    return _core.apply_bias(y, bias, name, slope)


def activation_gradient_(
    gradient: np.ndarray,
    z: np.ndarray | None,
    name: str | None,
    slope: float = SLOPE,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Multiply `gradient`, C-contiguous float32, by the activation's slope at `z`; return its sum over all rows.

    `gradient` is then the gradient of the activation's argument and the sum, (columns,) or in `out`, that of a bias.
    The sum is one of float32, from the first row to the last.

    `z` are the activation's arguments; of relu, relu6 and leaky_relu its results do as well; of softmax it has to be
    the results; for None it is not looked at. Slopes at corners are those of PyTorch: 0 for relu at 0.
    """
    return _core.function_gradient(gradient, z, name, slope, out)
