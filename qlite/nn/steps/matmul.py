"""The product of two values that are both computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, one_dtype, one_of, with_one_scale

#: Deepest product of codes whose sums stay in int32, whatever they are.
DEEPEST = (2**31 - 1) // 255**2
#: What the scales of both inputs over that of the result must be below.
MULTIPLIER_LIMIT = 2.0**29


def product_shape(
    a: tuple[int, ...], b: tuple[int, ...], transpose_b: bool, heads: int | None = None
) -> tuple[int, ...]:
    """Return the shape of the product of samples of these shapes: see `MatMul`."""
    if heads is None:
        if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2]:
            raise ValueError(f"expected matrices with equal leading axes, got {a} and {b}")
        deep, wide = (b[-1], b[-2]) if transpose_b else (b[-2], b[-1])
        if a[-1] != deep:
            raise ValueError(f"expected {a[-1]} as the depth of both, got {a} and {b}")
        return (*a[:-1], wide)
    lengths = (*a[1:], *b[1:]) if len(a) == 2 else b[1:]
    if len(b) != 2 or len(a) not in (2, 3) or any(n % heads for n in lengths) or (len(a) == 3 and a[0] != heads):
        raise ValueError(f"expected {heads} heads side by side in the second, and in or before the first, got {a}, {b}")
    columns = b[1] // heads
    deep, wide = (columns, b[0]) if transpose_b else (b[0], columns)
    if (a[1] // heads if len(a) == 2 else a[2]) != deep:
        raise ValueError(f"expected one depth of both in each of {heads} heads, got {a} and {b}")
    return (heads, a[0], wide) if len(a) == 2 else (a[1], heads * wide)


@dataclass(frozen=True, eq=False)
class MatMul(Step):
    """``a @ b``, or ``a @ b.T``, of matrices for each of the leading axes, which are equal.

    float32: one fused multiply-add per k, k ascending, from 0. Codes, each buffer on a grid of its own: exact sums of
    ``(a - z_a) * (b - z_b)`` at the scale ``s_a * s_b``, which become codes by rule "float" or "fixed" (see
    `requantize`), or by "fixed32": "fixed" with that product rounded to float32, as LiteRT does where z_b is not 0.

    With `heads` (0: none) a matrix (rows, heads * n) stands for so many (rows, n) side by side. b is one; either a is
    one and the result is (heads, m, n), or a is (heads, m, k) and the result is one.
    """

    kind: ClassVar[str] = "matmul"
    grids: ClassVar[str] = "any"
    transpose_b: bool = False
    heads: int = 0
    requant: str = "float"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        expect(len(inputs) == 2, f"inputs: expected 2, got {len(inputs)}")
        for b in inputs:
            expect(b.dtype in ("float32", *CODES_8), f"inputs: expected float32 or codes, got {b.name!r} of {b.dtype}")
        one_of("transpose_b", self.transpose_b, (False, True))
        expect(type(self.heads) is int and self.heads >= 0, f"heads: expected at least 0, got {self.heads!r}")
        one_of("requant", self.requant, ("float", "fixed", "fixed32"))
        try:
            shape = product_shape(inputs[0].shape, inputs[1].shape, bool(self.transpose_b), self.heads or None)
        except ValueError as error:
            raise ValueError(f"inputs: {error}") from None
        return shape, (one_dtype(inputs),)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        if not output.is_codes:
            return
        with_one_scale(inputs, output)
        a, b = inputs
        depth = b.shape[-1 if self.transpose_b else -2] // (self.heads or 1 if self.transpose_b else 1)
        if depth > DEEPEST:
            raise OverflowError(f"expected sums that int32 holds for all inputs, got a depth of {depth}")
        ratio = a.affine[0] * b.affine[0] / output.affine[0]
        expect(ratio < MULTIPLIER_LIMIT, f"inputs: expected scales over the output's below 2**29, got {ratio}")
