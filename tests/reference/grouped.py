"""Products with weights whose scales are shared by groups along k, in plain NumPy."""

import numpy as np
from reference.basics import F32, at_least, fma, spread
from reference.elementwise import quantize
from reference.ranges import range_qparams
from reference.sums import minmax

REACH = 127  # of the codes of a row, and of a codebook in 8 bits


def quantize_rows_symmetric(x):
    """s8 codes of each row of x, -127 to 127, with its own scale (m, 1)."""
    x = np.asarray(x, F32)
    low, high = (end[:, None] for end in minmax(x, axis=0))
    scale, _ = range_qparams(low, high, -REACH, REACH, symmetric=True)
    return quantize(x, scale, 0, -REACH, REACH), scale


def lowest_bit(x):
    """The exponent of the lowest bit that is set in a float32 that is not 0."""
    numerator, denominator = float(x).as_integer_ratio()
    numerator = abs(numerator)
    return (numerator & -numerator).bit_length() - denominator.bit_length()


def codebook_s8(codebook):
    """A codebook (entries,) as integers of at most 127, and what one of them stands for: the greatest power of two of
    which all entries are multiples, if none is then too great; or a 127th of the greatest magnitude."""
    finite = np.where(np.isfinite(codebook), codebook, F32(0)).astype(F32)
    greatest = np.abs(finite).max()
    step = F32(2.0 ** min((lowest_bit(x) for x in finite if x), default=0))
    if greatest / step > REACH:
        step = greatest / F32(REACH)
    return np.clip(np.rint(finite / step), -REACH, REACH).astype(np.int32), step


def in_s8(codes, scale, codebook, group):
    """Weights on a codebook, (entries,) or with one for each scale, as integers and the scales of these."""
    if codebook.ndim == 1:
        table, step = codebook_s8(codebook)
        return table[codes], scale * step
    weight, scale = np.zeros(codes.shape, np.int32), scale.copy()
    for g, j in np.ndindex(scale.shape):
        table, step = codebook_s8(codebook[g, j])
        weight[g * group : (g + 1) * group, j] = table[codes[g * group : (g + 1) * group, j]]
        scale[g, j] *= step
    return weight, scale


def linear_grouped(x, codes, scale, zero_point, group, bias=0, low=-np.inf, high=np.inf, codebook=None):
    """Rows of x become s8 codes; the sum of a group is exact, and is added to the others as float32, groups ascending,
    after the multiplication with its scale. codes: (k, n); scale and zero_point: (groups, n)."""
    a, row_scale = quantize_rows_symmetric(x)
    if codebook is not None:
        codes, scale = in_s8(codes, scale, codebook, group)
        zero_point = np.zeros_like(scale, np.int32)
    return sum_groups(a, row_scale, codes, scale, zero_point, group, bias, low, high)


def sum_groups(a, row_scale, codes, scale, zero_point, group, bias, low, high):
    """Codes of rows by weights in groups: exact sums of groups, float32 over the groups."""
    weight = codes.astype(np.int64) - spread(zero_point, codes.shape, group_size=group, group_axis=0)
    total = np.zeros((len(a), codes.shape[1]), F32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for g in range(len(scale)):
            part = slice(g * group, (g + 1) * group)
            total = total + (a[:, part].astype(np.int64) @ weight[part]).astype(F32) * scale[g]
        y = at_least(total * row_scale + np.asarray(bias, F32), low)
    return np.where(y > F32(high), F32(high), y)


def matmul_grouped(x, weight):
    """Weight-only product with weights that are float32 already: one fma per k, k ascending."""
    total = np.zeros((len(x), weight.shape[1]), F32)
    for k in range(x.shape[1]):
        total = fma(x[:, k : k + 1], weight[k], total)
    return total
