"""Steps that make one element of two, and the constants that they may read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import (
    broadcast_shape,
    expect,
    in_range,
    one_dtype,
    one_of,
    small_product,
    small_ratios,
    with_one_scale,
)


@dataclass(frozen=True, eq=False)
class Binary(Step):
    """A function of two buffers, element by element, whose shapes broadcast as NumPy's do; `activation` clamps.

    float32: rounded once. Codes, each buffer on a grid of its own, become codes by one of the `rules`. An activation
    clamps codes as that of `linear` does by the same rule.
    """

    grids: ClassVar[str] = "any"
    rules: ClassVar[tuple[str, ...]] = ("float", "fixed")
    activation: str | None = None
    requant: str = "float"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = broadcast_shape(inputs, ("float32", *CODES_8))
        one_of("activation", self.activation, (None, "relu", "relu6"))
        one_of("requant", self.requant, self.rules)
        return shape, (one_dtype(inputs),)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if output.is_codes:
            small_ratios(inputs, output)


class Add(Binary):
    """The sum of two buffers.

    Of codes, with x, z and s a code, its zero point and its scale, and y those of the output:

    "float" (LiteRT's default path): ratios ``r = float32(s / s_y)`` and ``n = 20 - floor(log2(greatest r))``, at most
    31, give factors ``f = rint(r * 2**n)`` and the code ``((sum of (x - z) * f) + 2**(n - 1) >> n) + z_y``.

    "fixed" (TensorFlow Lite's reference, TensorFlow Lite Micro): ``(x - z) << 20`` times ``s / (2 * greatest s)``, the
    sum times ``2 * greatest s / (2**20 * s_y)``, both by rule B (see `requantize`).
    """

    kind: ClassVar[str] = "add"


class Subtract(Binary):
    """The difference of two buffers, by the rules of `Add`: of the second one the factor, or what rule B makes of a
    code, is negated.
    """

    kind: ClassVar[str] = "subtract"


class Multiply(Binary):
    """The product of two buffers.

    Of codes, with x, z and s a code, its zero point and its scale, a and b the inputs and y the output, the product
    ``p = (x_a - z_a) * (x_b - z_b)`` becomes a code by rule A with ``f = float32(float32(s_a * s_b) / s_y)`` ("float",
    LiteRT's default path on x86-64), as ``floor(p * f + 1/2) + z_y`` where nothing is rounded before ("aarch64", its
    default path on AArch64), or by rule B with ``s_a * s_b / s_y`` ("fixed", TensorFlow Lite Micro); see `requantize`.
    """

    kind: ClassVar[str] = "multiply"
    rules: ClassVar[tuple[str, ...]] = ("float", "aarch64", "fixed")

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if output.is_codes:
            small_product(inputs, output)


@dataclass(frozen=True, eq=False)
class Constant(Step):
    """A value that is the same for every sample: floats, or codes of the output's dtype and grid. It reads nothing."""

    kind: ClassVar[str] = "constant"
    value: np.ndarray

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        expect(not inputs, f"inputs: expected none, got {len(inputs)}")
        is_array = isinstance(self.value, np.ndarray)
        dtype = self.value.dtype.name if is_array else type(self.value).__name__
        one_of("value", dtype, ("float32", *CODES_8))
        if dtype == "float32" and not np.isfinite(self.value).all():
            raise ValueError(f"value: expected finite values, got {self.value[~np.isfinite(self.value)][0]}")
        return self.value.shape, (dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if output.is_codes:
            with_one_scale(inputs, output)
            in_range("value", self.value, output.code_range)
