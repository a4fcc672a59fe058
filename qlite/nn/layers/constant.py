"""A value that is the same for every sample."""

from typing import Any

import numpy as np

from qlite._public import public
from qlite.arrays.quantize import quantize
from qlite.grids.qparams import QParams
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape, finite_float32
from qlite.nn.lower import Builder, affine_of
from qlite.nn.program import MAX_RANK


@public
class Constant(Layer):
    """A value that every sample gets: it reads nothing, and training leaves it as it is.

    In a quantized model it becomes codes on the grid of its own least and greatest value.

    Parameters
    ----------
    value : array_like of a real floating dtype, of the shape of a sample
        Finite; a number is one of shape (1,).
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        A value of another dtype, not finite, empty or of more than four axes, a name that is no string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> half = ql.Constant(np.full((1, 1, 3), 0.5))()
    >>> half
    <Constant((1, 1, 3)): samples of shape (1, 1, 3)>
    >>> ql.Multiply()(ql.Input((28, 28, 3)), half)
    <Multiply(): samples of shape (28, 28, 3)>
    """

    kind = "constant"
    arity = 0

    def __init__(self, value: Any, *, name: str | None = None) -> None:
        super().__init__(name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        self.value = finite_float32("value", [float(value)] if is_number else value)
        if self.value.ndim == 0:
            self.value = self.value.reshape(1)
        if self.value.size == 0 or self.value.ndim > MAX_RANK:
            raise ValueError(f"value: expected up to {MAX_RANK} axes without zeros, got shape {self.value.shape}")

    @property
    def statistics(self) -> dict[str, np.ndarray]:
        return {"value": self.value}

    def infer(self, *shapes: Shape) -> Shape:
        return self.value.shape

    def __call__(self, *x: Any) -> Any:
        """Return the symbol of the value, which becomes part of a graph: see `Model`."""
        if x:
            raise TypeError(f"x: expected nothing, got {len(x)} arrays of samples")
        return self._described(())

    def compute(self, *x: np.ndarray) -> np.ndarray:
        """Return the value as that of a single sample."""
        return self.compute_for(1)

    def compute_for(self, samples: int, *x: np.ndarray) -> np.ndarray:
        return np.repeat(self.value[None], samples, axis=0)

    def known_grid(self, bits: int = 8) -> QParams:
        """The unsigned grid of its least and greatest value, and zero: of equal values it has all codes as well."""
        low, high = np.minimum(self.value.min(), 0), np.maximum(self.value.max(), 0)
        return QParams.from_range(low, high, bits, symmetric=False, signed=False)

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        if not builder.is_static:
            return builder.append(steps.Constant, (), builder.layer, value=self.value)
        p = builder.qparams[builder.layer]
        codes = quantize(self.value, p).codes
        return builder.append(steps.Constant, (), builder.layer, scales=affine_of(p), value=codes)

    def __repr__(self) -> str:
        return f"Constant({self.value.shape})"
