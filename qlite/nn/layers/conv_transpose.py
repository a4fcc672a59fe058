"""Transposed convolutions of images."""

from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.initializers import INITIALIZERS, initialize
from qlite.nn.layers.conv import expect_either
from qlite.nn.layers.layer import Shape
from qlite.nn.layers.weighted import Weighted
from qlite.nn.layers.windows import check_rank, shown, shown_padding
from qlite.nn.steps import ConvTranspose, ConvTransposeF32
from qlite.nn.steps.transposed import MAX_PHASES
from qlite.ops import transposed
from qlite.ops.window import Pair, Sides, check_padding, pair


@public
class Conv2DTranspose(Weighted):
    """A transposed convolution of images, which makes them larger: ``activation(spread(x, weight) + bias)``.

    Every pixel adds its product with the kernel to the result, from its place on: ``spread[i * s_h + u - top, j * s_w
    + v - left, o]`` is the sum of ``x[i, j, c] * weight[u, v, c, o]`` over all pixels, elements of the kernel and
    channels that name it; ``out = (in - 1) * stride + kernel - before - after + output_padding`` along each axis.
    (PyTorch's ConvTranspose2d and ONNX ConvTranspose, with channels last; TensorFlow Lite TRANSPOSE_CONV; Keras'
    Conv2DTranspose, whose weights have the last two axes the other way round. Zeiler et al. 2010.)

    Samples are float32 (height, width, channels). Made of weights, or of the number of filters and the size of the
    kernel: then the model that it becomes part of makes the weights.

    Parameters
    ----------
    weight : array_like of a real floating dtype, (kernel height, kernel width, channels, filters), optional
    bias : array_like of a real floating dtype, (filters,), optional
        Zeros by default.
    activation : {None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "hard_swish", "softmax"}
        See `Activation`; softmax is over the filters.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.
    filters : int, optional
        How many outputs a pixel has, in place of `weight`.
    kernel_size : int or (int, int), optional
        Height and width, in place of `weight`; one number is for both.
    stride : int or (int, int)
        How far neighbours lie apart in the result: in height and width, whose product is at most 4096; one number is
        for both.
    padding : int or {"same", "valid"} or ((top, bottom), (left, right))
        What is cut off the result, less than the kernel. One number is for all four sides. "same" cuts until ``out =
        in * stride``, an odd element at the bottom and right, or lengthens the result where the kernel is smaller than
        the stride, as TensorFlow does; "valid" is 0.
    output_padding : int or (int, int)
        Rows at the bottom and columns at the right of the result, less than the stride, beyond those that `padding`
        leaves.
    initializer : {"he_uniform", "he_normal", "glorot_uniform", "glorot_normal"}
        How the weights of `filters` are drawn.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape, NaN or infinity, options that are not as above, a name that is no string, `weight` and
        `filters` with `kernel_size`, or neither; samples of another rank, of other channels, or so small that nothing
        is left of their result.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> double = ql.Conv2DTranspose(np.ones((2, 2, 1, 1)), stride=2)
    >>> double(np.array([[1.0, 2.0]]).reshape(1, 1, 2, 1))[0, :, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]], dtype=float32)
    >>> ql.Conv2DTranspose(filters=16, kernel_size=3, stride=2, padding="same").infer((8, 8, 4))
    (16, 16, 16)
    """

    kind = "conv2d_transpose"
    options: ClassVar[tuple[str, ...]] = ("activation", "stride", "padding", "output_padding", "initializer")
    integer_step, weight_only_step, float_step = ConvTranspose, ConvTransposeF32, ConvTransposeF32

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
        output_padding: Any = 0,
        initializer: str = "he_uniform",
    ) -> None:
        super().__init__(name, activation)
        self.initializer = _check.choice("initializer", initializer, tuple(INITIALIZERS))
        expect_either({"weight": weight}, {"filters": filters, "kernel_size": kernel_size})
        filters = None if filters is None else _check.integer("filters", filters, 1)
        axes = "(kernel height, kernel width, channels, filters)"
        self.filters = self._check_arrays(weight, bias, filters, 4, axes)
        self.kernel_size: Pair = pair("kernel_size", kernel_size if weight is None else self.weight.shape[:2])
        self.stride: Pair = pair("stride", stride)
        if self.stride[0] * self.stride[1] > MAX_PHASES:
            raise ValueError(f"stride: expected height * width of at most {MAX_PHASES}, got {stride!r}")
        self.padding: str | Sides = self._check_padding(padding)
        self.output_padding: Pair = self._check_output_padding(output_padding)

    def _check_padding(self, padding: Any) -> str | Sides:
        result = check_padding("padding", padding)
        for side, kernel in zip(() if isinstance(result, str) else result, self.kernel_size, strict=False):
            if max(side) >= kernel:
                raise ValueError(f"padding: expected less than the kernel's {shown(self.kernel_size)}, got {padding!r}")
        return result

    def _check_output_padding(self, value: Any) -> Pair:
        high, wide = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, value)
        result = _check.integer("output_padding", high, 0), _check.integer("output_padding", wide, 0)
        if result[0] >= self.stride[0] or result[1] >= self.stride[1]:
            raise ValueError(f"output_padding: expected less than the stride's {shown(self.stride)}, got {value!r}")
        return result

    @property
    def channels(self) -> int | None:
        """Of a sample, where the weights tell it."""
        return self.weight.shape[2] if self.weight.size else None

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:
        if self.weight.size:
            return
        try:
            self.infer(*shapes)
        except ValueError:
            return  # the model meets it again, and names the layer
        shape = (*self.kernel_size, shapes[0][2], self.filters)
        taps = [max(1.0, k / s) for k, s in zip(self.kernel_size, self.stride, strict=True)]
        self.weight = initialize(self.initializer, shape, rng, taps[0] * taps[1])

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        check_rank(shape, 3)
        if self.channels is not None and shape[2] != self.channels:
            raise ValueError(f"expected {self.channels} channels, got samples of shape {shape}")
        height, width = transposed.result_lengths((shape[0], shape[1]), self.kernel_size, **self.fields(shape))
        if min(height, width) < 1:
            raise ValueError(f"expected an image whose result is larger than what is cut off, got {shape}")
        _check.memory("stride", (height, width), "float32")
        return height, width, self.filters

    def fields(self, shape: Shape) -> dict[str, Any]:
        if not isinstance(self.padding, str):
            sides, more = (*self.padding[0], *self.padding[1]), (0, 0)
        else:
            extra = [k - s for k, s in zip(self.kernel_size, self.stride, strict=True)]
            high, wide = (max(n, 0) if self.padding == "same" else 0 for n in extra)
            sides = high // 2, high - high // 2, wide // 2, wide - wide // 2
            more = (max(-extra[0], 0), max(-extra[1], 0)) if self.padding == "same" else (0, 0)
        output_padding = more[0] + self.output_padding[0], more[1] + self.output_padding[1]
        return {"stride": self.stride, "padding": sides, "output_padding": output_padding}

    def scale_shape(self, shape: Shape) -> Shape:
        """See `Weighted`: one scale for the whole sample."""
        return (1,) * len(shape)

    def macs(self, *shapes: Shape) -> int:
        height, width, _ = shapes[0]
        return height * width * self.weight.size

    def multiply(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return transposed.conv2d_transpose_f32(np.ascontiguousarray(x), weight, **self.fields(x.shape[1:]))

    def multiply_gradients(
        self, x: np.ndarray, weight: np.ndarray, gradient: np.ndarray, needs_input: bool
    ) -> tuple[np.ndarray | None, np.ndarray]:
        given = np.ascontiguousarray(x), weight, np.ascontiguousarray(gradient)
        fields = self.fields(x.shape[1:])
        return transposed.conv2d_transpose_gradients_f32(*given, **fields, needs_input=needs_input)

    def __repr__(self) -> str:
        parts = [f"{self.channels or '?'} -> {self.filters}", shown(self.kernel_size)]
        parts += [f"stride {shown(self.stride)}"] if self.stride != (1, 1) else []
        parts += [f"padding {shown_padding(self.padding)}"] if self.padding != "valid" else []
        parts += [f"output padding {shown(self.output_padding)}"] if self.output_padding != (0, 0) else []
        return f"Conv2DTranspose({', '.join([*parts, *([self.activation] if self.activation else [])])})"
