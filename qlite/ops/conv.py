"""Convolutions of images (count, height, width, channels) with 8-bit arithmetic."""

from functools import partial
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams
from qlite.ops import epilogue
from qlite.ops.packing import ZERO, PackedWeight, Weights, code_range, codes_of, no_weights, pack_filter
from qlite.ops.window import pair, window

Window = tuple[int, int, int, int, int, int, int, int]

#: Padding of fewer pixels, on all sides together, is not held against the memory: 0.1 us instead of 2.
LARGE_PADDING = 1 << 12


def conv2d(
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
    output_qparams: QParams | None = None,
    requant: str = "float",
    per: str = "image",
    out: np.ndarray | None = None,
) -> "np.ndarray | QArray":
    """Convolve images with 8-bit weights: integers inside, floats or codes as the result.

    ``acc[b, i, j, o] = bias_q[o] + sum_{u,v,c} (x[b, row, column, g*in + c] - z_x) * (w[u, v, c, o] - z_w[o])``, exact
    in int32, where ``row = i*stride + u*dilation - top``, ``column = j*stride + v*dilation - left`` and ``g`` is the
    group of ``o``; outside the image x is ``z_x``, which stands for 0. Without `output_qparams` the result is
    ``float32(acc) * float32(s_x * s_w[o])``, clamped by the activation. With it the result is codes:
    ``requant="float"`` multiplies by ``float32(float32(s_x * s_w[o]) / s_y)``, clamps and rounds half to even, as
    LiteRT and ONNX Runtime do; ``"fixed"`` is the rule of TensorFlow Lite Micro and CMSIS-NN (see `requantize`). There
    the activation is a clamp of codes: from ``z_y`` on, and for relu6 to ``rint(float32(6 / s_y) + z_y)``, half to
    even, or by "fixed" to ``z_y + round(float32(6 / s_y))``, half away from zero.

    Parameters
    ----------
    x : QArray of up to 8 bits with one scale, or array_like of a real floating dtype, (count, height, width, channels)
        Floats are quantized on the way, to uint8: ``s_x = (max - min) / 255`` of the range of each image, widened to
        hold 0.
    w : QArray (kernel_h, kernel_w, channels / groups, out) with one scale or one per output, or what `pack` made of it
        Up to 8 bits. A QArray is packed at its first use and keeps that form. Weights farther from their zero point
        than int8 reaches take two or three times as long.
    bias : array_like (out,), optional
        int32 in units of ``s_x * s_w[o]``, or of a real floating dtype, which becomes that:
        ``bias_q = rint(bias / (s_x * s_w[o]))`` in float64. Where floats give floats it is added to the result as
        float32 instead; so is one that has no room among the sums (``abs(bias_q) > 2**30``) or whose weights, or whose
        image of floats, are all zeros. Codes are then made of that.
    stride, dilation : int or (int, int)
        Of the window, along height and width.
    padding : int, "same", "valid" or ((top, bottom), (left, right))
        "same" makes ``ceil(length / stride)`` outputs, an odd element at the bottom and right, as TensorFlow does.
    groups : int
        Channels and outputs fall into so many groups; with one channel in each this is a depthwise convolution.
    activation : {None, "relu", "relu6"}
    output_qparams : QParams, optional
        The grid of the result: up to 8 bits, one scale.
    requant : {"float", "fixed"}
        The rule for `output_qparams`, see `requantize`; without `output_qparams` there is no use for it.
    per : {"image", "tensor"}
        What has a scale and zero point of its own in floats `x`. With "tensor" what an image gives depends on which
        others come with it.
    out : ndarray, optional
        Where to put the result: float32, or the codes' dtype.

    Returns
    -------
    ndarray of float32, or QArray on `output_qparams`, (count, out_h, out_w, out)

    Raises
    ------
    TypeError, ValueError
        Other dtypes, shapes or options that do not fit, NaN or infinity in `x` or `bias`, a window that is larger than
        the padded image, weights packed for other groups or gaps.
    OverflowError
        The window is so large that an int32 could overflow, together with a bias of int32.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = ql.QArray.from_codes(np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1), 0.5)
    >>> w = ql.QArray.from_codes(np.ones((3, 3, 1, 1), np.int8), 1.0)
    >>> ql.conv2d(x, w, padding="same", stride=2)[0, :, :, 0]
    array([[22.5, 19.5],
           [33. , 25. ]], dtype=float32)
    >>> grid = ql.QParams(np.float32([0.25]), 0, signed=False)
    >>> y = ql.conv2d(x, w, [-25.0], padding="same", stride=2, activation="relu", output_qparams=grid)
    >>> y.codes[0, :, :, 0]
    array([[ 0,  0],
           [32,  0]], dtype=uint8)
    """
    packed, w_scale, idle = _filter(w, groups, dilation)
    if w_scale is None:
        raise ValueError("w: expected weights with scales, pack(QArray), got packed codes")
    is_codes = isinstance(x, QArray)
    if is_codes:
        if type(per) is not str or per != "image":
            _check.expect_defaults({"per": per}, {"per": "image"}, "for codes x, which have their scale")
        codes, scale, zero_point = _codes(x)
    else:
        codes, scale, zero_point = _quantized(x, per)
    where = _window(codes.shape, packed, stride, padding, dilation)
    is_one = scale.size == 1
    if not is_codes and output_qparams is not None:
        idle = _with_blank_images(idle, codes, scale)
    input_scale = scale.item() if is_one else scale.reshape(-1, 1)
    sums_bias, fields, late = epilogue.resolve(
        input_scale, w_scale, idle, bias, activation, output_qparams, requant, is_dynamic=not is_codes
    )
    product: Any
    grids: Any
    if is_one:
        product, grids = _core.conv2d, (zero_point.item(),)
    else:
        product, grids = _core.conv2d_images, (scale, zero_point)
    if late is None:
        y = product(codes, packed, *grids, where, sums_bias, fields, out)
    else:
        y = epilogue.with_late_biases(partial(product, codes, packed, *grids, where), sums_bias, fields, late, out)
    return epilogue.wrap(y, output_qparams, out)


def conv2d_integer(
    x: Any,
    w: Any,
    x_zero_point: Any = 0,
    w_zero_point: Any = 0,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Convolve 8-bit images with 8-bit weights exactly: the ``acc`` of `conv2d` without a bias, in int32.

    The operator is ONNX ConvInteger on images (count, height, width, channels). Nothing saturates: the result is the
    same on every instruction set.

    Parameters
    ----------
    x : array_like of int8 or uint8, (count, height, width, channels)
    w : array_like of int8 or uint8, (kernel_h, kernel_w, channels / groups, out), or QArray or PackedWeight
    x_zero_point : int
    w_zero_point : int or array_like
        One, or one per output; a QArray or PackedWeight has its own.
    stride, padding, dilation, groups
        As in `conv2d`.
    out : ndarray of int32, (count, out_h, out_w, out), optional
        Where to put the result.

    Returns
    -------
    ndarray of int32, (count, out_h, out_w, out)

    Raises
    ------
    TypeError, ValueError, OverflowError
        As in `conv2d`, and zero points outside the codes' range.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)
    >>> ql.conv2d_integer(x, np.ones((2, 2, 1, 1), np.int8)).ravel()
    array([ 8, 12], dtype=int32)
    """
    if isinstance(w, (QArray, PackedWeight)):
        if w_zero_point is not ZERO and _check.integers("w_zero_point", w_zero_point).any():
            raise ValueError("w_zero_point: expected 0 with a QArray or packed weights, which have their own")
        packed = _filter(w, groups, dilation).packed
    else:
        is_dilated = _is_dilated(dilation)
        packed = pack_filter("w", w, "w_zero_point", w_zero_point, groups, is_dilated).packed
    codes = codes_of("x", x, (4,))
    x_zero_point = _check.integer("x_zero_point", x_zero_point)
    low, high = code_range(codes.dtype)
    if not low <= x_zero_point <= high:
        raise ValueError(f"x_zero_point: expected {low} to {high} for {codes.dtype} codes, got {x_zero_point}")
    where = _window(codes.shape, packed, stride, padding, dilation)
    return _core.conv2d_integer(codes, packed, x_zero_point, where, out)


def _is_dilated(dilation: Any) -> bool:
    """Whether windows have gaps along the width."""
    if type(dilation) is int:
        return dilation > 1
    return pair("dilation", dilation)[1] > 1


def _filter(w: Any, groups: Any, dilation: Any) -> Weights:
    """Weights as the core takes them."""
    is_dilated = _is_dilated(dilation)
    if isinstance(w, QArray):
        known = w._packed.get((groups, is_dilated)) if type(groups) is int else None
        return known or pack_filter("w", w, "", 0, groups, is_dilated)
    if not isinstance(w, PackedWeight):
        raise no_weights(w, axis=3)
    packed = w._weights.packed
    if packed.kind != "filter":
        raise ValueError(f"w: expected packed weights of a convolution, got packed weights of shape {w.shape}")
    if _check.integer("groups", groups) != packed.groups or is_dilated != packed.is_dilated:
        gaps = {False: "without gaps", True: "with gaps"}
        raise ValueError(
            f"w: expected weights packed for groups={groups} and windows {gaps[is_dilated]} along the width "
            f"(pack(w, groups={groups}, dilation={dilation})), got groups={packed.groups} and windows "
            f"{gaps[packed.is_dilated]}"
        )
    return w._weights


def _codes(x: QArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of images, their scale and their zero point."""
    if x.ndim != 4:
        raise ValueError(f"x: expected 4 dimensions (count, height, width, channels), got {x!r}")
    epilogue.static_input("x", x)
    return x.codes, x.scale, x.zero_point


def _quantized(x: Any, per: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of floats on the grids of their own ranges, as `linear` does it with rows."""
    x = _check.real_array("x", x, may_be_codes=True)
    if x.ndim != 4:
        raise ValueError(f"x: expected 4 dimensions (count, height, width, channels), got shape {x.shape}")
    per_image = _check.choice("per", per, ("image", "tensor")) == "image"
    shape = (len(x) if per_image and x.size else 1, 1, 1, 1)
    low, high, is_finite = _core.minmax(x, shape) if x.size else (*np.zeros((2, *shape), np.float32), True)
    if not is_finite:
        _check.finite("x", x)
        raise _check.has_changed("x")
    scale, zero_point = _core.range_qparams(low, high, 0, 255, False)
    return _core.quantize(x, scale, zero_point, 0, 255, False, None, "x"), scale, zero_point


def _with_blank_images(idle: np.ndarray | None, codes: np.ndarray, scale: np.ndarray) -> np.ndarray | None:
    """Which sums are nothing but their bias: those of idle columns, and all of images that are zeros."""
    is_blank = scale.reshape(-1, 1) == 1  # the scale of no range; and of a range of 255, whose end has the code 255
    if is_blank.any():
        is_blank &= ~codes.reshape(len(is_blank), -1).any(axis=1, keepdims=True)
    if not is_blank.any():
        return idle
    return is_blank if idle is None else is_blank | idle


def _window(shape: tuple[int, ...], packed: _core.Packed, stride: Any, padding: Any, dilation: Any) -> Window:
    """The window as the core takes it: stride, dilation, what lies before the image, and the result's size."""
    (down, across), (gap_down, gap_across), sides, (height, width) = window(
        "", shape[1:3], packed.shape[:2], stride, padding, dilation
    )
    (top, bottom), (left, right) = sides
    if top + bottom + left + right > LARGE_PADDING:
        _check.memory("padding", (shape[0], height, width, packed.shape[3]), np.uint8)
        _check.memory("padding", (left + shape[2] + right, shape[3]), np.uint8)  # a row, which is copied
    return down, across, gap_down, gap_across, top, left, height, width
