"""Convolutions of float32."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from qlite.nn.program import Buffer
from qlite.nn.steps.checks import expect, finite_vector, one_shape
from qlite.nn.steps.convs import Convolution
from qlite.nn.steps.products import Product


@dataclass(frozen=True, eq=False)
class FloatConvolution(Product):
    """float32 by float32, or by codes: the convolution of a layer that stays as it is, and the weight-only one.

    Codes stand for ``float32(code - zero_point) * scale`` or ``codebook[code] * scale``, rounded once. Weights of
    float32 have neither scale nor zero point, as those of all other products do.
    """

    codebook_dtype = np.float32
    weight_scale: np.ndarray | None = field(default=None, kw_only=True)  # type: ignore[assignment]
    weight_zero_point: np.ndarray | None = field(default=None, kw_only=True)

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        one_shape(inputs, 1, ("float32",))
        shape = self._infer_product(inputs[0])
        if self.bias is not None:
            finite_vector("bias", self.bias, np.float32, shape[-1])
        return shape, ("float32",)

    @property
    def has_float_weight(self) -> bool:
        """Whether the weights are floats rather than codes."""
        return isinstance(self.weight, np.ndarray) and self.weight.dtype == np.float32

    def _check_codes(self, lengths: str) -> None:
        if not self.has_float_weight:
            super()._check_codes(lengths)
            return
        w = self.weight
        if w.ndim != 4 or 0 in w.shape:
            raise ValueError(f"weight: expected float32, int8 or uint8 of shape ({lengths}), got {w.dtype} {w.shape}")
        expect(bool(np.isfinite(w).all()), "weight: expected finite values")

    def _check_parameters(self, shape: tuple[int, ...]) -> None:
        if not self.has_float_weight:
            super()._check_parameters(shape)
            return
        for name in ("weight_scale", "weight_zero_point", "codebook"):
            expect(getattr(self, name) is None, f"{name}: expected None for weights of float32")
        expect(self.weight_bits == 8, f"weight_bits: expected 8 for weights of float32, got {self.weight_bits}")

    def computed_fields(self) -> dict[str, Any]:
        """The weights of a codebook as float32."""
        fields = super().computed_fields()
        if self.codebook is None:
            return fields
        with np.errstate(under="ignore"):
            return fields | {"weight": fields["weight"] * self.weight_scale, "weight_scale": None}

    @property
    def nbytes(self) -> int:
        return super().nbytes + (3 * self.weight.size if self.has_float_weight else 0)


@dataclass(frozen=True, eq=False)
class ConvF32(FloatConvolution, Convolution):
    """A result is one fused multiply-add per element of its window, over height, width and channels in order, from 0;
    padding is zeros; then the bias is added."""

    kind: ClassVar[str] = "conv_f32"
