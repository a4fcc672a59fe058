"""Ranges of values to scales and zero points."""

import numpy as np
from reference.basics import F32, HUGE, TINY

# What a scale may be: bits of float32's mantissa that the type does without, its least and its greatest normal number.
SCALE_TYPES = {
    "float32": (0, TINY, HUGE),
    "float16": (13, F32(2.0**-14), F32(65504)),
    "e8m0": (23, TINY, F32(2.0**127)),
}


def scale_at_least(scale, scale_type):
    """The least representable scale that is not below this one; if there is none, infinity, or float32's greatest."""
    dropped, least, greatest = SCALE_TYPES[scale_type]
    bits = np.maximum(np.asarray(scale, F32), least).view(np.uint32).astype(np.uint64)
    rounded = ((bits + (1 << dropped) - 1) >> dropped << dropped).astype(np.uint32).view(F32)
    return np.where(rounded <= greatest, rounded, HUGE if scale_type == "float32" else F32(np.inf))


def scale_for_reach(scale, reach, scale_type):
    """The greatest scale up to this one that `reach` steps do not carry out of float32."""
    dropped = SCALE_TYPES[scale_type][0]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        limit = ((HUGE / np.asarray(reach, F32)).view(np.uint32) >> dropped << dropped).view(F32)
        while np.any(too_great := np.isinf(limit * reach) & (reach > 0)):
            below = np.nextafter(limit, F32(0)).view(np.uint32) >> dropped << dropped
            limit = np.where(too_great, below.view(F32), limit)
        return np.where(np.isinf(scale * reach), limit, scale)


def finite_scale(end, codes, scale, scale_type):
    """The scale at which the code of `end`, and with it `end`, comes back finite."""
    with np.errstate(over="ignore"):
        reach = np.minimum(np.rint(end / scale), np.asarray(codes, F32))
    return scale_for_reach(scale, reach, scale_type)


def range_qparams(low, high, qmin, qmax, symmetric, scale_type="float32", codebook=None):
    """Scale and zero point of the grid whose codes reach from low to high, widened to hold 0. symmetric: the middle
    code is zero. A range of one value c has scale |c| (1 for 0), so that c comes back exactly, if the type has that
    number. No scale is subnormal, none brings a range back as infinity, and a range wider than float32 is divided
    before it is subtracted. A codebook: max(low / least entry, high / greatest entry) of those that have low's or
    high's sign, 1 if nothing is to be reached; zero point 0. The scale is rounded up to its type."""
    constant, size = np.asarray(low == high), np.abs(np.asarray(low, F32))
    low, high = np.minimum(F32(0), np.asarray(low, F32)), np.maximum(F32(0), np.asarray(high, F32))
    if codebook is not None:
        least, greatest = np.fmin.reduce(codebook, initial=F32(0)), np.fmax.reduce(codebook, initial=F32(0))
        below = low / least if least < 0 else np.zeros_like(low)
        above = high / greatest if greatest > 0 else np.zeros_like(low)
        wanted = np.maximum(below, above)
        scale = np.where(wanted > 0, scale_at_least(wanted, scale_type), F32(1))
        scale = scale_for_reach(scale, np.maximum(-least, greatest), scale_type)
        return scale.astype(F32), np.zeros_like(scale, np.int32)
    middle, levels = (qmin + qmax + 1) // 2, F32(qmax - qmin)
    with np.errstate(over="ignore", under="ignore"):
        if symmetric:
            below, above = (-low / F32(middle - qmin) if middle > qmin else 0 * low), F32(max(qmax - middle, 0))
            scale = scale_at_least(np.maximum(below, high / above if above > 0 else 0 * high), scale_type)
            zero_point = np.full_like(scale, middle, np.int32)
        else:
            span = high - low
            scale = np.where(np.isinf(span), high / levels - low / levels, span / levels)
            scale = scale_at_least(scale, scale_type)
            zero_point = np.clip(np.rint(F32(qmin) - low / scale), qmin, qmax).astype(np.int32)
    own = scale_at_least(np.where(size > 0, size, F32(1)), scale_type)
    if scale_type != "float32":
        constant = constant & ((own == size) | (size == 0))
    scale = np.where(constant, own, scale).astype(F32)
    for end, codes in ((-low, zero_point - qmin), (high, qmax - zero_point)):
        scale = finite_scale(end, codes, scale, scale_type)
    return scale.astype(F32), zero_point
