"""What is added to the sums of products of codes, before they become codes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qlite.nn.program import Buffer
from qlite.nn.steps.checks import expect

#: Bits of a factor: 255 times it fits int32.
FACTOR_BITS = 23
MOST_SHIFT = 31


@dataclass(frozen=True, eq=False)
class Summed:
    """What a product has besides where it reads a second buffer, its residual: uint8 codes of its result's shape.

    ``(r * f >> n) - (z * f >> n)`` is added to the sums of each output, r being a code, z and s the residual's zero
    point and scale. The integers f, of 23 bits, and n, at most 31, stand for the ratio ``f / 2**n`` of a step of the
    residual to one of the sums, ``float32(s / float32(input scale * weight_scale))``.

    `residual_place` says which input the residual would be, 0 or 1, if the sum were a step of its own, and the
    `product` fields are the name and the grid of the codes that would be the other one: other targets have that.
    """

    residual_place: int | None = field(default=None, kw_only=True)
    product_name: str | None = field(default=None, kw_only=True)
    product_scale: float | None = field(default=None, kw_only=True)
    product_zero_point: int | None = field(default=None, kw_only=True)

    def check_residual(self, others: Sequence[Buffer], shape: tuple[int, ...]) -> None:
        """Refuse inputs beside the first that are no residual of a result, and fields that do not belong together."""
        if not others:
            for name in ("residual_place", "product_name", "product_scale", "product_zero_point"):
                expect(getattr(self, name) is None, f"{name}: expected None without a residual")
            return
        expect(len(others) == 1, f"inputs: expected up to 2, got {1 + len(others)}")
        (residual,) = others
        is_code = residual.dtype == "uint8" and residual.scale is not None
        got = f"got {residual.name!r}, {residual.dtype} of {residual.shape}"
        expect(is_code and residual.shape == shape, f"inputs: expected a residual of uint8 of shape {shape}, {got}")
        expect(self.residual_place in (0, 1), f"residual_place: expected 0 or 1, got {self.residual_place!r}")
        is_named = isinstance(self.product_name, str) and isinstance(self.product_scale, float)
        is_whole = is_named and type(self.product_zero_point) is int
        expect(is_whole, "product_name: expected a name, a scale and a zero point")

    def residual_reach(self, x: Buffer, residual: Buffer, weight_scale: np.ndarray) -> np.ndarray:
        """Return how much the residual adds to the sums of each output at most, int64."""
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            ratio = np.float32(residual.affine[0]) / (np.float32(x.affine[0]) * weight_scale)
        if not (ratio < 1 << FACTOR_BITS).all():
            raise OverflowError(f"expected a residual of less than 2**23 sums to a step, got up to {ratio.max()}")
        shift = np.minimum(FACTOR_BITS - np.frexp(ratio)[1], MOST_SHIFT)
        factor = np.rint(np.ldexp(ratio.astype(np.float64), shift)).astype(np.int64)
        below, all_of_it = residual.affine[1] * factor >> shift, 255 * factor >> shift
        return np.maximum(below, all_of_it - below)
