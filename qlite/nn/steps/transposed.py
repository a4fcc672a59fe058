"""Transposed convolutions, of codes and of float32."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qlite.nn.program import Buffer
from qlite.nn.steps.checks import expect, lengths
from qlite.nn.steps.convs import of_images
from qlite.nn.steps.convs_f32 import FloatConvolution
from qlite.nn.steps.products import IntegerProduct, Product

#: Results of a block, `stride` high and wide, each with taps of its own.
MAX_PHASES = 4096


@dataclass(frozen=True, eq=False)
class TransposedConvolution(Product):
    """By weights (kernel_h, kernel_w, channels, out) on an image (height, width, channels).

    Every pixel (i, j) adds its product with the kernel to the result from (i * s_h - top, j * s_w - left) on. `stride`
    is (height, width); `padding`, (top, bottom, left, right), each less than the kernel, is cut off, and
    `output_padding`, (height, width), is how much longer the result is: ``(in - 1) * stride + kernel - before - after +
    more`` along each axis.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]

    def _infer_product(self, x: Buffer) -> tuple[int, ...]:
        expect(len(x.shape) == 3 and 0 not in x.shape, f"inputs: expected an image, got {x.name!r} of {x.shape}")
        self._check_codes("kernel_h, kernel_w, in, out")
        if self.weight.shape[2] != x.shape[2]:
            raise ValueError(f"weight: expected the {x.shape[2]} channels of {x.name!r}, got shape {self.weight.shape}")
        lengths("stride", self.stride, 2, 1)
        lengths("padding", self.padding, 4, 0)
        lengths("output_padding", self.output_padding, 2, 0)
        phases = self.stride[0] * self.stride[1]
        expect(phases <= MAX_PHASES, f"stride: expected a product of at most {MAX_PHASES}, got {self.stride}")
        shape = tuple(self._length(axis, x.shape[axis]) for axis in (0, 1))
        self._check_fields()
        return (*shape, self.weight.shape[3])

    def _length(self, axis: int, length: int) -> int:
        """The length of the result along an axis."""
        kernel, sides = self.weight.shape[axis], self.padding[2 * axis : 2 * axis + 2]
        expect(max(sides) < kernel, f"padding: expected less than the kernel's {kernel}, got {self.padding}")
        result: int = (length - 1) * self.stride[axis] + kernel - sum(sides) + self.output_padding[axis]
        expect(result > 0, f"padding: expected to leave pixels of the result, got {self.padding}")
        return result


@dataclass(frozen=True, eq=False)
class ConvTranspose(TransposedConvolution, IntegerProduct):
    """The transposed convolution of codes, of an image or of several, as `Conv`; scales that are found at run time are
    those of samples."""

    kind: ClassVar[str] = "conv_transpose"
    scale_per: ClassVar[str] = "sample"

    @property
    def takes_residual(self) -> bool:
        """Whether such a step may have a residual: none may."""
        return False

    def _infer_product(self, x: Buffer) -> tuple[int, ...]:
        return of_images(super()._infer_product, x)

    def _column_sums(self) -> np.ndarray:
        """See `IntegerProduct`: a result has every `stride`-th tap of the kernel."""
        high, wide = self.stride
        taps = [self.weight[u::high, v::wide] for u in range(high) for v in range(wide)]
        return np.max([self._sums_of(own) for own in taps if own.size], axis=0)


@dataclass(frozen=True, eq=False)
class ConvTransposeF32(FloatConvolution, TransposedConvolution):
    """A result is one fused multiply-add per pixel that reaches it, over height, width and channels in order, from 0;
    where the image ends by zeros; then the bias is added."""

    kind: ClassVar[str] = "conv_transpose_f32"
