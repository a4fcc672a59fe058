"""Fully connected layers."""

from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.initializers import INITIALIZERS, initialize
from qlite.nn.layers.layer import Shape
from qlite.nn.layers.weighted import Weighted
from qlite.nn.steps import DenseF32, Gemm, GemmF32


@public
class Dense(Weighted):
    """A fully connected layer: ``activation(x @ weight + bias)``.

    Made of weights, or of the number of its units: then the model that it becomes part of makes the weights.

    Parameters
    ----------
    weight : array_like of a real floating dtype, (in, out), optional
    bias : array_like of a real floating dtype, (out,), optional
        Zeros by default.
    activation : {None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "hard_swish", "elu", \
            "hard_sigmoid", "softplus", "softmax"}
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
    options: ClassVar[tuple[str, ...]] = ("activation", "initializer")
    integer_step, weight_only_step, float_step = Gemm, GemmF32, DenseF32

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
        super().__init__(name, activation)
        if (weight is None) == (units is None):
            raise ValueError(f"weight, units: expected one of the two, got {'none' if units is None else 'both'}")
        self.initializer = _check.choice("initializer", initializer, tuple(INITIALIZERS))
        units = None if units is None else _check.integer("units", units, 1)
        self.units = self._check_arrays(weight, bias, units, 2, "(in, out)")

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

    def multiply(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x @ weight

    def multiply_gradients(
        self, x: np.ndarray, weight: np.ndarray, gradient: np.ndarray, needs_input: bool
    ) -> tuple[np.ndarray | None, np.ndarray]:
        of_weight = x.reshape(-1, x.shape[-1]).T @ gradient.reshape(-1, self.units)
        return (gradient @ weight.T if needs_input else None), of_weight

    def __repr__(self) -> str:
        inputs = len(self.weight) if self.weight.size else "?"
        return f"Dense({inputs} -> {self.units}{f', {self.activation}' if self.activation else ''})"
