"""Pooling of images of 8-bit codes."""

from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.arrays.qarray import QArray
from qlite.ops.window import pair, window


def max_pool2d(x: Any, size: Any, *, stride: Any = None, padding: Any = 0, out: np.ndarray | None = None) -> Any:
    """Take the greatest code of each channel in windows that slide over images; the padding never is the greatest.

    ``y[n, i, j, c] = max(x[n, i * s_h - top + p, j * s_w - left + q, c])`` over ``p < size_h`` and ``q < size_w``
    inside the image: exact, and the same as pooling what the codes stand for. There are ``(in + before + after - size)
    // stride + 1`` windows along an axis. (ONNX MaxPool and TensorFlow Lite MAX_POOL_2D, with channels last.)

    Parameters
    ----------
    x : QArray on a uniform grid of up to 8 bits, or array_like of int8 or uint8, (images, height, width, channels)
        A QArray has one scale, or one per image or channel.
    size : int or (int, int)
        Height and width of a window; one number is for both.
    stride : int or (int, int), optional
        From window to window; by default `size`.
    padding : int or {"same", "valid"} or ((top, bottom), (left, right))
        Less than `size` on each side. One number is for all four. "same" pads until ``out = ceil(in / stride)``, an odd
        element at the bottom and right; "valid" is 0.
    out : ndarray of the codes' dtype, optional
        Where to put the codes.

    Returns
    -------
    QArray on the grid of `x` for a QArray, else ndarray of codes, (images, out height, out width, channels)

    Raises
    ------
    TypeError, ValueError
        Another dtype, rank or grid; options that are not as above; a window that does not fit into the padded image.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.arange(16, dtype=np.int8).reshape(1, 4, 4, 1)
    >>> ql.max_pool2d(x, 2)[0, :, :, 0]
    array([[ 5,  7],
           [13, 15]], dtype=int8)
    >>> ql.max_pool2d(x, 3, stride=2, padding="same").shape
    (1, 2, 2, 1)
    """
    return _pool(_core.max_pool, x, size, stride, padding, out)


def avg_pool2d(x: Any, size: Any, *, stride: Any = None, padding: Any = 0, out: np.ndarray | None = None) -> Any:
    """Take the mean of the codes of each channel in windows that slide over images; the padding does not count.

    ``y[n, i, j, c] = mean(x[n, i * s_h - top + p, j * s_w - left + q, c])`` over ``p < size_h`` and ``q < size_w``
    inside the image: an exact sum, divided by how many there are and rounded half away from zero, on the codes as they
    are, without their zero point. (TensorFlow Lite AVERAGE_POOL_2D, byte for byte.) With ``size=x.shape[1:3]`` it is
    the global average.

    Parameters
    ----------
    x, size, stride, padding, out
        As in `max_pool2d`.

    Returns
    -------
    QArray on the grid of `x` for a QArray, else ndarray of codes, (images, out height, out width, channels)

    Raises
    ------
    TypeError, ValueError
        As `max_pool2d`.
    OverflowError
        Windows of 2**23 elements or more.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.array([1, 2, 3, -5, -4, -3], np.int8).reshape(1, 1, 6, 1)
    >>> ql.avg_pool2d(x, (1, 2)).ravel()
    array([ 2, -1, -4], dtype=int8)
    """
    return _pool(_core.avg_pool, x, size, stride, padding, out)


def _pool(function: Any, x: Any, size: Any, stride: Any, padding: Any, out: np.ndarray | None) -> Any:
    codes = x.codes if isinstance(x, QArray) else _check.codes("x", x)
    if codes.ndim != 4:
        raise ValueError(f"x: expected shape (images, height, width, channels), got {codes.shape}")
    if isinstance(x, QArray):
        p = x.qparams
        if p.bits > 8 or p.codebook is not None or p.group_size is not None or p.scale.shape[1:3] != (1, 1):
            raise ValueError(
                f"x: expected a uniform grid of up to 8 bits with one scale, or one per image or channel, got {p!r}"
            )
    kernel = pair("size", size)
    image = codes.shape[1], codes.shape[2]
    stride, _, sides, size_out = window("", image, kernel, kernel if stride is None else stride, padding, 1)
    for side, length in zip(sides, kernel, strict=True):
        if max(side) >= length:
            raise ValueError(f"padding: expected less than the window's {kernel[0]} x {kernel[1]}, got {padding!r}")
    y = function(codes, kernel, stride, (sides[0][0], sides[1][0]), size_out, out)
    if not isinstance(x, QArray):
        return y
    if out is None:
        y.flags.writeable = False
    return QArray._of_codes(y, x.qparams)
