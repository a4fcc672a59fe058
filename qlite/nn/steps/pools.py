"""Steps that take windows, or all of an image, together."""

from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import one_of, one_shape


@dataclass(frozen=True, eq=False)
class Mean(Step):
    """The mean over all axes but the last: of float32, or of codes, on a grid of its own."""

    kind: ClassVar[str] = "mean"
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        one_of("requant", self.requant, ("float", "fixed"))
        return shape[-1:], (inputs[0].dtype,)
