"""Fully connected layers."""

from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.layers.layer import Layer, finite_float32
from qlite.nn.lower import Builder


@public
class Dense(Layer):
    """A fully connected layer: ``activation(x @ weight + bias)``.

    Parameters
    ----------
    weight : array_like of a real floating dtype, (in, out)
    bias : array_like of a real floating dtype, (out,), optional
        Zeros by default.
    activation : {None, "relu"}
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape, NaN or infinity, an activation that there is not, a name that is no string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> layer = ql.Dense(np.array([[1.0, -1.0]]), np.array([0.5, 0.0]), "relu")
    >>> layer
    Dense(1 -> 2, relu)
    >>> layer(np.array([[2.0]], np.float32))
    array([[2.5, 0. ]], dtype=float32)
    """

    def __init__(self, weight: Any, bias: Any = None, activation: str | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self.weight = finite_float32("weight", weight)
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise ValueError(f"weight: expected shape (in, out) without zeros, got {self.weight.shape}")
        units = self.weight.shape[1]
        self.bias = np.zeros(units, np.float32) if bias is None else finite_float32("bias", bias)
        if self.bias.shape != (units,):
            raise ValueError(f"bias: expected shape ({units},), got {self.bias.shape}")
        self.activation = activation if activation is None else _check.choice("activation", activation, ("relu",))

    def __call__(self, x: Any) -> np.ndarray:
        x = _check.real_array("x", x)
        if x.ndim == 0 or x.shape[-1] != len(self.weight):
            raise ValueError(f"x: expected shape (..., {len(self.weight)}), got {x.shape}")
        y = x @ self.weight + self.bias
        return np.maximum(y, 0, out=y) if self.activation == "relu" else y

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        return builder.product(x, self.weight, self.bias, self.activation)

    def __repr__(self) -> str:
        inputs, units = self.weight.shape
        return f"Dense({inputs} -> {units}{', relu' if self.activation else ''})"
