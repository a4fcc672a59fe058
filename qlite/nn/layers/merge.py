"""The layer that joins its inputs: Concatenate."""

from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder


@public
class Concatenate(Layer):
    """Inputs joined along an axis, in order: ``numpy.concatenate`` of samples.

    Samples are float32, of one shape but for the axis. In a quantized model all get the grid of the result.

    Parameters
    ----------
    axis : int
        Of a sample, without the axis of samples; negative ones are counted from the last, the channels.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        An axis that is no integer or that samples do not have, samples that do not fit together, a name that is no
        string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Concatenate()(np.zeros((5, 28, 28, 3)), np.zeros((5, 28, 28, 1))).shape
    (5, 28, 28, 4)
    """

    kind = "concatenate"
    keeps_grid = True
    arity = None
    options = ("axis",)

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.axis = _check.integer("axis", axis)

    def _axis(self, shape: Shape) -> int:
        """The axis, counted from the first of a sample."""
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(f"expected samples that have an axis {self.axis}, got {shape}")
        return self.axis % len(shape)

    def infer(self, *shapes: Shape) -> Shape:
        first = shapes[0]
        axis = self._axis(first)
        if any(len(s) != len(first) or s[:axis] + s[axis + 1 :] != first[:axis] + first[axis + 1 :] for s in shapes):
            raise ValueError(f"expected samples of one shape but for axis {axis}, got {', '.join(map(str, shapes))}")
        return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return np.concatenate(x, axis=1 + self._axis(x[0].shape[1:]))

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        axis = 1 + self._axis(x[0].shape[1:])
        return self.compute(*x), (axis, np.cumsum([array.shape[axis] for array in x[:-1]]))

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the axis of the arrays, and where along it inputs but the first begin."""
        if not needs_input:
            return None, {}
        axis, begins = saved
        return tuple(map(np.ascontiguousarray, np.split(gradient, begins, axis=axis))), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        return builder.concatenate(inputs, self._axis(builder.buffers[inputs[0]].shape))

    def __repr__(self) -> str:
        return f"Concatenate(axis {self.axis})"
