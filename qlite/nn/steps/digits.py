"""Steps around products of 16-bit codes, which are two of 8-bit ones: of their high and low digits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qlite.nn.program import LARGEST_SCALE, SMALLEST_SCALE, Buffer, Step
from qlite.nn.steps.checks import expect, finite_vector, one_of, one_shape, scales

#: What a high digit counts, in steps of the scale.
BASE = 256
#: The greatest 16-bit code that has two digits of -128 to 127.
GREATEST_CODE = 127 * BASE + 127
#: Axes of what becomes digits, which have one more.
MAX_AXES = 3


@dataclass(frozen=True, eq=False)
class QuantizeDigits(Step):
    """float32 to int16 codes, symmetric, as two digits of 8 bits: first all high ones, then all low ones.

    ``code = clip(rint(x / scale), -32639, 32639) = 256 * high + low``, where digits are -128 to 127, as uint8 with the
    zero point 128; the output's scale is that of the codes.
    """

    kind: ClassVar[str] = "quantize_digits"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32",))
        expect(1 <= len(shape) <= MAX_AXES, f"inputs: expected one to {MAX_AXES} axes, got shape {shape}")
        return (2, *shape), ("uint8",)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        is_right = output.scale is not None and (output.zero_point, output.bits) == (128, 8)
        expect(is_right, "output: expected 8 bits, one scale for all samples and the zero point 128")


@dataclass(frozen=True, eq=False)
class JoinDigits(Step):
    """Sums of products of both digits, int32, to float32.

    ``activation(float32((256 * high + low) * (input_scale * weight_scale) + bias))``: the sum is exact, the rest in
    float64, each operation rounded, and then once to float32.
    """

    kind: ClassVar[str] = "join_digits"
    input_scale: float
    weight_scale: np.ndarray
    bias: np.ndarray | None
    activation: str | None

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("int32",))
        expect(len(shape) > 1 and shape[0] == 2, f"inputs: expected sums of two digits, got shape {shape}")
        if not SMALLEST_SCALE <= self.input_scale <= LARGEST_SCALE:
            raise ValueError(f"input_scale: expected a normal, positive float32, got {self.input_scale}")
        scales("weight_scale", self.weight_scale, shape[-1:])
        if self.bias is not None:
            finite_vector("bias", self.bias, np.float32, shape[-1])
        one_of("activation", self.activation, (None, "relu", "relu6"))
        return shape[1:], ("float32",)
