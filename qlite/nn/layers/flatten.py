"""Samples as vectors."""

import math
from typing import Any

import numpy as np

from qlite._public import public
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder


@public
class Flatten(Layer):
    """Samples as vectors, in C order: (samples, ...) becomes (samples, features). It computes nothing.

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
    >>> m = ql.Sequential([ql.Flatten(), ql.Dense(units=10)], input_shape=(28, 28))
    >>> m(np.zeros((5, 28, 28))).shape
    (5, 10)
    """

    kind = "flatten"
    keeps_grid = True

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name)

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (math.prod(shape),)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return x[0].reshape(len(x[0]), math.prod(x[0].shape[1:]))

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0].shape

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the shape of the input."""
        return ((gradient.reshape(saved),) if needs_input else None), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        return builder.reshape(x, self.infer(builder.buffers[x].shape))

    def __repr__(self) -> str:
        return "Flatten()"
