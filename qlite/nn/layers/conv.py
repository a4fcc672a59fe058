"""Convolutions of images."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.initializers import INITIALIZERS, initialize
from qlite.nn.layers.layer import Shape
from qlite.nn.layers.weighted import Weighted, weights_of
from qlite.nn.layers.windows import as_images, check_rank, like, placed, shown, shown_padding
from qlite.nn.steps import Conv, ConvF32
from qlite.ops import images
from qlite.ops.window import Pair, Sides, check_padding, pair


class Convolution(Weighted):
    """A layer that multiplies windows over samples by weights (..., channels / groups, outputs).

    Attributes
    ----------
    rank : int
        Of samples: 3, or 2 where images have a height of 1 and no axis for it.
    kernel_size, stride, padding, dilation
        As arguments; a number for both axes is a pair.
    """

    options: ClassVar[tuple[str, ...]] = ("activation", "stride", "padding", "dilation", "initializer")
    rank: ClassVar[int] = 3
    integer_step, weight_only_step, float_step = Conv, ConvF32, ConvF32

    kernel_size: int | Pair
    stride: int | Pair
    padding: str | Pair | Sides
    dilation: int | Pair

    def __init__(self, name: str | None, activation: str | None, initializer: str) -> None:
        super().__init__(name, activation)
        self.initializer = _check.choice("initializer", initializer, tuple(INITIALIZERS))

    @property
    @abstractmethod
    def channels(self) -> int | None:
        """Of a sample, where the weights tell it."""

    @abstractmethod
    def division(self, channels: int) -> tuple[int, int]:
        """Return into how many groups the channels of samples are divided, and the number of outputs."""

    @abstractmethod
    def window(self) -> tuple[Pair, Pair, str | Sides, Pair]:
        """Return kernel size, stride, padding and dilation, each of height and width."""

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:
        if self.weight.size:
            return
        try:
            self.infer(*shapes)
        except ValueError:
            return  # the model meets it again, and names the layer
        channels = shapes[0][-1]
        groups, outputs = self.division(channels)
        kernel = self.window()[0][3 - self.rank :]
        self.weight = initialize(self.initializer, (*kernel, channels // groups, outputs), rng)
        if not self.bias.size:
            self.bias = np.zeros(outputs, np.float32)

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        check_rank(shape, self.rank)
        groups, outputs = self.division(shape[-1])
        if self.channels is not None and shape[-1] != self.channels:
            raise ValueError(f"expected {self.channels} channels, got samples of shape {shape}")
        if shape[-1] % groups:
            raise ValueError(f"expected channels that {groups} groups divide, got samples of shape {shape}")
        return (*placed(shape, *self.window())[1], outputs)

    def fields(self, shape: Shape) -> dict[str, Any]:
        kernel, stride, padding, dilation = self.window()
        sides, _ = placed(shape, kernel, stride, padding, dilation)
        groups, _ = self.division(shape[-1])
        return {"stride": stride, "dilation": dilation, "padding": sides, "groups": groups}

    @property
    def kernel_shape(self) -> Shape:
        return (1,) * (3 - self.rank) + self.weight.shape

    def scale_shape(self, shape: Shape) -> Shape:
        """See `Weighted`: one scale for the whole sample."""
        return (1,) * len(shape)

    def multiply(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        y = images.conv2d_f32(as_images(x), weight.reshape(self.kernel_shape), **self.fields(x.shape[1:]))
        return like(y, x)

    def multiply_gradients(
        self, x: np.ndarray, weight: np.ndarray, gradient: np.ndarray, needs_input: bool
    ) -> tuple[np.ndarray | None, np.ndarray]:
        given = as_images(x), weight.reshape(self.kernel_shape), as_images(gradient)
        own, of_weight = images.conv2d_gradients_f32(*given, **self.fields(x.shape[1:]), needs_input=needs_input)
        return (None if own is None else own.reshape(x.shape)), of_weight.reshape(weight.shape)

    def shown_options(self) -> list[str]:
        """The kernel size, and options that are not the default, as the layer's text has them."""
        parts = [shown(self.kernel_size)]
        parts += [] if self.stride in (1, (1, 1)) else [f"stride {shown(self.stride)}"]
        parts += [] if self.padding == "valid" else [f"padding {shown_padding(self.padding)}"]
        return parts if self.dilation in (1, (1, 1)) else [*parts, f"dilation {shown(self.dilation)}"]

    def __repr__(self) -> str:
        sizes, end = f"{self.channels or '?'} -> {len(self.bias) or '?'}", [self.activation] if self.activation else []
        return f"{type(self).__name__}({', '.join([sizes, *self.shown_options(), *end])})"


class GroupedConvolution(Convolution):
    """A convolution by a number of filters, which groups divide as they do the channels.

    Attributes
    ----------
    filters, groups : int
    """

    options: ClassVar[tuple[str, ...]] = (*Convolution.options, "groups")

    def _take(self, weight: Any, bias: Any, filters: Any, groups: Any, axes: str) -> None:
        """Take weights of these axes, or a number of filters, and the bias and the groups."""
        filters = None if filters is None else _check.integer("filters", filters, 1)
        self.filters = self._check_arrays(weight, bias, filters, self.rank + 1, axes)
        self.groups = _check.integer("groups", groups, 1)
        if self.filters % self.groups:
            raise ValueError(f"groups: expected a divisor of the {self.filters} filters, got {groups}")

    @property
    def channels(self) -> int | None:
        return self.weight.shape[-2] * self.groups if self.weight.size else None

    def division(self, channels: int) -> tuple[int, int]:
        return self.groups, self.filters

    def shown_options(self) -> list[str]:
        return super().shown_options() + ([f"groups {self.groups}"] if self.groups > 1 else [])


def expect_either(weights: dict[str, Any], numbers: dict[str, Any]) -> None:
    """Refuse arguments that are neither all weights and no number, nor the other way round."""
    given = [name for name, value in (weights | numbers).items() if value is not None]
    if given not in (list(weights), list(numbers)):
        both = f"{' and '.join(weights)}, or {' and '.join(numbers)}"
        raise ValueError(f"{', '.join(weights | numbers)}: expected {both}, got {' and '.join(given) or 'none'}")


@public
class Conv2D(GroupedConvolution):
    """A convolution of images: ``activation(conv(x, weight) + bias)``.

    ``conv[i, j, o] = sum(x[i * s_h - top + u * d_h, j * s_w - left + v * d_w, c] * weight[u, v, c, o])`` over u, v and
    the channels c of the group of o, zeros outside the image; ``out = (in + before + after - ((kernel - 1) * dilation +
    1)) // stride + 1`` along each axis. (ONNX Conv and PyTorch's Conv2d, with channels last; Keras' Conv2D.)

    Samples are float32 (height, width, channels). Made of weights, or of the number of filters and the size of the
    kernel: then the model that it becomes part of makes the weights.

    Parameters
    ----------
    weight : array_like of a real floating dtype, (kernel height, kernel width, channels / groups, filters), optional
    bias : array_like of a real floating dtype, (filters,), optional
        Zeros by default.
    activation : {None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "hard_swish", "elu", \
            "hard_sigmoid", "softplus", "softmax"}
        See `Activation`; softmax is over the filters.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.
    filters : int, optional
        How many outputs a pixel has, in place of `weight`.
    kernel_size : int or (int, int), optional
        Height and width, in place of `weight`; one number is for both.
    stride, dilation : int or (int, int)
        From window to window, and from element to element of one: of height and width; one number is for both.
    padding : int or {"same", "valid"} or ((top, bottom), (left, right))
        Zeros around the image. One number is for all four sides. "same" pads until ``out = ceil(in / stride)``, an odd
        element at the bottom and right, as TensorFlow does; "valid" is 0.
    groups : int
        Divides channels and filters: each group of filters sees its own channels.
    initializer : {"he_uniform", "he_normal", "glorot_uniform", "glorot_normal"}
        How the weights of `filters` are drawn.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape, NaN or infinity, options that are not as above, groups that do not divide the filters,
        a name that is no string, `weight` and `filters` with `kernel_size`, or neither; samples of another rank, of
        other channels, or smaller than the kernel.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> edges = ql.Conv2D(np.array([[1.0, -1.0]]).reshape(1, 2, 1, 1), padding="same")
    >>> edges(np.array([[0.0, 1.0, 1.0]]).reshape(1, 1, 3, 1)).ravel()
    array([-1.,  0.,  1.], dtype=float32)
    >>> ql.Conv2D(filters=16, kernel_size=3, stride=2, padding="same", activation="relu")
    Conv2D(? -> 16, 3, stride 2, padding same, relu)
    """

    kind = "conv2d"
    kernel_size: Pair
    stride: Pair
    padding: str | Sides
    dilation: Pair

    def __init__(
        self,
        weight: Any = None,
        bias: Any = None,
        activation: str | None = None,
        name: str | None = None,
        *,
        filters: int | None = None,
        kernel_size: Any = None,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        groups: int = 1,
        initializer: str = "he_uniform",
    ) -> None:
        super().__init__(name, activation, initializer)
        expect_either({"weight": weight}, {"filters": filters, "kernel_size": kernel_size})
        self._take(weight, bias, filters, groups, "(kernel height, kernel width, channels / groups, filters)")
        self.kernel_size = pair("kernel_size", kernel_size if weight is None else self.weight.shape[:2])
        self.stride, self.dilation = pair("stride", stride), pair("dilation", dilation)
        self.padding = check_padding("padding", padding)

    def window(self) -> tuple[Pair, Pair, str | Sides, Pair]:
        return self.kernel_size, self.stride, self.padding, self.dilation


@public
class DepthwiseConv2D(Convolution):
    """A convolution of each channel by filters of its own: ``activation(conv(x, weight) + bias)``.

    ``conv[i, j, c * multiplier + m] = sum(x[i * s_h - top + u * d_h, j * s_w - left + v * d_w, c] * weight[u, v, 0, c *
    multiplier + m])`` over u and v, zeros outside the image: a `Conv2D` with as many groups as channels. (Keras'
    DepthwiseConv2D, TensorFlow Lite DEPTHWISE_CONV_2D.)

    Samples are float32 (height, width, channels). Made of weights, or of the size of the kernel: then the model that it
    becomes part of makes the weights.

    Parameters
    ----------
    weight : array_like of a real floating dtype, optional
        (kernel height, kernel width, channels, multiplier), or what the layer keeps: (kernel height, kernel width, 1,
        channels * multiplier). With a third length of 1 it is the latter: for samples of one channel say `multiplier`.
    bias : array_like of a real floating dtype, (channels * multiplier,), optional
        Zeros by default, and where there is no `weight`.
    activation, name, stride, padding, dilation, initializer
        As in `Conv2D`.
    kernel_size : int or (int, int), optional
        Height and width, in place of `weight`; one number is for both.
    multiplier : int
        Outputs of a channel, where `weight` does not tell it.

    Raises
    ------
    TypeError, ValueError
        As `Conv2D`; another multiplier than that of `weight`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> layer = ql.DepthwiseConv2D(np.ones((3, 3, 8, 2)), padding="same")
    >>> layer, layer.weight.shape
    (DepthwiseConv2D(8 -> 16, 3, padding same), (3, 3, 1, 16))
    >>> layer(np.ones((1, 5, 5, 8), np.float32))[0, :, :, 0]
    array([[4., 6., 6., 6., 4.],
           [6., 9., 9., 9., 6.],
           [6., 9., 9., 9., 6.],
           [6., 9., 9., 9., 6.],
           [4., 6., 6., 6., 4.]], dtype=float32)
    """

    kind = "depthwise_conv2d"
    options = (*Convolution.options, "multiplier")
    kernel_size: Pair
    stride: Pair
    padding: str | Sides
    dilation: Pair

    def __init__(
        self,
        weight: Any = None,
        bias: Any = None,
        activation: str | None = None,
        name: str | None = None,
        *,
        kernel_size: Any = None,
        multiplier: int = 1,
        stride: Any = 1,
        padding: Any = "valid",
        dilation: Any = 1,
        initializer: str = "he_uniform",
    ) -> None:
        super().__init__(name, activation, initializer)
        expect_either({"weight": weight}, {"kernel_size": kernel_size})
        self.multiplier = _check.integer("multiplier", multiplier, 1)
        if weight is not None:
            weight = self._kept(weights_of(weight))
        elif bias is not None:
            raise ValueError(f"bias: expected None where a model makes the weights, got {_check.shown(bias)}")
        self._check_arrays(weight, bias, 0, 4, "(kernel height, kernel width, channels, multiplier)")
        self.kernel_size = pair("kernel_size", kernel_size if weight is None else self.weight.shape[:2])
        self.stride, self.dilation = pair("stride", stride), pair("dilation", dilation)
        self.padding = check_padding("padding", padding)

    def _kept(self, weight: np.ndarray) -> np.ndarray:
        """Weights in the layer's own shape; takes the multiplier that they tell."""
        if weight.ndim != 4:
            return weight
        *kernel, channels, outputs = weight.shape
        if channels == 1:
            if outputs % self.multiplier:
                raise ValueError(f"multiplier: expected a divisor of the {outputs} outputs, got {self.multiplier}")
            return weight
        if self.multiplier not in (1, outputs):
            raise ValueError(f"multiplier: expected {outputs}, that of the weights, got {self.multiplier}")
        self.multiplier = outputs
        return weight.reshape(*kernel, 1, channels * outputs)

    @property
    def channels(self) -> int | None:
        return self.weight.shape[-1] // self.multiplier if self.weight.size else None

    def division(self, channels: int) -> tuple[int, int]:
        return channels, channels * self.multiplier

    def window(self) -> tuple[Pair, Pair, str | Sides, Pair]:
        return self.kernel_size, self.stride, self.padding, self.dilation
