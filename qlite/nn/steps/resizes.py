"""Steps that resize images (height, width, channels)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import expect, lengths, one_grid, one_of, one_shape


@dataclass(frozen=True, eq=False)
class Resize(Step):
    """Images of another height and width, `size`.

    With ``scale = in / out``, or ``(in - 1) / (out - 1)`` where `align_corners` and out > 1, place i of an axis lies at
    ``p = i * scale`` of the input, or at ``(i + 0.5) * scale - 0.5`` with `half_pixel_centers`.
    """

    grids: ClassVar[str] = "one"
    size: tuple[int, ...]
    align_corners: bool
    half_pixel_centers: bool

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        expect(len(shape) == 3, f"inputs: expected images of three axes, got {inputs[0].name!r} of {shape}")
        lengths("size", self.size, 2, 1)
        one_of("align_corners", self.align_corners, (False, True))
        allowed = (False,) if self.align_corners else (False, True)
        one_of("half_pixel_centers", self.half_pixel_centers, allowed)
        return (*self.size, shape[-1]), (inputs[0].dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        one_grid(inputs, output)


@dataclass(frozen=True, eq=False)
class ResizeNearest(Resize):
    """The pixel at ``floor(p)``, without half a pixel taken off; rounded half away from zero with `align_corners`;
    float32 arithmetic."""

    kind: ClassVar[str] = "resize_nearest"


@dataclass(frozen=True, eq=False)
class ResizeBilinear(Resize):
    """Between the pixels at ``j = floor(p)`` and ``j + 1`` of each axis, p and these within the image, at ``w = p - j``
    of the way.

    float32: ``a + (b - a) * w``, horizontally and then vertically, each operation rounded, as p is. Codes, whose grid
    the output has, are summed exactly and rounded once, by one of two rules:

    "float" (LiteRT's default path): ``w = rint((p - j) * 2**11)``, the sum over 2**22 rounded half up.

    "fixed" (TensorFlow Lite's reference, TensorFlow Lite Micro): scale and p are integers of 10 fraction bits, the
    sum of codes as they are over 2**20 is rounded half away from zero.
    """

    kind: ClassVar[str] = "resize_bilinear"
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        one_of("requant", self.requant, ("float", "fixed"))
        return super().infer(*inputs)
