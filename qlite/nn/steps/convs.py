"""Convolutions: products whose rows are windows of an image."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from qlite.nn.program import Buffer
from qlite.nn.steps.checks import expect, lengths
from qlite.nn.steps.products import IntegerProduct, Product


@dataclass(frozen=True, eq=False)
class Convolution(Product):
    """By weights (kernel_h, kernel_w, channels / groups, out) on an image (height, width, channels).

    (length, channels) is an image of height 1, (channels,) one of a single pixel. Channels and outputs fall into
    `groups`; with one channel in each this is a depthwise convolution. `stride` and `dilation` are (height, width),
    `padding` (top, bottom, left, right), of zeros.
    """

    groups: int
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]

    def _infer_product(self, x: Buffer) -> tuple[int, ...]:
        expect(1 <= len(x.shape) <= 3, f"inputs: expected one to three axes, got {x.name!r} of {x.shape}")
        self._check_codes("kernel_h, kernel_w, in, out")
        return self._infer_windows(x)

    def _infer_windows(self, x: Buffer) -> tuple[int, ...]:
        """The shape of the output, for an image and weights of right ranks."""
        *lead, channels = x.shape
        *_, fan_in, out = self.weight.shape
        expect(
            type(self.groups) is int and self.groups >= 1,
            f"groups: expected an integer of at least 1, got {self.groups!r}",
        )
        if fan_in * self.groups != channels or out % self.groups:
            raise ValueError(
                f"weight: expected the {channels} channels of {x.name!r} and {out} outputs in {self.groups} groups, "
                f"got shape {self.weight.shape}"
            )
        lengths("stride", self.stride, 2, 1)
        lengths("dilation", self.dilation, 2, 1)
        lengths("padding", self.padding, 4, 0)
        absent = 2 - len(lead)
        image = (1,) * absent + tuple(lead)
        places = tuple(self._places(axis, image[axis]) for axis in (0, 1))
        if any(n != 1 for n in places[:absent]):
            raise ValueError(f"padding: expected one window along what {x.name!r} of {x.shape} lacks, got {places}")
        self._check_fields()
        return (*places[absent:], out)

    def _places(self, axis: int, length: int) -> int:
        """How many windows there are along an axis."""
        before, after = self.padding[2 * axis : 2 * axis + 2]
        span, padded = (self.weight.shape[axis] - 1) * self.dilation[axis] + 1, before + length + after
        expect(span <= padded, f"weight: expected windows within {padded}, the padded image, got {span}")
        return (padded - span) // self.stride[axis] + 1


def of_images(infer: Callable[[Buffer], tuple[int, ...]], x: Buffer) -> tuple[int, ...]:
    """The shape of an output whose samples hold several images, along a first axis of four, or are one."""
    if len(x.shape) < 4:
        return infer(x)
    expect(x.row_scale is None, "inputs: expected one scale for all samples of several images, got one for each")
    return (x.shape[0], *infer(replace(x, shape=x.shape[1:])))


@dataclass(frozen=True, eq=False)
class Conv(Convolution, IntegerProduct):
    """The integer convolution of an image, or of several, with an axis before their three; padding is the zero point,
    scales that are found at run time are those of samples."""

    kind: ClassVar[str] = "conv"
    scale_per: ClassVar[str] = "sample"

    @property
    def takes_residual(self) -> bool:
        """Whether such a step may have a residual: depthwise ones may not."""
        return self.groups == 1 or self.weight.shape[2:3] != (1,)

    def _infer_product(self, x: Buffer) -> tuple[int, ...]:
        return of_images(super()._infer_product, x)
