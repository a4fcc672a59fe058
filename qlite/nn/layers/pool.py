"""Pools: the greatest or the mean of the pixels in windows, channel by channel."""

from typing import Any, ClassVar

import numpy as np

from qlite._public import public
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.layers.windows import as_images, check_rank, images_shape, like, placed, shown, shown_padding
from qlite.nn.lower import Builder
from qlite.nn.program import Step
from qlite.ops import images
from qlite.ops.window import check_padding, pair


class Pool(Layer):
    """A layer of windows without weights over images, or over samples (length, channels).

    Attributes
    ----------
    size, stride : (int, int)
        Height and width.
    padding : "same", "valid" or ((top, bottom), (left, right))
    step : type of Step
        What it becomes.
    """

    options: ClassVar[tuple[str, ...]] = ("size", "stride", "padding")
    step: ClassVar[type[Step]]
    keeps_grid = True

    def __init__(self, size: Any, stride: Any, padding: Any, name: str | None) -> None:
        super().__init__(name)
        self.size = pair("size", size)
        self.stride = self.size if stride is None else pair("stride", stride)
        self.padding = check_padding("padding", padding)
        for side, length in zip(self.padding, self.size, strict=True) if not isinstance(self.padding, str) else ():
            if max(side) >= length:
                raise ValueError(f"padding: expected less than the window's {shown(self.size)}, got {padding!r}")

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        check_rank(shape, 2, 3)
        return self._placed(shape)[1]

    def fields(self, shape: Shape) -> dict[str, Any]:
        """Return size, stride and padding (top, bottom, left, right) of windows over samples of this shape."""
        return self._placed(shape)[0]

    def _placed(self, shape: Shape) -> tuple[dict[str, Any], Shape]:
        """The same, and the shape of a sample's result."""
        size, stride, padding = self.size, self.stride, self.padding
        if len(shape) == 2:
            size, stride = (1, size[1]), (1, stride[1])
            padding = padding if isinstance(padding, str) else ((0, 0), padding[1])
        sides, out = placed(shape, size, stride, padding, (1, 1))
        return {"size": size, "stride": stride, "padding": sides}, (*out, shape[-1])

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        return builder.moved(self.step, x, **self.fields(builder.buffers[x].shape))

    def __repr__(self) -> str:
        stride = f", stride {shown(self.stride)}" if self.stride != self.size else ""
        padding = f", padding {shown_padding(self.padding)}" if self.padding != "valid" else ""
        return f"{type(self).__name__}({shown(self.size)}{stride}{padding})"


@public
class MaxPool(Pool):
    """The greatest element of each channel in windows that slide over images; the padding never is the greatest.

    ``y[i, j, c] = max(x[i * s_h - top + p, j * s_w - left + q, c])`` over ``p < size_h`` and ``q < size_w`` inside the
    image; there are ``(in + before + after - size) // stride + 1`` windows along an axis. (ONNX MaxPool and TensorFlow
    Lite MAX_POOL_2D, with channels last.) In training the gradient goes to the first of equal elements, as PyTorch's.

    Samples are float32 (height, width, channels), or (length, channels), for which the second number of a pair counts.
    A quantized model does the same on codes, exactly.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of a window; one number is for both.
    stride : int or (int, int), optional
        From window to window; by default `size`.
    padding : int or {"same", "valid"} or ((top, bottom), (left, right))
        Less than `size` on each side. One number is for all four. "same" pads until ``out = ceil(in / stride)``, an odd
        element at the bottom and right; "valid" is 0.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Options that are not as above, a name that is no string; samples of another rank, or smaller than a window.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> ql.MaxPool(2)(x)[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    >>> ql.MaxPool(3, stride=2, padding="same")
    MaxPool(3, stride 2, padding same)
    """

    kind = "max_pool"
    step = steps.MaxPool

    def __init__(self, size: Any = 2, *, stride: Any = None, padding: Any = "valid", name: str | None = None) -> None:
        super().__init__(size, stride, padding, name)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        y, _ = images.max_pool_f32(as_images(x[0]), **self.fields(x[0].shape[1:]))
        return like(y, x[0])

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        y, index = images.max_pool_f32(as_images(x[0]), **self.fields(x[0].shape[1:]), keep_index=True)
        return like(y, x[0]), (x[0].shape, index)

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the shape of the input, and where in it each element of the result was."""
        if not needs_input:
            return None, {}
        shape, index = saved
        given = as_images(gradient), index, images_shape(shape)
        return (images.max_pool_gradient_f32(*given, **self.fields(shape[1:])).reshape(shape),), {}


@public
class AveragePool(Pool):
    """The mean of each channel in windows that slide over images; the padding does not count.

    ``y[i, j, c] = mean(x[i * s_h - top + p, j * s_w - left + q, c])`` over ``p < size_h`` and ``q < size_w`` inside the
    image; there are ``(in + before + after - size) // stride + 1`` windows along an axis: added in float64, divided by
    how many there are and rounded once. (TensorFlow Lite AVERAGE_POOL_2D; ONNX AveragePool with count_include_pad=0.)

    Samples are float32 (height, width, channels), or (length, channels), for which the second number of a pair counts.
    A quantized model does it on codes, whose mean it rounds half away from zero.

    Parameters
    ----------
    size, stride, padding, name
        As in `MaxPool`.

    Raises
    ------
    TypeError, ValueError
        As `MaxPool`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> ql.AveragePool(2)(x)[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    >>> ql.AveragePool(3, stride=1, padding=1)(np.ones((5, 6, 2), np.float32)).shape  # (length, channels)
    (5, 6, 2)
    """

    kind = "average_pool"
    step = steps.AveragePool

    def __init__(self, size: Any = 2, *, stride: Any = None, padding: Any = "valid", name: str | None = None) -> None:
        super().__init__(size, stride, padding, name)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return like(images.average_pool_f32(as_images(x[0]), **self.fields(x[0].shape[1:])), x[0])

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0].shape

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the shape of the input."""
        if not needs_input:
            return None, {}
        given = as_images(gradient), images_shape(saved)
        return (images.average_pool_gradient_f32(*given, **self.fields(saved[1:])).reshape(saved),), {}
