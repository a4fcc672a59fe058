"""Steps that make one element of all that lie along axes, and the one that divides rows by their lengths."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODE_RANGES, CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, one_grid, one_of, one_shape, small_ratios, with_one_scale

#: Sums of as many 8-bit codes could leave int32.
MAX_SUMMED = 2**23
#: Most squares of differences of 8-bit codes whose sum int32 holds.
MAX_SQUARES = (2**31 - 1) // 255**2


@dataclass(frozen=True, eq=False)
class Reduction(Step):
    """`axes` of the sample, ascending, are taken out of the shape or, with `keepdims`, become 1."""

    axes: tuple[int, ...]
    keepdims: bool

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        axes = self.axes
        is_plain = isinstance(axes, tuple) and all(type(a) is int and 0 <= a < len(shape) for a in axes)
        if not is_plain or list(axes) != sorted(set(axes)):
            raise ValueError(f"axes: expected ascending ones out of the sample's {len(shape)}, got {axes!r}")
        one_of("keepdims", self.keepdims, (False, True))
        kept = (1 if i in axes else n for i, n in enumerate(shape) if self.keepdims or i not in axes)
        return tuple(kept), (inputs[0].dtype,)


@dataclass(frozen=True, eq=False)
class ReduceMax(Reduction):
    """The greatest element. Of float32 NaN comes before all. Codes stay on their grid."""

    kind: ClassVar[str] = "reduce_max"
    grids: ClassVar[str] = "one"

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        one_grid(inputs, output)


@dataclass(frozen=True, eq=False)
class ReduceMin(ReduceMax):
    """The least element. Of float32 NaN comes before all. Codes stay on their grid."""

    kind: ClassVar[str] = "reduce_min"


@dataclass(frozen=True, eq=False)
class Sum(Reduction):
    """The sum.

    float32: in float64, in C order, rounded once. Codes become codes on a grid of the output's own by one of two rules,
    where x, z and s are a code, its zero point and its scale, z_y and s_y those of the output, and n codes are summed:

    "float" (LiteRT's default path), in float32: ``f = s / s_y`` and the code
    ``rint(sum of x * f + (z_y - float32(n * z) * f))``.

    "fixed" (TensorFlow Lite Micro): ``sum of (x - z)`` by rule B (see `requantize`) with the multiplier ``s / s_y``.
    """

    kind: ClassVar[str] = "sum"
    grids: ClassVar[str] = "any"
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        result = super().infer(*inputs)
        one_of("requant", self.requant, ("float", "fixed"))
        count = math.prod(inputs[0].shape[axis] for axis in self.axes)
        is_small = count < MAX_SUMMED or not inputs[0].is_codes
        expect(is_small, f"inputs: expected fewer than {MAX_SUMMED} codes along the axes, got {count}")
        return result

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if output.is_codes:
            small_ratios(inputs, output)


@dataclass(frozen=True, eq=False)
class Mean(Sum):
    """The mean: the sum divided by the number n of elements, before it is rounded.

    Codes by the rules of `Sum`, "fixed" also being that of TensorFlow Lite's reference, but:

    "float": ``f = s / s_y * (1 / n)``.

    "fixed": in the multiplier ``q * 2**(e - 31)`` of ``s / s_y`` q becomes ``q * 2**k // n`` and e becomes ``e - k``,
    with ``k = min(floor(log2(n)), 31 + e)``.
    """

    kind: ClassVar[str] = "mean"


@dataclass(frozen=True, eq=False)
class L2Normalize(Step):
    """``x / sqrt(sum of x**2)`` along the last axis.

    float32: the sum in float64, in order, and ``float32(x * (1 / max(sqrt(sum), 1e-6)))`` in float64. Codes become
    codes of the scale 1/128 with the zero in the middle, by TensorFlow Lite's rule for int8: five steps of Newton's
    method in fixed point make a multiplier of rule B (see `requantize`) of the integer sum of ``(x - z)**2``.
    """

    kind: ClassVar[str] = "l2_normalize"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        (x,) = inputs
        is_small = shape[-1] <= MAX_SQUARES or not x.is_codes
        expect(is_small, f"inputs: expected rows of at most {MAX_SQUARES} codes, got {shape[-1]}")
        return shape, (x.dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if not output.is_codes:
            return
        with_one_scale(inputs, output)
        expected = (1 / 128, CODE_RANGES[output.dtype][0] + 128, 8)
        got = (output.scale, output.zero_point, output.bits)
        expect(got == expected, f"output: expected scale, zero point and bits {expected}, got {got}")
