"""Layers that apply a function: activations, softmax."""

from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.grids.qparams import QParams
from qlite.nn.activation_tables import known_grid
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder
from qlite.ops.activations import ACTIVATIONS, SLOPE, activation, activation_gradient_, check_slope


@public
class Activation(Layer):
    """A layer that applies a function to each value; softmax to each row.

    relu ``max(x, 0)``, relu6 ``min(max(x, 0), 6)``, leaky_relu ``x if x >= 0 else slope * x``, sigmoid
    ``1 / (1 + exp(-x))``, tanh, gelu ``x * (1 + erf(x / sqrt(2))) / 2`` (Hendrycks and Gimpel 2016), silu
    ``x * sigmoid(x)``, hard_swish ``x * relu6(x + 3) / 6`` and hard_sigmoid ``relu6(x + 3) / 6`` (Howard et al. 2019),
    elu ``x if x >= 0 else exp(x) - 1`` (Clevert et al. 2016), softplus ``log(1 + exp(x))``, softmax ``exp(x) /
    sum(exp(x))`` over the last axis.

    Of float32 samples of any shape. Behind an integer product it is a table of 256 entries, or the clamp of its result.

    Parameters
    ----------
    activation : {"relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "hard_swish", "elu", \
            "hard_sigmoid", "softplus", "softmax"}
    slope : float
        Of leaky_relu below 0: over 0, at most 1.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        An activation that there is not, a slope that is no number over 0 and at most 1, a name that is no string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Activation("leaky_relu", slope=0.5)(np.array([[-2.0, 1.0]], np.float32))
    array([[-1.,  1.]], dtype=float32)
    >>> ql.Sequential([ql.Dense(np.eye(2)), ql.Activation("gelu")])
    Sequential(24 bytes, multiclass)
      dense_1: Dense(2 -> 2)
      activation_1: Activation(gelu)
    """

    kind = "activation"
    options: ClassVar[tuple[str, ...]] = ("activation", "slope")

    def __init__(self, activation: str, *, slope: float = SLOPE, name: str | None = None) -> None:
        super().__init__(name)
        self.activation = _check.choice("activation", activation, ACTIVATIONS)
        self.slope = check_slope(slope)

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def known_grid(self, bits: int = 8) -> QParams | None:
        return known_grid(self.activation, bits)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return activation(self.activation, x[0], slope=self.slope)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        y = self.compute(*x)
        return y, y if self.activation == "softmax" else x[0]

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is what `activation_gradient_` takes."""
        if not needs_input:
            return None, {}
        gradient = np.ascontiguousarray(gradient)
        activation_gradient_(gradient, saved, self.activation, self.slope)
        return (gradient,), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        return builder.activation(x, self.activation, self.slope)

    def __repr__(self) -> str:
        return f"Activation({self.activation}{f', slope {self.slope:g}' if self.activation == 'leaky_relu' else ''})"


@public
class Softmax(Activation):
    """The last layer of a classifier: ``exp(x) / sum(exp(x))`` over the last axis, of samples of any shape.

    `predict_proba` then takes the model's outputs as they are, and training with the loss "cross_entropy" works on the
    logits before it. A model without it has the same probabilities.

    Parameters
    ----------
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError
        A name that is no string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> m = ql.Sequential([ql.Dense(np.eye(2)), ql.Softmax()])
    >>> m(np.array([[0.0, 1.0]]))
    array([[0.26894143, 0.7310586 ]], dtype=float32)
    """

    kind = "softmax"
    options = ()

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__("softmax", name=name)

    def __repr__(self) -> str:
        return "Softmax()"
