"""Transposed convolutions [images][height][width][channels] with weights [kernel_h][kernel_w][in][out]."""

import numpy as np
from reference.basics import F32, INT32, fma


def shape_of(x, weight, stride, padding, output_padding):
    """Height and width of the results, and those of all sums before anything is cut off."""
    whole = [(n - 1) * s + k for n, s, k in zip(x.shape[1:3], stride, weight.shape[:2], strict=True)]
    sides = padding[:2], padding[2:]
    own = [n - sum(side) + more for n, side, more in zip(whole, sides, output_padding, strict=True)]
    return own, [n + more for n, more in zip(whole, output_padding, strict=True)]


def cut(y, shape, padding):
    return y[:, padding[0] : padding[0] + shape[0], padding[2] : padding[2] + shape[1]]


def conv_transpose_integer(x, w, zx, zw, stride, padding, output_padding):
    """sum (x - zx)(w - zw[o]) in int64: pixel (i, j) by tap (u, v) goes to (i * stride + u, j * stride + v)."""
    shape, whole = shape_of(x, w, stride, padding, output_padding)
    centred, weight = x.astype(np.int64) - zx, w.astype(np.int64) - np.asarray(zw, np.int64)
    y = np.zeros((len(x), *whole, w.shape[3]), np.int64)
    for i, j in np.ndindex(x.shape[1:3]):
        top, left = i * stride[0], j * stride[1]
        y[:, top : top + w.shape[0], left : left + w.shape[1]] += np.einsum("nc,uvco->nuvo", centred[:, i, j], weight)
    assert not y.size or (y.min() >= INT32.min and y.max() <= INT32.max)
    return cut(y, shape, padding).astype(np.int32)


def conv_transpose(x, w, stride, padding, output_padding):
    """The same of floats: one fma each, pixels ascending, channels ascending, from 0; no pixel adds nothing."""
    shape, whole = shape_of(x, w, stride, padding, output_padding)
    y = np.zeros((len(x), *whole, w.shape[3]), F32)
    for i, j in np.ndindex(x.shape[1:3]):
        top, left = i * stride[0], j * stride[1]
        part = y[:, top : top + w.shape[0], left : left + w.shape[1]]
        for c in range(x.shape[3]):
            part[...] = fma(x[:, i, j, c][:, None, None, None], w[:, :, c], part)
    return cut(y, shape, padding)
