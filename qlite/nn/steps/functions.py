"""Steps that apply functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qlite.nn.program import CODE_RANGES, CODES_8, Buffer, Step
from qlite.nn.steps.checks import RATIO_LIMIT, expect, finite_vector, one_dtype, one_of, one_shape, scales, small_ratios
from qlite.ops.activations import ACTIVATIONS, ELEMENTWISE

#: Most classes that softmaxes of integers take, by their rule: each adds at most 2**19, or 2**16 - 1, to an int32.
MAX_CLASSES = {"fixed": 4095, "aarch64": 32768}


def _slope(value: Any) -> None:
    expect(isinstance(value, float) and 0 < value <= 1, f"slope: expected a number over 0, at most 1, got {value!r}")


@dataclass(frozen=True, eq=False)
class Activate(Step):
    """An activation of float32; softmax over the last axis. `slope` is that of leaky_relu."""

    kind: ClassVar[str] = "activate"
    function: str
    slope: float

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32",))
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        one_of("function", self.function, ACTIVATIONS)
        _slope(self.slope)
        return shape, ("float32",)


@dataclass(frozen=True, eq=False)
class Lookup(Step):
    """Codes to codes by a table of 256: see `lookup_table`.

    `function` and `slope` say what it tabulates, so that it can be made anew for other grids; None: only the table.
    "identity" requantizes: see `activation_table`.
    """

    kind: ClassVar[str] = "lookup"
    table: np.ndarray
    function: str | None
    slope: float

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, CODES_8)
        expect(inputs[0].scale is not None, "inputs: expected one scale for all samples, got one for each row")
        t = self.table
        if not isinstance(t, np.ndarray) or t.dtype not in (np.int8, np.uint8) or t.shape != (256,):
            got = f"{t.dtype} {t.shape}" if isinstance(t, np.ndarray) else type(t).__name__
            raise ValueError(f"table: expected int8 or uint8 (256,), got {got}")
        if self.function is not None:
            one_of("function", self.function, ("identity", *ELEMENTWISE))
        _slope(self.slope)
        return shape, (t.dtype.name,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        expect(output.scale is not None, "output: expected one scale for all samples, got one for each row")
        lowest, highest = output.code_range
        least, most = int(self.table.min()), int(self.table.max())
        expect(lowest <= least <= most <= highest, f"table: expected {lowest} to {highest}, got {least} to {most}")


@dataclass(frozen=True, eq=False)
class Prelu(Step):
    """``x if x >= 0 else x * slope``, with a slope for each channel, of the last axis.

    Of float32 `slope` is float32. Of codes it is int8 on a grid of its own, and both sides of the bend become codes as
    integers do by `requantize` with "fixed", whatever `requant` is: that says whether the real multipliers are float32
    ("float") or float64 ("fixed").
    """

    kind: ClassVar[str] = "prelu"
    grids: ClassVar[str] = "any"
    slope: np.ndarray
    slope_scale: float | None
    slope_zero_point: int | None
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        one_of("requant", self.requant, ("float", "fixed"))
        is_codes, scale, zero_point = inputs[0].is_codes, self.slope_scale, self.slope_zero_point
        finite_vector("slope", self.slope, np.int8 if is_codes else np.float32, shape[-1])
        if not is_codes:
            expect(scale is None and zero_point is None, "slope_scale: expected None for float32, as slope_zero_point")
            return shape, (one_dtype(inputs),)
        expect(isinstance(scale, float), f"slope_scale: expected a number, got {scale!r}")
        scales("slope_scale", np.array([scale], np.float32), (1,))
        is_code = type(zero_point) is int and -128 <= zero_point <= 127
        expect(is_code, f"slope_zero_point: expected an integer of -128 to 127, got {zero_point!r}")
        return shape, (one_dtype(inputs),)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if not output.is_codes or self.slope_scale is None:
            return
        small_ratios(inputs, output)
        (scale, _), (output_scale, _) = inputs[0].affine, output.affine
        with np.errstate(over="ignore", under="ignore"):
            ratio = float(np.float32(scale) * np.float32(self.slope_scale) / np.float32(output_scale))
        ratio = max(ratio, scale * self.slope_scale / output_scale)
        expect(ratio < RATIO_LIMIT, f"slope_scale: expected it times scale / output scale below 2**20, got {ratio}")


@dataclass(frozen=True, eq=False)
class SoftmaxX8(Step):
    """Softmax of codes over the last axis, whose grid the result has, by the rules "float" and "fixed" of `softmax`.

    "aarch64", LiteRT's default path there: exponentials as for "float", rounded to 65535ths half away from zero, and
    each times ``float32(256 / sum)`` by rule B (see `requantize`).
    """

    kind: ClassVar[str] = "softmax"
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, CODES_8)
        (x,) = inputs
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        expect(x.scale is not None, "inputs: expected one scale for all samples, got one for each row")
        one_of("requant", self.requant, ("float", "aarch64", "fixed"))
        most = MAX_CLASSES.get(self.requant, shape[-1])
        expect(shape[-1] <= most, f"inputs: expected at most {most} classes for {self.requant!r}, got {shape[-1]}")
        if self.requant == "fixed":
            expect(x.affine[0] > 2.0**-26, f"inputs: expected a scale over 2**-26 for 'fixed', got {x.scale}")
        return shape, (x.dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        expected = (1 / 256, CODE_RANGES[output.dtype][0], 8)
        got = (output.scale, output.zero_point, output.bits)
        expect(got == expected, f"output: expected scale, zero point and bits {expected}, got {got}")


@dataclass(frozen=True, eq=False)
class LayerNorm(Step):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` of rows of float32, along the last axis.

    Mean and variance are float64, sums of eight partial sums; the quotient is rounded, then the product and the sum.
    """

    kind: ClassVar[str] = "layer_norm"
    grids: ClassVar[str] = "any"
    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32",))
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        finite_vector("gamma", self.gamma, np.float32, shape[-1])
        finite_vector("beta", self.beta, np.float32, shape[-1])
        is_small = isinstance(self.epsilon, float) and 0 < self.epsilon < 1
        expect(is_small, f"epsilon: expected a number over 0 and below 1, got {self.epsilon!r}")
        return shape, ("float32",)
