"""Dropout."""

from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder


@public
class Dropout(Layer):
    """In training, zeros in random places: each value with probability `rate`, the others times ``1 / (1 - rate)``.

    Otherwise it changes nothing, and a quantized model has no trace of it (Srivastava et al. 2014). Samples are
    float32, of any shape; the places come from the seed that `train` is given.

    Parameters
    ----------
    rate : float
        0 to below 1.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        A rate that is no number from 0 to below 1, a name that is no string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Dropout(0.5)(np.ones((1, 4), np.float32))
    array([[1., 1., 1., 1.]], dtype=float32)
    """

    kind = "dropout"
    options = ("rate",)

    def __init__(self, rate: float, *, name: str | None = None) -> None:
        super().__init__(name)
        self.rate = _check.number("rate", rate)
        if not 0 <= self.rate < 1:
            raise ValueError(f"rate: expected a number from 0 to below 1, got {rate!r}")

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return x[0]

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        if self.rate == 0:
            return x[0], None
        factor = (rng.random(x[0].shape, np.float32) >= self.rate) * np.float32(1 / (1 - self.rate))
        return x[0] * factor, factor

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the factor of each value, or None."""
        if saved is not None and needs_input:
            gradient *= saved
        return ((gradient,) if needs_input else None), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        return x

    def __repr__(self) -> str:
        return f"Dropout({self.rate:g})"
