"""The step that looks up rows of a table."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, in_range, of_shape, one_of, one_shape, scales


@dataclass(frozen=True, eq=False)
class Embedding(Step):
    """Rows of `weight`, (entries, n), by int32 indices of any shape, as float32.

    The table is float32, or codes of `weight_bits` with `weight_scale` and perhaps `weight_zero_point`, (entries,).
    Indices beyond the table count as its ends.
    """

    kind: ClassVar[str] = "embedding"
    weight: np.ndarray
    weight_scale: np.ndarray | None = None
    weight_zero_point: np.ndarray | None = None
    weight_bits: int = field(default=8, kw_only=True)

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("int32",))
        w = self.weight
        if not isinstance(w, np.ndarray) or w.dtype.name not in ("float32", *CODES_8) or w.ndim != 2 or 0 in w.shape:
            got = f"{w.dtype} {w.shape}" if isinstance(w, np.ndarray) else type(w).__name__
            raise ValueError(f"weight: expected float32, int8 or uint8 of shape (entries, n), got {got}")
        one_of("weight_bits", self.weight_bits, tuple(range(1, 9)))
        if w.dtype.kind == "f":
            for name in ("weight_scale", "weight_zero_point"):
                expect(getattr(self, name) is None, f"{name}: expected None for weights of float32")
            expect(bool(np.isfinite(w).all()), "weight: expected finite values")
            return (*shape, w.shape[1]), ("float32",)
        scales("weight_scale", self.weight_scale, (len(w),))
        if self.weight_bits != 8:
            in_range("weight", w, self.weight_range)
        if self.weight_zero_point is not None:
            of_shape("weight_zero_point", self.weight_zero_point, np.int32, (len(w),))
            in_range("weight_zero_point", self.weight_zero_point, self.weight_range)
        return (*shape, w.shape[1]), ("float32",)

    @property
    def weight_range(self) -> tuple[int, int]:
        """The least and the greatest code that weights may be."""
        lowest = -(1 << (self.weight_bits - 1)) if self.weight.dtype == np.int8 else 0
        return lowest, lowest + (1 << self.weight_bits) - 1

    def computed_fields(self) -> dict[str, Any]:
        """All but how weights are stored."""
        fields = super().computed_fields()
        del fields["weight_bits"]
        return fields

    @property
    def nbytes(self) -> int:
        if self.weight.dtype.kind == "f":
            return super().nbytes
        stored = len(self.weight) * (-(-self.weight.shape[1] * self.weight_bits // 8))
        return super().nbytes - self.weight.nbytes + stored
