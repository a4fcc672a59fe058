"""Steps that join buffers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, one_dtype, one_grid, one_shape

#: Most inputs that are concatenated.
MAX_INPUTS = 8


@dataclass(frozen=True, eq=False)
class Concatenate(Step):
    """Up to eight buffers one after the other along an axis of the sample: floats, or codes on the output's grid."""

    kind: ClassVar[str] = "concatenate"
    grids: ClassVar[str] = "one"
    axis: int

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        expect(1 <= len(inputs) <= MAX_INPUTS, f"inputs: expected 1 to {MAX_INPUTS}, got {len(inputs)}")
        one_shape(inputs[:1], 1, ("float32", *CODES_8))
        first = inputs[0].shape
        if type(self.axis) is not int or not 0 <= self.axis < len(first):
            raise ValueError(f"axis: expected one of {len(first)} of the sample, got {self.axis!r}")
        for b in inputs:
            if len(b.shape) != len(first) or self._others(b.shape) != self._others(first):
                raise ValueError(f"inputs: expected shapes as {first} but for axis {self.axis}, got {b.shape}")
        length = sum(b.shape[self.axis] for b in inputs)
        return (*first[: self.axis], length, *first[self.axis + 1 :]), (one_dtype(inputs),)

    def _others(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[: self.axis] + shape[self.axis + 1 :]

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        one_grid(inputs, output)
