"""Steps that convolve images by weights."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.ops.window import window


@dataclass(frozen=True, eq=False)
class _Windows(Step):
    """Windows that slide over images (height, width, channels), by weights (kernel_h, kernel_w, in, out)."""

    weight: np.ndarray
    bias: np.ndarray | None
    activation: str | None
    groups: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    weight_bits: int = field(default=8, kw_only=True)

    def _shape(self, x: Buffer) -> tuple[int, ...]:
        height, width, _ = (1, 1, *x.shape)[-3:]
        sides = self.padding[:2], self.padding[2:]
        out = window("", (height, width), self.weight.shape[:2], self.stride, sides, self.dilation)[3]
        return (*(*out, self.weight.shape[3])[3 - len(x.shape) :],)


@dataclass(frozen=True, eq=False)
class Conv(_Windows):
    """Codes by 8-bit weights, as `Gemm`."""

    kind: ClassVar[str] = "conv"
    weight_scale: np.ndarray
    weight_zero_point: np.ndarray | None
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        return self._shape(inputs[0]), (*CODES_8, "float32", "int32")


@dataclass(frozen=True, eq=False)
class ConvF32(_Windows):
    """float32 by weights."""

    kind: ClassVar[str] = "conv_f32"
    weight_scale: np.ndarray | None = None
    weight_zero_point: np.ndarray | None = None

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        return self._shape(inputs[0]), ("float32",)
