"""Steps that join buffers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, one_dtype, one_grid, one_of, one_shape, small_ratios

#: Most inputs that are concatenated.
MAX_INPUTS = 8


@dataclass(frozen=True, eq=False)
class Add(Step):
    """The sum of two buffers of one shape, element by element; `activation` clamps.

    float32: rounded once. Codes, each buffer on a grid of its own, become codes by one of two rules, with x, z and s a
    code, its zero point and its scale, and y those of the output:

    "float" (LiteRT's default path): ratios ``r = float32(s / s_y)`` and ``n = 20 - floor(log2(greatest r))``, at most
    31, give factors ``f = rint(r * 2**n)`` and the code ``((sum of (x - z) * f) + 2**(n - 1) >> n) + z_y``.

    "fixed" (TensorFlow Lite's reference, TensorFlow Lite Micro): ``(x - z) << 20`` times ``s / (2 * greatest s)``, the
    sum times ``2 * greatest s / (2**20 * s_y)``, both by rule B (see `requantize`).

    An activation clamps codes as that of `linear` does by the same rule.
    """

    kind: ClassVar[str] = "add"
    grids: ClassVar[str] = "any"
    activation: str | None = None
    requant: str = "float"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 2, ("float32", *CODES_8))
        one_of("activation", self.activation, (None, "relu", "relu6"))
        one_of("requant", self.requant, ("float", "fixed"))
        return shape, (one_dtype(inputs),)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if output.is_codes:
            small_ratios(inputs, output)


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
