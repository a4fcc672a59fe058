"""Steps between floats and codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, finite_vector, one_shape, scales


@dataclass(frozen=True, eq=False)
class Normalize(Step):
    """``(x - mean) / scale``, float32 to float32, with a mean and a scale for each feature, the last axis."""

    kind: ClassVar[str] = "normalize"
    mean: np.ndarray
    scale: np.ndarray

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32",))
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        finite_vector("mean", self.mean, np.float32, shape[-1])
        scales("scale", self.scale, shape[-1:])
        return shape, ("float32",)


@dataclass(frozen=True, eq=False)
class Quantize(Step):
    """float32 to codes at the output's scale and zero point."""

    kind: ClassVar[str] = "quantize"
    grids: ClassVar[str] = "any"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        return one_shape(inputs, 1, ("float32",)), CODES_8

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        expect(output.scale is not None, "output: expected one scale for all samples, got one for each row")


@dataclass(frozen=True, eq=False)
class QuantizeDynamic(Step):
    """float32 to uint8 at a scale and zero point of each row's or each sample's own, which are written to the output's
    row buffers."""

    kind: ClassVar[str] = "quantize_dynamic"
    grids: ClassVar[str] = "any"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32",))
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        return shape, ("uint8",)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        expect(output.row_scale is not None, "output: expected a scale for each row, got one for all samples")


@dataclass(frozen=True, eq=False)
class Dequantize(Step):
    """Codes to float32."""

    kind: ClassVar[str] = "dequantize"
    grids: ClassVar[str] = "any"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, CODES_8)
        expect(inputs[0].scale is not None, "inputs: expected one scale for all samples, got one for each row")
        return shape, ("float32",)
