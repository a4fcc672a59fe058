"""Steps that join buffers, or the pixels of one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, one_grid, one_of, one_shape, with_one_scale

#: Most inputs that are concatenated.
MAX_INPUTS = 8
#: What the scale of the input over that of the output must be below.
RATIO_LIMIT = 2.0**20
#: Sums of as many 8-bit codes could leave int32.
MAX_PIXELS = 2**23


def _check_ratios(inputs: Sequence[Buffer], output: Buffer) -> None:
    """Refuse codes whose scale is so much greater than the output's that the rules' factors leave int32."""
    scale, _ = output.affine
    for b in inputs:
        ratio = np.float32(b.affine[0]) / np.float32(scale)
        if not ratio < RATIO_LIMIT:
            raise ValueError(f"inputs: expected scale / output scale below 2**20, got {ratio} for {b.name!r}")


@dataclass(frozen=True, eq=False)
class Add(Step):
    """The sum of two buffers of one shape, element by element; `activation` clamps.

    float32: rounded once. Codes, each buffer on a grid of its own, become codes by one of two rules, with x, z and s a
    code, its zero point and its scale, and y those of the output:

    "float" (LiteRT's default path): ratios ``r = float32(s / s_y)`` and ``n = 20 - floor(log2(greatest r))``, at most
    31, give factors ``f = rint(r * 2**n)`` and the code ``((sum of (x - z) * f) + 2**(n - 1) >> n) + z_y``.

    "fixed" (TensorFlow Lite's reference, TensorFlow Lite Micro): ``(x - z) << 20`` times ``s / (2 * greatest s)``, the
    sum times ``2 * greatest s / (2**20 * s_y)``, both by rule B (see `requantize`).
    """

    kind: ClassVar[str] = "add"
    activation: str | None = None
    requant: str = "float"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 2, ("float32", *CODES_8))
        one_of("activation", self.activation, (None, "relu", "relu6"))
        one_of("requant", self.requant, ("float", "fixed"))
        return shape, (_one_dtype(inputs),)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if output.is_codes:
            with_one_scale(inputs, output)
            _check_ratios(inputs, output)


@dataclass(frozen=True, eq=False)
class Mean(Step):
    """The mean of each channel, the last axis, over all others: (..., channels) to (channels,).

    float32: the sum in float64, the first pixel first, divided by their number n and rounded once. Codes become codes
    on a grid of the output's own by one of two rules, with the names of `Add`:

    "float" (LiteRT's default path), in float32: ``f = s / s_y * (1 / n)`` and the code
    ``rint(sum of x * f + (z_y - float32(n * z) * f))``.

    "fixed" (TensorFlow Lite's reference, TensorFlow Lite Micro): ``sum of (x - z)`` by rule B (see `requantize`), in
    whose multiplier ``q * 2**(e - 31)`` of ``s / s_y`` q becomes ``q * 2**k // n`` and e becomes ``e - k``, with ``k =
    min(floor(log2(n)), 31 + e)``.
    """

    kind: ClassVar[str] = "mean"
    requant: str = "float"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        one_of("requant", self.requant, ("float", "fixed"))
        pixels = math.prod(shape[:-1])
        is_small = pixels < MAX_PIXELS or not inputs[0].is_codes
        expect(is_small, f"inputs: expected fewer than {MAX_PIXELS} pixels of codes, got {pixels}")
        return shape[-1:], (inputs[0].dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if output.is_codes:
            with_one_scale(inputs, output)
            _check_ratios(inputs, output)


@dataclass(frozen=True, eq=False)
class Concatenate(Step):
    """Up to eight buffers one after the other along an axis of the sample: floats, or codes on the output's grid."""

    kind: ClassVar[str] = "concatenate"
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
        return (*first[: self.axis], length, *first[self.axis + 1 :]), (_one_dtype(inputs),)

    def _others(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[: self.axis] + shape[self.axis + 1 :]

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        one_grid(inputs, output)


def _one_dtype(inputs: Sequence[Buffer]) -> str:
    """The one dtype of all inputs."""
    dtype = inputs[0].dtype
    for b in inputs:
        if b.dtype != dtype:
            raise ValueError(f"inputs: expected {dtype} as {inputs[0].name!r}, got {b.name!r} of {b.dtype}")
    return dtype
