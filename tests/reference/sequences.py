"""Steps of sequences: products of two values, by heads too, rows of a table."""

import numpy as np
from reference.basics import F32
from reference.gemm import matmul_integer, output_of_sums
from reference.grouped import matmul_grouped


def split(x, heads):
    """(..., rows, heads * n) as (..., heads, rows, n)."""
    *lead, rows, columns = x.shape
    return np.moveaxis(x.reshape(*lead, rows, heads, columns // heads), -2, -3)


def merge(x):
    """(..., heads, rows, n) as (..., rows, heads * n)."""
    *lead, heads, rows, columns = x.shape
    return np.moveaxis(x, -3, -2).reshape(*lead, rows, heads * columns)


def matmul(a, b, transpose_b, heads, multiply):
    """Matrices of samples, one by one, by `multiply(a, b)`; see MatMul of qlite.nn.steps."""
    is_wide = heads and a.ndim == 4
    if heads:
        a, b = a if is_wide else split(a, heads), split(b, heads)
    if transpose_b:
        b = np.swapaxes(b, -1, -2)
    shape = (*a.shape[:-1], b.shape[-1])
    a, b = (x.reshape(-1, *x.shape[-2:]) for x in (a, b))
    y = np.array([multiply(*pair) for pair in zip(a, b, strict=True)]).reshape(shape)
    return merge(y) if is_wide else y


def matmul_f32(a, b, transpose_b, heads):
    return matmul(a, b, transpose_b, heads, matmul_grouped).astype(F32)


def matmul_codes(a, b, transpose_b, heads, grid_a, grid_b, grid_y, qmin, qmax, requant):
    """Exact sums at the scale of both, then codes by rule A or B, "fixed32" with one scale, float32(s_a * s_b)."""

    def multiply(left, right):
        acc = matmul_integer(left, right, grid_a[1], grid_b[1])
        factors = (F32(grid_a[0]) * F32(grid_b[0]), 1) if requant == "fixed32" else (grid_a[0], grid_b[0])
        scales = np.full(acc.shape[1], factors[1], F32)
        return output_of_sums(acc, factors[0], scales, (*grid_y, qmin, qmax), requant != "float")

    return matmul(a, b, transpose_b, heads, multiply)


def embedding(indices, weight, scale=None, zero_point=None):
    """Rows of a table; indices beyond it count as its ends."""
    rows = np.clip(indices, 0, len(weight) - 1)
    if scale is None:
        return weight[rows]
    zero_point = np.zeros(len(weight), np.int32) if zero_point is None else zero_point
    return (weight[rows].astype(np.int32) - zero_point[rows][..., None]).astype(F32) * scale[rows][..., None]
