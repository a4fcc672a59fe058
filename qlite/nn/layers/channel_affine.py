"""A factor and a summand for each channel: what becomes of batch norms that no weights can take in."""

from typing import Any, ClassVar

import numpy as np

from qlite.nn.layers.layer import Shape
from qlite.nn.layers.weighted import Weighted
from qlite.nn.steps import Conv, ConvF32


class ChannelAffine(Weighted):
    """``activation(x * weight + bias)``, with a weight and a bias for each channel of the last axis: a depthwise
    convolution by windows of one pixel. `fuse` makes it.
    """

    kind = "channel_affine"
    options: ClassVar[tuple[str, ...]] = ("activation",)
    integer_step, weight_only_step, float_step = Conv, ConvF32, ConvF32

    def __init__(self, weight: Any, bias: Any = None, activation: str | None = None, name: str | None = None) -> None:
        super().__init__(name, activation)
        self.units = self._check_arrays(weight, bias, None, 1, "(channels,)")

    @property
    def kernel_shape(self) -> Shape:
        return 1, 1, 1, self.units

    def scale_shape(self, shape: Shape) -> Shape:
        return (1,) * len(shape)

    def fields(self, shape: Shape) -> dict[str, Any]:
        return {"groups": self.units, "stride": (1, 1), "dilation": (1, 1), "padding": (0, 0, 0, 0)}

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if shape[-1:] != (self.units,):
            raise ValueError(f"expected {self.units} channels, got samples of shape {shape}")
        return shape

    def multiply(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x * weight

    def multiply_gradients(
        self, x: np.ndarray, weight: np.ndarray, gradient: np.ndarray, needs_input: bool
    ) -> tuple[np.ndarray | None, np.ndarray]:
        rows = gradient.reshape(-1, self.units)
        of_weight = np.einsum("ij,ij->j", x.reshape(-1, self.units), rows)
        return (gradient * weight if needs_input else None), of_weight

    def __repr__(self) -> str:
        return f"ChannelAffine({self.units}{f', {self.activation}' if self.activation else ''})"
