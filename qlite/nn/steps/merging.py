"""Steps that join buffers."""

from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import Buffer, Step
from qlite.nn.steps.checks import one_shape


@dataclass(frozen=True, eq=False)
class Add(Step):
    """The sum of two float32 buffers of one shape, element by element."""

    kind: ClassVar[str] = "add"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        return one_shape(inputs, 2, ("float32",)), ("float32",)
