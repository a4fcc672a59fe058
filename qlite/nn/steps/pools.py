"""Steps that take windows together: of (height, width, channels), (length, channels) or (channels,)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, lengths, one_grid, one_shape
from qlite.nn.steps.reductions import MAX_SUMMED


@dataclass(frozen=True, eq=False)
class Pool(Step):
    """Windows of `size` (height, width) that are `stride` apart, on an image with `padding` (top, bottom, left, right)
    around it, less than the window on each side. float32, or codes to codes on the same grid."""

    grids: ClassVar[str] = "one"
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        if not 1 <= len(shape) <= 3:
            raise ValueError(f"inputs: expected an image of up to three axes, got {inputs[0].name!r} of {shape}")
        lengths("size", self.size, 2, 1)
        lengths("stride", self.stride, 2, 1)
        lengths("padding", self.padding, 4, 0)
        image = (1,) * (3 - len(shape)) + shape
        out = [self._windows(axis, image[axis]) for axis in (0, 1)]
        expect(
            all(n == 1 for n in out[: 3 - len(shape)]),
            f"size, stride, padding: expected one window along what an image of {shape} lacks, got {tuple(out)}",
        )
        return (*out[3 - len(shape) :], shape[-1]), (inputs[0].dtype,)

    def _windows(self, axis: int, length: int) -> int:
        """The number of windows along an axis."""
        size, (before, after) = self.size[axis], self.padding[2 * axis : 2 * axis + 2]
        if max(before, after) >= size:
            raise ValueError(f"padding: expected less than size {self.size} on each side, got {self.padding}")
        if before + length + after < size:
            raise ValueError(f"size: expected at most {before + length + after}, the padded image, got {size}")
        return (before + length + after - size) // self.stride[axis] + 1

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        one_grid(inputs, output)


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """The greatest value of each channel in each window; padding never is. Of float32 NaN comes before all."""

    kind: ClassVar[str] = "max_pool"


@dataclass(frozen=True, eq=False)
class AveragePool(Pool):
    """The mean of each channel in each window, of what lies inside the image.

    Codes: the mean of the codes as they are, rounded half away from zero, as TensorFlow Lite has it. float32: the sum
    in float64, rows first, divided by the number of pixels and rounded once.
    """

    kind: ClassVar[str] = "average_pool"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        result = super().infer(*inputs)
        (x,) = inputs
        height, width = (1, 1, *x.shape[:-1])[-2:]
        pixels = min(self.size[0], height) * min(self.size[1], width)
        is_small = pixels < MAX_SUMMED or not x.is_codes
        expect(is_small, f"size: expected windows of fewer than {MAX_SUMMED} codes, got {pixels}")
        return result
