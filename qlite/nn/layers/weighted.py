"""What layers that multiply by weights have in common."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from qlite.nn.layers.layer import Layer, Shape, finite_float32
from qlite.nn.lower import Builder
from qlite.nn.program import Step
from qlite.ops.activations import TOLD_BY_RESULTS, activation, activation_gradient_, bias_activation_, check_activation

#: Activations whose results are kept for `backward`, rather than their arguments.
KEPT = (*TOLD_BY_RESULTS, "softmax")


def weights_of(weight: Any) -> np.ndarray:
    """Return weights as float32; a size in their place, where other libraries have it, is refused with the keywords."""
    if isinstance(weight, (int, float)):
        sizes = "sizes are keywords, such as units=, filters= and kernel_size="
        raise TypeError(f"weight: expected an array, got {weight!r} ({sizes})")
    return finite_float32("weight", weight)


class Weighted(Layer):
    """A layer of the form ``activation(multiply(x, weight) + bias)``, whose weights become codes.

    Attributes
    ----------
    weight : ndarray of float32
        The last axis is that of the outputs; empty before `build`.
    bias : ndarray of float32, (outputs,)
    activation : str or None
    integer_step, weight_only_step, float_step : type of Step
        What it becomes with codes of weights and of activations, of weights alone, of none.
    """

    integer_step: ClassVar[type[Step]]
    weight_only_step: ClassVar[type[Step]]
    float_step: ClassVar[type[Step]]

    weight: np.ndarray
    bias: np.ndarray

    def __init__(self, name: str | None, activation: str | None) -> None:
        super().__init__(name)
        self.activation = check_activation(activation)

    @abstractmethod
    def multiply(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the product of samples and weights like the layer's, as a new array."""

    @abstractmethod
    def multiply_gradients(
        self, x: np.ndarray, weight: np.ndarray, gradient: np.ndarray, needs_input: bool
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Return the gradients of `x`, unless nobody needs it, and of `weight`; that of the product may be written
        over."""

    def fields(self, shape: Shape) -> dict[str, Any]:
        """Return the fields of the layer's step beside those of its weights, for samples of this shape."""
        return {}

    @property
    def kernel_shape(self) -> Shape:
        """The shape of the weights in steps."""
        return self.weight.shape

    def scale_shape(self, shape: Shape) -> Shape:
        """Return the shape of the scales that a sample of this shape gets at run time: one for each row."""
        return (*shape[:-1], 1)

    def _check_arrays(self, weight: Any, bias: Any, outputs: int | None, rank: int, axes: str) -> int:
        """Take the weights, where they are given, and the bias; returns the number of outputs."""
        self.weight = np.zeros((0,) * rank, np.float32)
        if weight is not None:
            self.weight = weights_of(weight)
            if self.weight.ndim != rank or 0 in self.weight.shape:
                raise ValueError(f"weight: expected shape {axes} without zeros, got {self.weight.shape}")
            outputs = self.weight.shape[-1]
        assert outputs is not None
        self.bias = np.zeros(outputs, np.float32) if bias is None else finite_float32("bias", bias)
        if self.bias.shape != (outputs,):
            raise ValueError(f"bias: expected shape ({outputs},), got {self.bias.shape}")
        return outputs

    def macs(self, *shapes: Shape) -> int:
        return math.prod(self.infer(*shapes)[:-1]) * self.weight.size

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight, "bias": self.bias}

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return bias_activation_(self.multiply(x[0], self.weight), self.bias, self.activation)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        if self.activation is None or self.activation in KEPT:
            y = self.compute(*x)
            return y, (x[0], y)
        z = bias_activation_(self.multiply(x[0], self.weight), self.bias, None)
        return activation(self.activation, z), (x[0], z)

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the input and what `activation_gradient_` takes."""
        x, z = saved
        gradient = np.ascontiguousarray(gradient)
        bias = activation_gradient_(gradient, z, self.activation)
        own, weight = self.multiply_gradients(x, self.weight, gradient, needs_input)
        return (None if own is None else (own,)), {"weight": weight, "bias": bias}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        return builder.product(x, self)
