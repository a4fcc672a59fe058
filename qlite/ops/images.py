"""Float32 images (count, height, width, channels): products with filters, pools, and their gradients.

What layers compute with, private. Options come resolved, as two ints (height, width), and padding as four: top, bottom,
left, right.
"""

import math
from collections.abc import Iterator

import numpy as np

from qlite import _core

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
#: Bytes of the columns of windows that are multiplied at once: they stay in a core's cache.
BLOCK_BYTES = 1 << 20


class Windows:
    """The windows of a filter over images of some shape, all that there are or `out` of them, and the numbers that the
    core takes."""

    def __init__(
        self,
        shape: tuple[int, ...],
        kernel: Pair,
        stride: Pair,
        dilation: Pair,
        padding: Padding,
        out: Pair | None = None,
    ) -> None:
        top, bottom, left, right = padding
        spans = (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1
        self.shape, self.kernel = shape, kernel
        self.out = out or (
            (shape[1] + top + bottom - spans[0]) // stride[0] + 1,
            (shape[2] + left + right - spans[1]) // stride[1] + 1,
        )
        self.numbers = (*kernel, *stride, *dilation, top, left, *self.out)
        self.is_pixel = (kernel, stride, padding) == ((1, 1), (1, 1), (0, 0, 0, 0))

    def mirrored(self) -> Padding | None:
        """The padding with which windows of the mirrored filter over the result give images back; None: no such."""
        kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left = self.numbers[:8]
        reach = (kernel_h - 1) * dilation_h, (kernel_w - 1) * dilation_w
        bottom, right = self.shape[1] - self.out[0] + top, self.shape[2] - self.out[1] + left
        sides = (reach[0] - top, bottom, reach[1] - left, right)
        return sides if (stride_h, stride_w) == (1, 1) and min(sides) >= 0 else None

    def blocks(self, channels: int) -> Iterator[tuple[int, int]]:
        """Rows of windows, counted over all images, that have their columns in memory together."""
        rows = self.shape[0] * self.out[0]
        row_bytes = 4 * self.out[1] * math.prod(self.kernel) * channels
        step = max(1, min(rows, BLOCK_BYTES // row_bytes))
        step = -(-rows // -(-rows // step)) if rows else 1
        for first in range(0, rows, step):
            yield first, min(rows, first + step)


def conv2d_f32(
    x: np.ndarray,
    weight: np.ndarray,
    stride: Pair,
    dilation: Pair,
    padding: Padding,
    groups: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Convolve images with weights (kernel_h, kernel_w, in / groups, out).

    ``y[n, i, j, o] = sum_{u,v,c} x[n, i * s_h + u * d_h - top, j * s_w + v * d_w - left, g * in + c] * w[u, v, c, o]``,
    where g is o's group and pixels outside the image are zeros.
    """
    windows = Windows(x.shape, weight.shape[:2], stride, dilation, padding)
    channels, outputs = weight.shape[2], weight.shape[3]
    y = np.empty((len(x), *windows.out, outputs), np.float32) if out is None else out
    if windows.is_pixel and groups == 1:
        np.matmul(x.reshape(-1, channels), weight[0, 0], out=y.reshape(-1, outputs))
    else:
        _core.conv2d_f32(x, weight, y, groups, windows.numbers)
    return y


def conv2d_gradients_f32(
    x: np.ndarray,
    weight: np.ndarray,
    gradient: np.ndarray,
    stride: Pair,
    dilation: Pair,
    padding: Padding,
    groups: int = 1,
    needs_input: bool = True,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the gradients of `x` (or None) and `weight`, where `gradient` is that of ``conv2d_f32``'s result."""
    windows = Windows(x.shape, weight.shape[:2], stride, dilation, padding)
    channels, outputs = weight.shape[2], weight.shape[3]
    if channels == 1 and groups > 1:
        return _depthwise_gradients(x, weight, gradient, windows, needs_input)
    if windows.is_pixel and groups == 1:
        pixels, rows = x.reshape(-1, channels), gradient.reshape(-1, outputs)
        dx = (rows @ weight[0, 0].T).reshape(x.shape) if needs_input else None
        return dx, (pixels.T @ rows).reshape(weight.shape)
    dw = np.empty(weight.shape, np.float32)
    _core.conv2d_weight_gradient(x, dw, gradient, groups, windows.numbers)
    return input_gradient_f32(weight, gradient, windows, dilation, groups) if needs_input else None, dw


def input_gradient_f32(
    weight: np.ndarray, gradient: np.ndarray, windows: Windows, dilation: Pair, groups: int
) -> np.ndarray:
    """Return the gradient of the images alone: the transposed convolution of ``conv2d_f32``'s.

    It is a convolution where windows move by one pixel; else those of the pixels of each window add up, some rows of
    windows at a time.
    """
    sides = windows.mirrored()
    if sides is not None:
        return conv2d_f32(gradient, _mirrored(weight, groups), (1, 1), dilation, sides, groups)
    channels, outputs = weight.shape[2], weight.shape[3]
    matrix, rows, own = weight.reshape(-1, outputs), gradient.reshape(-1, outputs), outputs // groups
    dx = np.zeros(windows.shape, np.float32)
    for first, last in windows.blocks(channels):
        part = rows[first * windows.out[1] : last * windows.out[1]]
        for g in range(groups):
            outs = slice(g * own, (g + 1) * own)
            columns = part[:, outs] @ matrix[:, outs].T
            _core.image_add_columns(columns, windows.numbers, (first, last, g * channels, channels), dx)
    return dx


def max_pool_f32(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding, keep_index: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the greatest element of each window and channel and, for the way back, where it lies.

    The padding never wins, of equal elements the first does; NaN wins.
    """
    windows = Windows(x.shape, size, stride, (1, 1), padding)
    y = np.empty((len(x), *windows.out, x.shape[3]), np.float32)
    index = np.empty(y.shape, np.int32) if keep_index else None
    _core.max_pool_f32(x, windows.numbers, y, index)
    return y, index


def max_pool_gradient_f32(
    gradient: np.ndarray, index: np.ndarray, shape: tuple[int, ...], size: Pair, stride: Pair, padding: Padding
) -> np.ndarray:
    """Return the gradient of images of this shape; `index` is what ``max_pool_f32`` kept of them."""
    dx = np.empty(shape, np.float32)
    _core.max_pool_gradient_f32(gradient, index, Windows(shape, size, stride, (1, 1), padding).numbers, dx)
    return dx


def average_pool_f32(x: np.ndarray, size: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """Return the mean of each window and channel, in which the padding does not count."""
    windows = Windows(x.shape, size, stride, (1, 1), padding)
    y = np.empty((len(x), *windows.out, x.shape[3]), np.float32)
    _core.average_pool_f32(x, windows.numbers, y)
    return y


def average_pool_gradient_f32(
    gradient: np.ndarray, shape: tuple[int, ...], size: Pair, stride: Pair, padding: Padding
) -> np.ndarray:
    """Return the gradient of images of this shape."""
    dx = np.empty(shape, np.float32)
    _core.average_pool_gradient_f32(gradient, Windows(shape, size, stride, (1, 1), padding).numbers, dx)
    return dx


def _mirrored(weight: np.ndarray, groups: int) -> np.ndarray:
    """Weights from the outputs to the inputs, back to front."""
    kernel_h, kernel_w, channels, outputs = weight.shape
    split = weight[::-1, ::-1].reshape(kernel_h, kernel_w, channels, groups, outputs // groups)
    return np.ascontiguousarray(split.transpose(0, 1, 4, 3, 2)).reshape(kernel_h, kernel_w, -1, groups * channels)


def _depthwise_gradients(
    x: np.ndarray, weight: np.ndarray, gradient: np.ndarray, windows: Windows, needs_input: bool
) -> tuple[np.ndarray | None, np.ndarray]:
    """Each channel counts as often as it has results: then they are as many as the results."""
    channels, outputs = x.shape[3], weight.shape[3]
    times = outputs // channels
    x = np.repeat(x, times, axis=3) if times > 1 else x
    dw = np.empty(weight.shape, np.float32)
    _core.depthwise_weight_gradient(x, dw, gradient, outputs, windows.numbers)
    if not needs_input:
        return None, dw
    dx = np.empty(x.shape, np.float32)
    _core.depthwise_input_gradient(dx, weight, gradient, outputs, windows.numbers)
    return (dx.reshape(*x.shape[:3], channels, times).sum(axis=-1) if times > 1 else dx), dw
