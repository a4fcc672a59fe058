"""Fully connected layers."""

from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.initializers import INITIALIZERS, initialize
from qlite.nn.layers.layer import Layer, Shape, finite_float32
from qlite.nn.lower import Builder
from qlite.ops.activations import (
    TOLD_BY_RESULTS,
    activation,
    activation_gradient_,
    bias_activation_,
    check_activation,
)

#: Activations whose results are kept for `backward`, rather than their arguments.
KEPT = (*TOLD_BY_RESULTS, "softmax")


@public
class Dense(Layer):
    """A fully connected layer: ``activation(x @ weight + bias)``.

    Made of weights, or of the number of its units: then the model that it becomes part of makes the weights.

    Parameters
    ----------
    weight : array_like of a real floating dtype, (in, out), optional
    bias : array_like of a real floating dtype, (out,), optional
        Zeros by default.
    activation : {None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "hard_swish", "softmax"}
        See `Activation`, which also takes another slope of leaky_relu than 0.01.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.
    units : int, optional
        How many outputs, in place of `weight`.
    initializer : {"he_uniform", "he_normal", "glorot_uniform", "glorot_normal"}
        How the weights of `units` are drawn.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape, NaN or infinity, an activation that there is not, a name that is no string, both or none
        of `weight` and `units`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> layer = ql.Dense(np.array([[1.0, -1.0]]), np.array([0.5, 0.0]), "relu")
    >>> layer
    Dense(1 -> 2, relu)
    >>> layer(np.array([[2.0]], np.float32))
    array([[2.5, 0. ]], dtype=float32)
    >>> ql.Dense(units=10)
    Dense(? -> 10)
    """

    kind = "dense"
    options = ("activation", "initializer")

    def __init__(
        self,
        weight: Any = None,
        bias: Any = None,
        activation: str | None = None,
        name: str | None = None,
        *,
        units: int | None = None,
        initializer: str = "he_uniform",
    ) -> None:
        super().__init__(name)
        if (weight is None) == (units is None):
            raise ValueError(f"weight, units: expected one of the two, got {'none' if units is None else 'both'}")
        self.activation = check_activation(activation)
        self.initializer = _check.choice("initializer", initializer, tuple(INITIALIZERS))
        self.weight: np.ndarray = np.zeros((0, 0), np.float32)
        if units is not None:
            self.units = _check.integer("units", units, 1)
        else:
            self.weight = finite_float32("weight", weight)
            if self.weight.ndim != 2 or 0 in self.weight.shape:
                raise ValueError(f"weight: expected shape (in, out) without zeros, got {self.weight.shape}")
            self.units = self.weight.shape[1]
        self.bias = np.zeros(self.units, np.float32) if bias is None else finite_float32("bias", bias)
        if self.bias.shape != (self.units,):
            raise ValueError(f"bias: expected shape ({self.units},), got {self.bias.shape}")

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight, "bias": self.bias}

    @property
    def input_shape(self) -> Shape | None:
        return (len(self.weight),) if self.weight.size else None

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:
        if not self.weight.size:
            self.weight = initialize(self.initializer, (shapes[0][-1], self.units), rng)

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if self.weight.size and shape[-1:] != (len(self.weight),):
            raise ValueError(f"expected {len(self.weight)} features, got samples of shape {shape}")
        return (*shape[:-1], self.units)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return bias_activation_(x[0] @ self.weight, self.bias, self.activation)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        if self.activation is None or self.activation in KEPT:
            y = self.compute(*x)
            return y, (x[0], y)
        z = bias_activation_(x[0] @ self.weight, self.bias, None)
        return activation(self.activation, z), (x[0], z)

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the input and what `activation_gradient_` takes."""
        x, z = saved
        gradient = np.ascontiguousarray(gradient)
        bias = activation_gradient_(gradient, z, self.activation)
        weight = x.reshape(-1, x.shape[-1]).T @ gradient.reshape(-1, self.units)
        return ((gradient @ self.weight.T,) if needs_input else None), {"weight": weight, "bias": bias}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        return builder.product(x, self.weight, self.bias, self.activation)

    def __repr__(self) -> str:
        inputs = len(self.weight) if self.weight.size else "?"
        return f"Dense({inputs} -> {self.units}{f', {self.activation}' if self.activation else ''})"
