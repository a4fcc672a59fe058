"""Vectors of length 1."""

from typing import Any

import numpy as np

from qlite._public import public
from qlite.grids.qparams import QParams
from qlite.nn import steps
from qlite.nn.activation_tables import known_grid
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder

#: Lengths below are taken for it: the root of TensorFlow's epsilon, 1e-12.
LEAST = 1e-6


@public
class L2Normalize(Layer):
    """Vectors along the last axis, divided by their lengths: ``y = x / max(sqrt(sum(x**2)), 1e-6)``.

    Samples are float32 of any shape; sums and quotients are computed in float64 and rounded once. In a quantized model
    the result has the scale 1/128 and its zero in the middle, as embeddings of faces and voices have. (TensorFlow Lite
    L2_NORMALIZATION, byte for byte for int8; ``torch.nn.functional.normalize``.)

    Parameters
    ----------
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        A name that is no string; samples without an axis.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.L2Normalize()(np.array([[3.0, -4.0], [0.0, 0.0]]))
    array([[ 0.6, -0.8],
           [ 0. ,  0. ]], dtype=float32)
    """

    kind = "l2_normalize"

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name)

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or 0 in shape:
            raise ValueError(f"expected samples of shape (..., channels) without zeros, got {shape}")
        return shape

    def known_grid(self, bits: int = 8) -> QParams | None:
        return known_grid("l2_normalize", bits)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return self._normalized(x[0])[0]

    def _normalized(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The result, and the lengths of vectors in float64."""
        wide = x.astype(np.float64)
        length = np.sqrt(np.einsum("...i,...i->...", wide, wide))[..., None]
        return (wide / np.maximum(length, LEAST)).astype(np.float32), length

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        y, length = self._normalized(x[0])
        return y, (y, length)

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` are the result and the lengths: ``(g - y * sum(g * y)) / length``, or ``g / 1e-6``."""
        if not needs_input:
            return None, {}
        y, length = saved
        along = np.where(length > LEAST, np.einsum("...i,...i->...", gradient, y)[..., None], 0)
        return (((gradient - y * along) / np.maximum(length, LEAST)).astype(np.float32),), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        return builder.computed(steps.L2Normalize, inputs)

    def __repr__(self) -> str:
        return "L2Normalize()"
