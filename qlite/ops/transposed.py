"""Transposed convolutions of float32 images (count, height, width, channels), and their gradients: private, as
`images`. A transposed convolution gives what the gradient of a convolution's images is, and the other way round.
"""

import numpy as np

from qlite import _core
from qlite.ops.images import Padding, Pair, Windows, conv2d_f32, input_gradient_f32


def result_lengths(lengths: Pair, kernel: Pair, stride: Pair, padding: Padding, output_padding: Pair) -> Pair:
    """The height and width of results: ``(in - 1) * stride + kernel - before - after + output_padding``."""
    top, bottom, left, right = padding
    height = (lengths[0] - 1) * stride[0] + kernel[0] - top - bottom + output_padding[0]
    return height, (lengths[1] - 1) * stride[1] + kernel[1] - left - right + output_padding[1]


def _windows(x: np.ndarray, weight: np.ndarray, stride: Pair, padding: Padding, more: Pair) -> Windows:
    """The windows over results that the pixels of `x` spread to."""
    kernel = weight.shape[:2]
    lengths = result_lengths(x.shape[1:3], kernel, stride, padding, more)
    return Windows((len(x), *lengths, weight.shape[3]), kernel, stride, (1, 1), padding, x.shape[1:3])


def _swapped(weight: np.ndarray) -> np.ndarray:
    """Weights of the convolution from results to images."""
    return np.ascontiguousarray(weight.swapaxes(2, 3))


def conv2d_transpose_f32(
    x: np.ndarray, weight: np.ndarray, stride: Pair, padding: Padding, output_padding: Pair
) -> np.ndarray:
    """Convolve images with weights (kernel_h, kernel_w, in, out), transposed.

    ``y[n, i * s_h + u - top, j * s_w + v - left, o]`` is the sum of ``x[n, i, j, c] * w[u, v, c, o]`` over all that
    name it.
    """
    windows = _windows(x, weight, stride, padding, output_padding)
    return input_gradient_f32(_swapped(weight), x, windows, (1, 1), 1)


def conv2d_transpose_gradients_f32(
    x: np.ndarray,
    weight: np.ndarray,
    gradient: np.ndarray,
    stride: Pair,
    padding: Padding,
    output_padding: Pair,
    needs_input: bool = True,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the gradients of `x` (or None) and `weight`, where `gradient` is that of ``conv2d_transpose_f32``'s
    result."""
    windows = _windows(x, weight, stride, padding, output_padding)
    swapped = _swapped(weight)
    of_weight = np.empty(swapped.shape, np.float32)
    _core.conv2d_weight_gradient(gradient, of_weight, x, 1, windows.numbers)
    if not needs_input:
        return None, _swapped(of_weight)
    own = conv2d_f32(gradient, swapped, stride, (1, 1), padding)
    return np.ascontiguousarray(own[:, : x.shape[1], : x.shape[2]]), _swapped(of_weight)
