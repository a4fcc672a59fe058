"""Steps that move values and compute nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, one_shape


@dataclass(frozen=True, eq=False)
class Reshape(Step):
    """The same values in another shape per sample, in C order."""

    kind: ClassVar[str] = "reshape"
    shape: tuple[int, ...]

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        expect(
            inputs[0].row_scale is None and math.prod(self.shape) == math.prod(shape),
            f"shape: expected as many elements as {inputs[0].name!r} of {shape}, got {self.shape!r}",
        )
        return self.shape, (inputs[0].dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        (x,) = inputs
        got, expected = (output.scale, output.zero_point, output.bits), (x.scale, x.zero_point, x.bits)
        expect(got == expected, f"output: expected scale, zero point and bits {expected}, got {got}")


@dataclass(frozen=True, eq=False)
class Pad(Step):
    """Zeros before and after each axis of a sample: the zero point, or 0.0."""

    kind: ClassVar[str] = "pad"
    padding: tuple[int, ...]

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        before, after = self.padding[::2], self.padding[1::2]
        return tuple(n + b + a for n, b, a in zip(shape, before, after, strict=True)), (inputs[0].dtype,)
