"""Convolution of codes [images][height][width][channels] with weights [kernel_h][kernel_w][in][out]."""

import numpy as np
from reference.basics import F32, INT32
from reference.gemm import quantize_rows, scale_sums
from reference.requantization import quantize_multiplier, requantize_fixed, requantize_float


def windows(x, kernel, stride, padding, dilation, zero_point):
    """For each place (u, v) of the kernel: what it sees, x - zero_point of every output pixel; 0 outside the image."""
    (kh, kw), (top, bottom), (left, right) = kernel, *padding
    centred = np.pad(x.astype(np.int64) - zero_point, ((0, 0), (top, bottom), (left, right), (0, 0)))
    height = (centred.shape[1] - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    width = (centred.shape[2] - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    for u in range(kh):
        for v in range(kw):
            rows = u * dilation[0] + stride[0] * np.arange(height)
            cols = v * dilation[1] + stride[1] * np.arange(width)
            yield (u, v), centred[:, rows][:, :, cols]


def conv_integer(x, w, zx=0, zw=0, bias=0, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """bias[o] + sum_{u,v,c} (x - zx)(w - zw[o]) in int64, where the group of o has channels of its own."""
    kh, kw, channels, out = w.shape
    weight = w.astype(np.int64) - np.asarray(zw, np.int64)
    acc = np.asarray(bias, np.int64)
    for (u, v), seen in windows(x, (kh, kw), stride, padding, dilation, zx):
        parts = seen.reshape(*seen.shape[:3], groups, 1, channels)
        columns = weight[u, v].reshape(channels, groups, out // groups).transpose(1, 0, 2)
        acc = acc + (parts @ columns).reshape(*seen.shape[:3], out)
    if acc.size and (acc.min() < INT32.min or acc.max() > INT32.max):
        raise OverflowError("the sum leaves int32")
    return acc.astype(np.int32)


def conv_float(acc, x_scale, w_scale, low=-np.inf, high=np.inf, offset=0):
    """clamp(float32(acc) * float32(s_x * s_w) + offset, low, high)."""
    return np.minimum(scale_sums(acc, F32(1), F32(x_scale) * np.asarray(w_scale, F32), offset, low), F32(high))


def conv_codes(acc, x_scale, w_scale, scale, zero_point, qmin, qmax, fixed):
    """Codes by rule A or B of the multiplier s_x * s_w / s_y."""
    w_scale = np.broadcast_to(np.asarray(w_scale, F32), acc.shape[-1])
    if not fixed:
        return requantize_float(acc, F32(x_scale) * w_scale / F32(scale), zero_point, qmin, qmax)
    real = np.float64(F32(x_scale)) * w_scale / np.float64(F32(scale))
    q, e = np.array([quantize_multiplier(value) for value in real], np.int64).reshape(-1, 2).T
    return requantize_fixed(acc, q, e, zero_point, qmin, qmax)


def conv_dynamic(x, w, w_scale, bias=None, per="image", **options):
    """Floats, as u8 codes on the grid of each image or of all, with a float bias, come back as float32."""
    parts = []
    for image in np.split(x, len(x)) if per == "image" else [x]:
        codes, scale, zero_point = quantize_rows(image.reshape(1, -1))
        scale, zero_point = scale.item(), int(zero_point.item())
        acc = conv_integer(codes.reshape(image.shape), w, zero_point, 0, 0, **options)
        parts.append(conv_float(acc, scale, w_scale, offset=0 if bias is None else bias))
    return np.concatenate(parts)
