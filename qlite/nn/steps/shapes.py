"""Steps that move values and compute nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, lengths, one_grid, one_of, one_shape


@dataclass(frozen=True, eq=False)
class Reshape(Step):
    """The same values in another shape per sample, in C order."""

    kind: ClassVar[str] = "reshape"
    grids: ClassVar[str] = "one"
    shape: tuple[int, ...]

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        expect(
            inputs[0].row_scale is None and math.prod(self.shape) == math.prod(shape),
            f"shape: expected as many elements as {inputs[0].name!r} of {shape}, got {self.shape!r}",
        )
        return self.shape, (inputs[0].dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        one_grid(inputs, output)


@dataclass(frozen=True, eq=False)
class Pad(Step):
    """Zeros before and after along each axis of the sample, of which `padding` has two lengths each; the zero point
    in codes, whose grid the output has."""

    kind: ClassVar[str] = "pad"
    grids: ClassVar[str] = "one"
    padding: tuple[int, ...]

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        lengths("padding", self.padding, 2 * len(shape), 0)
        before, after = self.padding[::2], self.padding[1::2]
        return tuple(map(sum, zip(before, shape, after, strict=True))), (inputs[0].dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        one_grid(inputs, output)


@dataclass(frozen=True, eq=False)
class MirrorPad(Step):
    """What lies inside before and after along each axis of the sample, as in a mirror: "reflect" leaves out the place
    at the end itself, "symmetric" has it as well. `padding` has two lengths for each axis."""

    kind: ClassVar[str] = "mirror_pad"
    grids: ClassVar[str] = "one"
    padding: tuple[int, ...]
    mode: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        lengths("padding", self.padding, 2 * len(shape), 0)
        one_of("mode", self.mode, ("reflect", "symmetric"))
        before, after = self.padding[::2], self.padding[1::2]
        most = tuple(n if self.mode == "symmetric" else n - 1 for n in shape)
        is_inside = all(max(sides) <= n for *sides, n in zip(before, after, most, strict=True))
        expect(is_inside, f"padding: expected at most {most}, as {self.mode!r} has it, got {self.padding}")
        return tuple(map(sum, zip(before, shape, after, strict=True))), (inputs[0].dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        one_grid(inputs, output)
