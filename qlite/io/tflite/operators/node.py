"""An operator as functions see it that make layers of it, and the table of these functions.

Shapes in a file have the axis of samples in front; those of layers do not.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from qlite.io.tflite.constants import real_values
from qlite.io.tflite.graph import Operator, Tensor
from qlite.io.tflite.schema import FUSED, PADDING
from qlite.nn.layers.activation import Activation
from qlite.nn.layers.binary import Add, Subtract
from qlite.nn.layers.constant import Constant
from qlite.nn.layers.layer import Layer, Shape

#: Layers one behind the other. The branches of a tuple each read what came before it, and the layer behind it reads
#: what they give; an empty one gives what it reads.
Chain: TypeAlias = Sequence["Layer | tuple[Chain, ...]"]


#: The activation ``min(max(x, -1), 1)``.
UNIT_CLAMP = "relu_n1_to_1"


class Node(NamedTuple):
    """An operator on its tensors."""

    operator: Operator
    tensors: Sequence[Tensor]

    def option(self, name: str) -> Any:
        return self.operator.options[name]

    def choice(self, name: str, names: Sequence[str]) -> str:
        """An option that is a number of one of these names."""
        number = self.option(name)
        if not 0 <= number < len(names):
            raise ValueError(f"{name}: expected 0 to {len(names) - 1}, got {number}")
        return names[number]

    @property
    def activation(self) -> str | None:
        """The activation that the operator applies to its result, but for the one that `clamp` is."""
        number = self.operator.options.get("fused_activation_function", 0)
        name = FUSED[number] if 0 <= number < len(FUSED) else number
        if name not in (None, "relu", "relu6", "tanh", UNIT_CLAMP):
            raise ValueError(f"expected no activation, or relu, relu6, relu_n1_to_1 or tanh, got {name}")
        return None if name == UNIT_CLAMP else name

    def clamp(self) -> Chain:
        """The layers of an activation that no layer has."""
        is_there = self.operator.options.get("fused_activation_function") == FUSED.index(UNIT_CLAMP)
        return unit_clamp() if is_there else []

    def behind(self) -> list[Layer]:
        """The layer of that activation, for operators whose own layer has none."""
        return [] if self.activation is None else [Activation(self.activation)]

    def has(self, i: int) -> bool:
        """Whether the operator has an i-th input."""
        return i < len(self.operator.inputs) and self.operator.inputs[i] >= 0

    def tensor(self, i: int) -> Tensor:
        if not self.has(i):
            raise ValueError(f"expected at least {i + 1} inputs, got {len(self.operator.inputs)}")
        return self.tensors[self.operator.inputs[i]]

    def constant(self, i: int) -> np.ndarray:
        """The i-th input as it is stored."""
        data = self.tensor(i).data
        if data is None:
            raise ValueError(f"expected a constant for input {i}, got {self.tensor(i).name!r}, which is computed")
        return data

    def integers(self, i: int) -> list[int]:
        """The i-th input as a list of integers."""
        return [int(n) for n in self.constant(i).ravel()]

    def integer(self, i: int) -> int:
        """The i-th input as an integer."""
        numbers = self.integers(i)
        if len(numbers) != 1:
            raise ValueError(f"expected one number for input {i}, got {numbers[:8]}")
        return numbers[0]

    def real(self, i: int) -> np.ndarray:
        """The i-th input as float32."""
        self.constant(i)
        return real_values(self.tensor(i))

    def bias(self, i: int) -> np.ndarray | None:
        return self.real(i).ravel() if self.has(i) else None

    def shape(self, i: int = 0) -> Shape:
        """The shape of a sample of the i-th input."""
        return self.tensor(i).shape[1:]

    @property
    def output_shape(self) -> Shape:
        return self.tensors[self.operator.outputs[0]].shape[1:]

    def axis(self, number: int, *, of: int = 0) -> int:
        """An axis of an input as one of a sample."""
        rank = len(self.tensor(of).shape)
        axis = number % rank if -rank <= number < rank else 0
        if axis == 0:
            raise ValueError(f"expected an axis of samples of shape {self.shape(of)}, 1 to {rank - 1}, got {number}")
        return axis - 1

    @property
    def window(self) -> dict[str, Any]:
        """Stride and padding."""
        stride = self.option("stride_h"), self.option("stride_w")
        return {"stride": stride, "padding": self.choice("padding", PADDING)}


class Conversion(NamedTuple):
    """What becomes of an operator.

    Attributes
    ----------
    reads : tuple of int or None
        The inputs that the first layer reads, None for all of them.
    layers : callable
        Gives, for each result, the layers that compute it.
    """

    reads: tuple[int, ...] | None
    layers: Callable[[Node], list[Chain]]


#: By the operator's name.
CONVERSIONS: dict[str, Conversion] = {}


def converts(
    *names: str, reads: tuple[int, ...] | None = (0,)
) -> Callable[[Callable[[Node], Chain]], Callable[[Node], Chain]]:
    """Register a function that gives the layers of an operator's only result, before its activation."""

    def register(function: Callable[[Node], Chain]) -> Callable[[Node], Chain]:
        CONVERSIONS.update(dict.fromkeys(names, Conversion(reads, lambda node: [[*function(node), *node.clamp()]])))
        return function

    return register


def number(value: float) -> Chain:
    """The layer of a number."""
    return [Constant(np.float32(value))]


def unit_clamp() -> Chain:
    """``min(max(x, -1), 1) = 1 - relu(2 - relu(x + 1))``."""
    return [([], number(1)), Add("relu"), (number(2), []), Subtract("relu"), (number(1), []), Subtract()]
