"""Steps that join buffers."""

from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import one_of, one_shape


@dataclass(frozen=True, eq=False)
class Add(Step):
    """The sum of two buffers of one shape, element by element, kept to what `activation` lets through: of float32, or
    of codes on grids of their own."""

    kind: ClassVar[str] = "add"
    activation: str | None = None
    requant: str = "float"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 2, ("float32", *CODES_8))
        one_of("activation", self.activation, (None, "relu", "relu6"))
        one_of("requant", self.requant, ("float", "fixed"))
        return shape, (inputs[0].dtype,)


@dataclass(frozen=True, eq=False)
class Concatenate(Step):
    """Buffers joined along an axis of samples: float32, or codes on one grid, which is the output's."""

    kind: ClassVar[str] = "concatenate"
    axis: int

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        first = inputs[0].shape
        return (*first[: self.axis], sum(b.shape[self.axis] for b in inputs), *first[self.axis + 1 :]), (
            inputs[0].dtype,
        )
