"""Convolutions of each channel, and then of pixels."""

from copy import copy
from typing import Any, TypeVar

import numpy as np

from qlite._public import public
from qlite.nn.layers.conv import Conv2D, DepthwiseConv2D, expect_either
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder

L = TypeVar("L", bound=Layer)


@public
class SeparableConv2D(Layer):
    """A convolution in two: a `DepthwiseConv2D` without bias or activation, and a `Conv2D` of 1 x 1 behind it.

    ``activation(conv(depthwise(x, depthwise_weight), pointwise_weight) + bias)``. (Keras' SeparableConv2D; Chollet
    2017.) `quantize_model` makes two layers of it, ``<name>_depthwise`` and ``<name>_pointwise``: what lies between
    them has a grid of its own.

    Samples are float32 (height, width, channels). Made of weights, or of the number of filters and the size of the
    kernel: then the model that it becomes part of makes the weights.

    Parameters
    ----------
    depthwise_weight : array_like of a real floating dtype, optional
        (kernel height, kernel width, channels, multiplier), or as `DepthwiseConv2D` keeps it.
    pointwise_weight : array_like of a real floating dtype, (1, 1, channels * multiplier, filters), optional
    bias : array_like of a real floating dtype, (filters,), optional
        Zeros by default.
    activation, name, filters, kernel_size, stride, padding, dilation, initializer
        As in `Conv2D`; all but `activation`, `name` and `filters` are those of the first of the two.
    multiplier : int
        Outputs of a channel in the first, where its weights do not tell it.

    Raises
    ------
    TypeError, ValueError
        As `DepthwiseConv2D` and `Conv2D`; weights of the two that do not fit together.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> layer = ql.SeparableConv2D(np.ones((3, 3, 2, 1)), np.ones((1, 1, 2, 4)), activation="relu")
    >>> layer
    SeparableConv2D(2 -> 4, 3, relu)
    >>> layer(np.ones((1, 3, 3, 2), np.float32)).ravel()
    array([18., 18., 18., 18.], dtype=float32)
    >>> layer.split()
    (DepthwiseConv2D(2 -> 2, 3), Conv2D(2 -> 4, 1, relu))
    """

    kind = "separable_conv2d"
    options = DepthwiseConv2D.options

    def __init__(
        self,
        depthwise_weight: Any = None,
        pointwise_weight: Any = None,
        bias: Any = None,
        activation: str | None = None,
        name: str | None = None,
        *,
        filters: int | None = None,
        kernel_size: Any = None,
        multiplier: int = 1,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        initializer: str = "he_uniform",
    ) -> None:
        super().__init__(name)
        weights = {"depthwise_weight": depthwise_weight, "pointwise_weight": pointwise_weight}
        expect_either(weights, {"filters": filters, "kernel_size": kernel_size})
        self.depthwise = _named(
            "depthwise_weight",
            DepthwiseConv2D,
            depthwise_weight,
            kernel_size=kernel_size,
            multiplier=multiplier,
            stride=stride,
            padding=padding,
            dilation=dilation,
            initializer=initializer,
        )
        self.pointwise = _named(
            "pointwise_weight",
            Conv2D,
            pointwise_weight,
            bias,
            activation,
            filters=filters,
            kernel_size=None if filters is None else 1,
            initializer=initializer,
        )
        between = len(self.depthwise.bias)
        if self.pointwise.kernel_size != (1, 1) or (between and self.pointwise.channels != between):
            got = self.pointwise.weight.shape
            raise ValueError(f"pointwise_weight: expected shape (1, 1, {between}, filters), got {got}")
        self.stride, self.padding, self.dilation = (
            self.depthwise.stride,
            self.depthwise.padding,
            self.depthwise.dilation,
        )
        self.multiplier, self.initializer = self.depthwise.multiplier, self.depthwise.initializer
        self.activation = self.pointwise.activation

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        weights = {"depthwise_weight": self.depthwise.weight, "pointwise_weight": self.pointwise.weight}
        return weights | {"bias": self.pointwise.bias}

    def split(self) -> tuple[DepthwiseConv2D, Conv2D]:
        """Return the two layers, with the same arrays, named after this one."""
        depthwise, pointwise = copy(self.depthwise), copy(self.pointwise)
        if self.name is not None:
            depthwise.name, pointwise.name = f"{self.name}_depthwise", f"{self.name}_pointwise"
        return depthwise, pointwise

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:
        self.depthwise.build(rng, *shapes)
        if self.depthwise.weight.size:
            self.pointwise.build(rng, self.depthwise.infer(*shapes))

    def infer(self, *shapes: Shape) -> Shape:
        return self.pointwise.infer(self.depthwise.infer(*shapes))

    def macs(self, *shapes: Shape) -> int:
        return self.depthwise.macs(*shapes) + self.pointwise.macs(self.depthwise.infer(*shapes))

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return self.pointwise.compute(self.depthwise.multiply(x[0], self.depthwise.weight))

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        y, saved = self.pointwise.forward(self.depthwise.multiply(x[0], self.depthwise.weight), rng=rng)
        return y, (x[0], saved)

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the input, and what the pointwise layer kept."""
        x, kept = saved
        between, gradients = self.pointwise.backward(kept, gradient)
        assert between is not None
        own, weight = self.depthwise.multiply_gradients(x, self.depthwise.weight, between[0], needs_input)
        weights = {"depthwise_weight": weight, "pointwise_weight": gradients["weight"]}
        return (None if own is None else (own,)), weights | {"bias": gradients["bias"]}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        raise ValueError(f"layer {builder.layer!r}: expected a SeparableConv2D that is split: see fuse()")

    def __repr__(self) -> str:
        sizes = f"{self.depthwise.channels or '?'} -> {self.pointwise.filters}"
        end = [self.activation] if self.activation else []
        return f"SeparableConv2D({', '.join([sizes, *self.depthwise.shown_options(), *end])})"


def _named(name: str, layer: type[L], *arguments: Any, **options: Any) -> L:
    """Make one of the two layers, whose weight has another name here."""
    try:
        return layer(*arguments, **options)
    except (TypeError, ValueError) as error:
        text = str(error)
        raise type(error)(name + text.removeprefix("weight") if text.startswith("weight: ") else text) from None
