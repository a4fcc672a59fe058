"""Layers of two inputs, element by element: Add, Subtract, Multiply."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn import steps
from qlite.nn.layers.constant import Constant
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder
from qlite.nn.program import Step
from qlite.nn.symbol import Symbol
from qlite.ops.activations import CLAMPS, activation, activation_gradient_

MINUS_ONE = np.array(-1, np.float32)


class Binary(Layer):
    """A layer of the form ``activation(function(a, b))``, with samples whose shapes broadcast as NumPy's do."""

    arity = 2
    options = ("activation",)
    function: ClassVar[np.ufunc]
    step: ClassVar[type[Step]]

    def __init__(self, activation: str | None = None, *, name: str | None = None) -> None:
        super().__init__(name)
        self.activation = _check.choice("activation", activation, (None, *CLAMPS))

    def _described(self, symbols: Sequence[Any]) -> Symbol:
        """See `Layer`; what is no symbol is a constant, without an axis of samples."""
        values = (np.ndarray, np.generic, int, float)
        return super()._described([Constant(x)() if isinstance(x, values) else x for x in symbols])

    def infer(self, *shapes: Shape) -> Shape:
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError:
            one, other = shapes
            raise ValueError(f"expected samples of shapes that broadcast, got {one} and {other}") from None

    def compute(self, *x: np.ndarray) -> np.ndarray:
        y = self.function(*aligned(*x), order="C")
        return y if self.activation is None else activation(self.activation, y, y)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        y = self.compute(*x)
        return y, ([array.shape for array in x], self.factors(*aligned(*x)), None if self.activation is None else y)

    @abstractmethod
    def factors(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return what the gradients of both inputs are multiplied by; None: by 1."""

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` are the shapes of the inputs, `factors` and, where there is an activation, the result.
        Both inputs get arrays of their own."""
        if not needs_input:
            return None, {}
        shapes, factors, y = saved
        if self.activation is not None:
            gradient = np.ascontiguousarray(gradient)
            activation_gradient_(gradient, y, self.activation)
        first, second = (
            summed(gradient if factor is None else gradient * factor, shape)
            for factor, shape in zip(factors, shapes, strict=True)
        )
        return (first, second.copy() if np.may_share_memory(first, second) else second), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        return builder.computed(self.step, inputs, activation=self.activation, requant="float")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.activation or ''})"


def aligned(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return samples of as many axes, the first of which stays that of samples."""
    rank = max(a.ndim, b.ndim)
    first, second = (x.reshape(len(x), *(1,) * (rank - x.ndim), *x.shape[1:]) for x in (a, b))
    return first, second


def summed(gradient: np.ndarray, shape: Shape) -> np.ndarray:
    """Return the gradient of samples of this shape that were broadcast: sums over what each of them stood for."""
    back = gradient.ndim - len(shape)
    lengths = (shape[0], *(1,) * back, *shape[1:])
    axes = tuple(i for i, (n, own) in enumerate(zip(gradient.shape, lengths, strict=True)) if n != own)
    return gradient.sum(axis=axes, keepdims=True).reshape(shape) if axes else gradient.reshape(shape)


@public
class Add(Binary):
    """The sum of two inputs: ``activation(a + b)``, element by element, as behind a residual block.

    Samples are float32 of shapes that broadcast as NumPy's do: aligned at the last axis, a length of 1, or an axis that
    is missing, stands for every length. In a quantized model both have grids of their own, and the sum has its own.

    Called with a symbol and an array, it adds a `Constant`. `quantize_model` folds one for each channel, or for all,
    into the bias of a layer with weights before it.

    Parameters
    ----------
    activation : {None, "relu", "relu6"}
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Another activation, a name that is no string; samples of shapes that do not broadcast.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Add("relu")(np.array([[1.0, -3.0]]), np.array([[1.0, 2.0]]))
    array([[2., 0.]], dtype=float32)
    >>> ql.Add()(ql.Input((28, 28, 3)), np.array([0.1, 0.2, 0.3]))
    <Add(): samples of shape (28, 28, 3)>
    """

    kind = "add"
    function, step = np.add, steps.Add

    def factors(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        return None, None


@public
class Subtract(Binary):
    """The difference of two inputs: ``activation(a - b)``, element by element.

    Samples are float32 of shapes that broadcast, and either may be an array that is the same for all samples, as in
    `Add`. In a quantized model both have grids of their own, and the difference has its own.

    Parameters
    ----------
    activation : {None, "relu", "relu6"}
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Another activation, a name that is no string; samples of shapes that do not broadcast.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Subtract()(np.array([[1.0, -3.0]]), np.array([[1.0, 2.0]]))
    array([[ 0., -5.]], dtype=float32)
    >>> ql.Subtract()(1.0, ql.Input((3,)))
    <Subtract(): samples of shape (3,)>
    """

    kind = "subtract"
    function, step = np.subtract, steps.Subtract

    def factors(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        return None, MINUS_ONE


@public
class Multiply(Binary):
    """The product of two inputs: ``activation(a * b)``, element by element, as behind gates of channels.

    Gates of channels are what squeezes and excites (Hu et al. 2018). Samples are float32 of shapes that broadcast,
    (height, width, channels) and (1, 1, channels) say, and either may be an array that is the same for all samples, as
    in `Add`; one for each channel, or for all, goes into the weights of a layer before it. In a quantized model both
    have grids of their own, and the product has its own.

    Parameters
    ----------
    activation : {None, "relu", "relu6"}
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Another activation, a name that is no string; samples of shapes that do not broadcast.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Multiply()(np.ones((1, 2, 2, 2)), np.array([[0.5, 2.0]]))[0, 0]
    array([[0.5, 2. ],
           [0.5, 2. ]], dtype=float32)
    >>> ql.Multiply()(ql.Input((28, 28, 3)), ql.Input((1, 1, 3)))
    <Multiply(): samples of shape (28, 28, 3)>
    """

    kind = "multiply"
    function, step = np.multiply, steps.Multiply

    def factors(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        return b, a
