"""Matrix products of codes, and what becomes of their sums."""

import numpy as np
from reference.basics import F32, HUGE, INT32, at_least, fma
from reference.elementwise import quantize
from reference.ranges import range_qparams
from reference.requantization import quantize_multiplier, requantize_fixed, requantize_float


def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    """sum_k (a - za)(b - zb), in int64; za is one number or one per row (m, 1), zb one number or one per column."""
    a = a.astype(np.int64) - np.asarray(a_zero_point, np.int64)
    b = b.astype(np.int64) - np.asarray(b_zero_point, np.int64)
    acc = a @ b
    if acc.size and (acc.min() < INT32.min or acc.max() > INT32.max):
        raise OverflowError("the sum leaves int32")
    return acc.astype(np.int32)


def scale_sums(acc, row_scale, scale, offset, low, high=np.inf):
    """clamp((float32(acc) * row_scale) * scale + offset, low, high): every operation rounded to float32."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        y = (acc.astype(F32) * np.asarray(row_scale, F32)) * np.asarray(scale, F32) + np.asarray(offset, F32)
    return -at_least(-at_least(y, low), -high)


def output_of_sums(acc, input_scale, weight_scale, grid=None, fixed=False, low=-np.inf, high=np.inf):
    """Sums at the scale input_scale * weight_scale as clamped float32, or as codes on the grid (scale, zero point,
    qmin, qmax) by rule A or B."""
    product = F32(input_scale) * np.asarray(weight_scale, F32)
    if grid is None:
        return scale_sums(acc, F32(1), product, F32(0), low, high)
    scale, zero_point, qmin, qmax = grid
    if not fixed:
        return requantize_float(acc, product / F32(scale), zero_point, qmin, qmax)
    real = np.float64(F32(input_scale)) * weight_scale / np.float64(F32(scale))
    q, e = np.array([quantize_multiplier(value) for value in real], np.int64).reshape(-1, 2).T
    return requantize_fixed(acc, q, e, zero_point, qmin, qmax)


def matmul_float(x, codes, scale, zero_point=0, offset=0, low=-np.inf, high=np.inf):
    """Weight-only product: clamp((x @ (codes - z)) * scale + offset, low, high), one fma per k, k ascending."""
    x = np.asarray(x, F32)
    weight = (codes.astype(np.int32) - np.asarray(zero_point, np.int32)).astype(F32)
    total = np.zeros((x.shape[0], weight.shape[1]), F32)
    for k in range(x.shape[1]):
        total = fma(x[:, k : k + 1], weight[k], total)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        y = total * np.asarray(scale, F32) + np.asarray(offset, F32)
    return -at_least(-at_least(y, low), -high)


def quantize_rows(x):
    """u8 codes of each row with its own scale and zero point; both (m, 1). An infinity, which only an overflow in the
    layer before can have left, counts as the greatest float32."""
    x = np.asarray(x, F32)
    low = np.maximum(np.fmin.reduce(x, axis=1, keepdims=True, initial=np.inf), -HUGE)
    high = np.minimum(np.fmax.reduce(x, axis=1, keepdims=True, initial=-np.inf), HUGE)
    scale, zero_point = range_qparams(low, high, 0, 255, symmetric=False)
    return quantize(x, scale, zero_point, 0, 255), scale, zero_point


def linear(x, codes, scale, zero_point=0, bias=0, low=-np.inf, high=np.inf, per="row"):
    """Dynamic linear: rows of x, or all of it, become u8 codes, the product is exact, and comes back as float32."""
    x = np.asarray(x, F32)
    a, row_scale, row_zero_point = quantize_rows(x if per == "row" else x.reshape(1, -1))
    acc = matmul_integer(a.reshape(x.shape), codes, row_zero_point, zero_point)
    return scale_sums(acc, row_scale, scale, bias, low, high)
