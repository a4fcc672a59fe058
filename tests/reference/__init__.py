"""What qlite computes, in plain NumPy: the specification that every kernel is compared with, byte for byte.

    real = scale * (code - zero_point)

Every function takes and returns arrays, rounds half to even unless told otherwise, and does its arithmetic in the
precision that its text says: float32 unless it says int64 or float64. Parameters
broadcast against the data as NumPy arrays do.
"""

import math
from fractions import Fraction

import numpy as np

F32 = np.float32
INT32 = np.iinfo(np.int32)
TINY, HUGE = np.finfo(F32).tiny, np.finfo(F32).max  # the smallest normal float32, and the greatest


def code_dtype(qmin, qmax):
    """The dtype of codes from qmin to qmax: 8 bits where they fit, else 16."""
    candidates = (np.int8, np.int16) if qmin < 0 else (np.uint8, np.uint16)
    return next(np.dtype(t) for t in candidates if np.iinfo(t).min <= qmin and qmax <= np.iinfo(t).max)


# ---- elementwise ----------------------------------------------------------------------------------


def spread(parameter, shape, group_size=0, group_axis=0):
    """The parameter of every element of data of this shape: along `group_axis` neighbours in groups of `group_size`
    share one, of which the last may be shorter; along the others it broadcasts."""
    parameter = np.asarray(parameter)
    if group_size and parameter.ndim == len(shape) and parameter.shape[group_axis] not in (1, shape[group_axis]):
        parameter = np.repeat(parameter, group_size, axis=group_axis)
        parameter = np.take(parameter, range(shape[group_axis]), axis=group_axis)
    return np.broadcast_to(parameter.reshape(()) if parameter.size == 1 else parameter, shape)


def uniform(seed, index):
    """24 random bits for each index of an element, as float32 in [0, 1): a hash, in 64-bit arithmetic of the seed
    (splitmix64) and in 32-bit arithmetic of the index (a mixer of three multiplications)."""
    key = (seed + 0x9E3779B97F4A7C15) % 2**64
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) % 2**64
    key ^= key >> 31
    index = np.asarray(index, np.uint64)
    low, high = (index & np.uint64(2**32 - 1)).astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    h = low ^ np.uint32(key % 2**32)
    h = (h ^ (h >> np.uint32(17))) * np.uint32(0xED5AD4BB)
    h = (h ^ (h >> np.uint32(11))) + np.uint32(key >> 32) + high * np.uint32(0x9E3779B9)
    h = h * np.uint32(0xAC4C1B51)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x31848BAB)
    h = h ^ (h >> np.uint32(14))
    return (h >> np.uint32(8)).astype(F32) * F32(2.0**-24)


def round_even(t, seed):
    return np.rint(t)


def round_away(t, seed):
    """To the nearest; of two, to the one farther from zero."""
    return np.trunc(t) + np.sign(t) * (np.abs(t - np.trunc(t)) >= F32(0.5))


def round_stochastic(t, seed):
    """Up with the probability that the fraction says; the number of an element counts in C order."""
    u = uniform(seed, np.arange(t.size).reshape(t.shape))
    return np.floor(t) + (u < t - np.floor(t))


ROUND = {"even": round_even, "away": round_away, "stochastic": round_stochastic}


def steps(x, scale, zero_point, qmin, qmax, rounding="even", seed=0, **groups):
    """clamp(round(x / scale), qmin - z, qmax - z): how many steps of `scale` x lies from zero. NaN is 0 steps."""
    x = np.asarray(x, F32)
    zero_point = spread(zero_point, x.shape, **groups)
    with np.errstate(all="ignore"):
        nearest = ROUND[rounding](x / spread(scale, x.shape, **groups).astype(F32), seed)
    nearest = np.where(np.isnan(x), F32(0), nearest)
    return np.clip(nearest, (qmin - zero_point).astype(F32), (qmax - zero_point).astype(F32)).astype(np.int32)


def quantize(x, scale, zero_point, qmin, qmax, rounding="even", seed=0, **groups):
    """code = steps + z."""
    nearest = steps(x, scale, zero_point, qmin, qmax, rounding, seed, **groups)
    return (nearest + spread(zero_point, np.shape(x), **groups)).astype(code_dtype(qmin, qmax))


def dequantize(codes, scale, zero_point, **groups):
    """x = float32(code - z) * scale."""
    scale, zero_point = (spread(parameter, codes.shape, **groups) for parameter in (scale, zero_point))
    with np.errstate(over="ignore", under="ignore"):
        return (codes.astype(np.int32) - zero_point.astype(np.int32)).astype(F32) * scale.astype(F32)


def fake_quantize(x, scale, zero_point, qmin, qmax, rounding="even", seed=0, **groups):
    """dequantize(quantize(x))."""
    codes = quantize(x, scale, zero_point, qmin, qmax, rounding, seed, **groups)
    return dequantize(codes, scale, zero_point, **groups)


def in_range(x, scale, zero_point, qmin, qmax, **groups):
    """Whether qmin <= rint(x / scale) + z <= qmax; NaN is not."""
    x = np.asarray(x, F32)
    with np.errstate(all="ignore"):
        code = np.rint(x / spread(scale, x.shape, **groups).astype(F32)) + spread(zero_point, x.shape, **groups)
    return (qmin <= code) & (code <= qmax)


def minmax(x, axis=None):
    """Least and greatest value, of everything or of each channel along `axis`. NaN is passed over, both zeros are +0,
    and nothing has +inf and -inf."""
    x = np.asarray(x, F32)
    others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis)
    low = np.fmin.reduce(x, axis=others, initial=np.inf) + F32(0)
    high = np.fmax.reduce(x, axis=others, initial=-np.inf) + F32(0)
    return low, high


def moments(x, shape, **groups):
    """Sums of x, x**2 and |x| over the values that share a parameter: neighbours by eight_sums, these in order."""
    own = spread(np.arange(math.prod(shape)).reshape(shape), x.shape, **groups).ravel()
    values, sums = np.asarray(x, np.float64).ravel(), np.zeros((3, math.prod(shape)))
    for part in np.split(np.arange(values.size), np.flatnonzero(np.diff(own)) + 1):
        v = values[part]
        sums[:, own[part[0]]] += [eight_sums(terms[None]) for terms in (v, v * v, np.abs(v))]
    return sums.reshape(3, *shape)


def minmax_per_parameter(x, shape, **groups):
    """Least and greatest of the values that share a parameter, in arrays of the parameters' shape; as minmax."""
    x = np.asarray(x, F32)
    number = spread(np.arange(math.prod(shape)).reshape(shape), x.shape, **groups)
    low, high = np.full(math.prod(shape), np.inf, F32), np.full(math.prod(shape), -np.inf, F32)
    np.fmin.at(low, number.ravel(), x.ravel())
    np.fmax.at(high, number.ravel(), x.ravel())
    return (low + F32(0)).reshape(shape), (high + F32(0)).reshape(shape)


# ---- codebooks ------------------------------------------------------------------------------------


def nearest_code(t, codebook):
    """The code of the codebook's value nearest to each t, as real numbers: of two equally near the even code, and of
    two even or two odd codes that of the lesser value. NaN is taken for 0, infinities go to the ends. Values that are
    not finite have no code; of equal ones the first has."""
    finite = np.flatnonzero(np.isfinite(codebook))
    values, first = np.unique(codebook[finite].astype(np.float64), return_index=True)
    codes = finite[first]
    t = np.where(np.isnan(t), F32(0), t).astype(np.float64)
    upper = np.searchsorted(values, t).clip(min(1, len(values) - 1), len(values) - 1)
    lower = np.maximum(upper - 1, 0)
    low, high = values[lower], values[upper]
    side = 2 * t - (low + high)  # within 1e-15 of |low| + |high|; infinite if t is
    for i in np.argwhere(np.abs(side) <= 1e-12 * (np.abs(low) + np.abs(high))):
        i = tuple(i)
        exact = 2 * Fraction(t[i]) - Fraction(low[i]) - Fraction(high[i])
        side[i] = (exact > 0) - (exact < 0)
    odd_to_even = (codes[lower] % 2 == 1) & (codes[upper] % 2 == 0)
    wins = (side > 0) | ((side == 0) & odd_to_even)
    return np.where(wins, codes[upper], codes[lower]).astype(np.uint8)


def quantize_codebook(x, scale, codebook):
    """nearest_code(x / scale). codebook: (entries,) for all, or one for each element: x.shape + (entries,)."""
    with np.errstate(all="ignore"):
        t = np.asarray(x, F32) / np.asarray(scale, F32)
    if codebook.ndim == 1:
        return nearest_code(t, codebook)
    codes = [nearest_code(t[i], codebook[i]) for i in np.ndindex(t.shape)]
    return np.array(codes, np.uint8).reshape(t.shape)


def dequantize_codebook(codes, scale, codebook):
    """x = scale * codebook[code], with codebooks as above."""
    own = np.broadcast_to(codebook, (*codes.shape, codebook.shape[-1]))
    values = np.take_along_axis(own, codes[..., None].astype(np.intp), -1)[..., 0]
    with np.errstate(all="ignore"):
        return np.asarray(scale, F32) * values


# ---- packed codes ---------------------------------------------------------------------------------


def pack_bits(codes, bits):
    """The low bits of the codes one after the other along the last axis, low bits first, filled up to a byte."""
    each = codes[..., None].astype(np.int32) >> np.arange(bits) & 1
    rows = each.reshape(*codes.shape[:-1], codes.shape[-1] * bits).astype(np.uint8)
    return np.packbits(rows, axis=-1, bitorder="little")


def unpack_bits(packed, bits, is_signed, first, count):
    """Codes first .. first + count - 1 of each row."""
    each = np.unpackbits(packed, axis=-1, bitorder="little")[..., first * bits : (first + count) * bits]
    codes = each.reshape(*packed.shape[:-1], count, bits).astype(np.int32) @ (1 << np.arange(bits, dtype=np.int32))
    if is_signed:
        codes = np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes)
    return codes.astype(f"{'i' if is_signed else 'u'}{1 if bits <= 8 else 2}")


# ---- grids and histograms ---------------------------------------------------------------------------


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


HISTOGRAM_MIN_EXPONENT = -126  # bins are not narrower than the smallest normal float32
HISTOGRAM_MANTISSA_BITS = 24  # nor than the spacing of floats at the greatest magnitude


def histogram(x, bins):
    """What a calibrator remembers of all values x of a channel, in any order and any number of pieces: a dict.

    Bin b counts the values, zeros left out, with floor(x / 2**exponent) == origin + b. The exponent is the least at
    which `bins` bins reach from min to max."""
    x = np.asarray(x, F32).ravel()
    low, high = (float(bound) for bound in minmax(x))
    exponent, origin = HISTOGRAM_MIN_EXPONENT, 0
    if x.size:
        magnitude = max(-low, high)
        if magnitude > 0:
            exponent = max(exponent, math.frexp(magnitude)[1] - HISTOGRAM_MANTISSA_BITS)
        while math.floor(high * 2.0**-exponent) - math.floor(low * 2.0**-exponent) >= bins:
            exponent += 1
        origin = math.floor(low * 2.0**-exponent)
    numbers = np.floor(x[x != 0].astype(np.float64) * 2.0**-exponent).astype(np.int64)
    counts = np.bincount(numbers - origin, minlength=bins)
    state = {"min": low, "max": high, "exponent": exponent, "origin": origin}
    return state | {"count": x.size, "zeros": x.size - numbers.size}, counts


def bin_edges(state, bins):
    """Left edges of the bins and one right edge more, in float64."""
    return (state["origin"] + np.arange(bins + 1)) * 2.0 ** state["exponent"]


def count_beyond(state, counts, low, high):
    """How many values lie outside [low, high], as if each bin's were spread evenly over it; min and max cut the first
    and the last bin. high = inf, low = -inf: that end is open."""
    edges = np.clip(bin_edges(state, len(counts)), state["min"], state["max"])
    width = np.maximum(np.diff(edges), 1e-300)
    above = counts @ np.clip((edges[1:] - high) / width, 0, 1)
    below = counts @ np.clip((low - edges[:-1]) / width, 0, 1)
    return above + below + state["zeros"] * (not low <= 0 <= high)


def grid_steps(state, counts, scale, zero_point, qmin, qmax):
    """Bins' middles in steps of the grid: before and after rounding and clamping."""
    edges = bin_edges(state, len(counts))
    real = (edges[:-1] + edges[1:]) / 2 / float(scale)
    return real, np.rint(np.clip(real, qmin - int(zero_point), qmax - int(zero_point)))


def expected_error(state, counts, levels):
    """What the mse method minimizes: the squared error when every value takes the nearest of the levels, a bin's values
    lying evenly in it. min and max cut the first and the last bin; exact zeros are where they are."""
    levels = np.unique(np.asarray(levels, np.float64))
    thresholds = (levels[1:] + levels[:-1]) / 2
    edges = np.clip(bin_edges(state, len(counts)), state["min"], state["max"])
    cuts = np.unique(np.concatenate([edges, np.clip(thresholds, state["min"], state["max"])]))
    left, right = cuts[:-1], cuts[1:]
    owner = np.searchsorted(edges, left, side="right") - 1
    level = levels[np.searchsorted(thresholds, (left + right) / 2)]
    with np.errstate(divide="ignore", invalid="ignore"):
        density = counts[owner] / (edges[1:] - edges[:-1])[owner]
    even = density @ (((right - level) ** 3 - (left - level) ** 3) / 3)
    points = np.flatnonzero((edges[1:] == edges[:-1]) & (counts > 0))  # max may stand on the last bin's left edge
    nearest = [np.abs(levels - x).min() ** 2 for x in (*edges[points], 0.0)]
    return float(even + np.dot(nearest, [*counts[points], state["zeros"]]))


def squared_error(state, counts, scale, zero_point, qmin, qmax):
    """The expected error of a uniform grid."""
    return expected_error(state, counts, float(scale) * (np.arange(qmin, qmax + 1) - int(zero_point)))


def divergence(state, counts, scale, zero_point, qmin, qmax):
    """What the entropy method minimizes: the Kullback-Leibler divergence of the quantized histogram q from the
    data's p. p: clipped counts are moved to the outermost bins of the range. q: each level's unclipped counts are
    spread evenly over the level's filled bins; at least 1e-9 each. A range of fewer bins than there are codes is out
    of the question: everything clipped to a single bin would have no divergence at all."""
    real, nearest = grid_steps(state, counts, scale, zero_point, qmin, qmax)
    below, above = real < qmin - int(zero_point) - 0.5, real > qmax - int(zero_point) + 0.5
    inside, reach = counts * ~(below | above), np.flatnonzero(~(below | above))
    if reach.size < qmax - qmin + 1 or not inside.any():
        return math.inf
    p = inside.astype(np.float64)
    p[reach[0]] += counts[below].sum()
    p[reach[-1]] += counts[above].sum()
    q = np.zeros_like(p)
    for level in np.unique(nearest[reach]):
        members = np.flatnonzero((nearest == level) & (p > 0))
        q[members] = inside[members].sum() / max(members.size, 1)
    p, q = p / counts.sum(), np.maximum(q / inside.sum(), 1e-9)
    return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


# ---- error ------------------------------------------------------------------------------------------


def log(x):
    """The natural logarithm of a positive number: with x = 2**e m, m in [sqrt(1/2), sqrt(2)), and
    z = (m - 1) / (m + 1), e log 2 + 2 (z + z**3 / 3 + z**5 / 5 + ...), every other term of the series by itself."""
    m, e = math.frexp(x)
    if m < float.fromhex("0x1.6a09e667f3bcdp-1"):
        m, e = 2 * m, e - 1
    z = (m - 1) / (m + 1)
    z2 = z * z
    z4, even, odd = z2 * z2, 0.0, 0.0
    for k in (19, 15, 11, 7, 3):
        even, odd = 1 / k + z4 * even, 1 / (k + 2) + z4 * odd
    return e * 0.6931471805599453 + 2 * (z + z * z2 * (even + z2 * odd))


def eight_sums(x):
    """Sum of [outer, inner]: along inner in turn to eight partial sums, which are added in pairs."""
    partial = np.zeros(8)
    for row in x:
        for i in range(0, len(row), 8):
            partial[: len(row) - i] += row[i : i + 8]
    pairs = partial[:4] + partial[4:]
    return (pairs[0] + pairs[2]) + (pairs[1] + pairs[3])


def place(w, codes, scale, zero_point, qmin, qmax):
    """Where values lie on a uniform grid: whether they are clipped, the cell, counted from that of qmin, and the
    eighth of it; and the cell of the code that they have."""
    t = np.asarray(w, F32) / scale
    nearest = np.rint(t)
    bins = (t - nearest) * F32(8) + F32(4)
    codes_of_t = nearest.astype(np.float64) + zero_point
    below, above = codes_of_t < qmin, codes_of_t > qmax
    bins = np.where(below, 0, np.where(above, 7, np.minimum(np.nan_to_num(bins).astype(int), 7)))
    return below | above, np.clip(codes_of_t, qmin, qmax).astype(int) - qmin, bins, codes.astype(int) - qmin


def place_on_codebook(t, code, book):
    """The same of one value t = w / scale with this code. Cells meet in the middle between entries, and those at the
    ends are as wide outwards as inwards."""
    values = np.unique(book[~np.isnan(book)]).astype(np.float64)
    if len(values) == 1:
        edges = np.array([-HUGE, HUGE])
    else:
        ends = values[0] - (values[1] - values[0]) / 2, values[-1] + (values[-1] - values[-2]) / 2
        edges = np.array([ends[0], *(values[:-1] + values[1:]) / 2, ends[1]])
        edges = np.clip(edges, -HUGE, HUGE).astype(F32)
    given = cell = int(np.searchsorted(values, book[code]))
    is_clipped = bool(t < edges[0] or t > edges[-1])
    if not edges[cell] <= t <= edges[cell + 1]:
        cell = min(max(int(np.searchsorted(edges, t, side="right")) - 1, 0), len(values) - 1)
    per_unit = F32(8 / (np.float64(edges[cell + 1]) - np.float64(edges[cell])))
    return is_clipped, cell, int(min(max((t - edges[cell]) * per_unit, 0), 7)), given


def code_divergence(is_clipped, cell, bins, given):
    """Kullback-Leibler divergence of the codes' distribution from the data's: sum p log(p / max(q, 1e-9)) over the
    eighths of the cells. p: shares of all values. q: each code's share of the values that are not clipped, spread
    evenly over those of its eighths that hold values."""
    total, unclipped, divergence = len(cell), int(np.sum(~is_clipped)), 0.0
    log_share = log(unclipped / total) if unclipped else 0.0
    given = given[~is_clipped]
    for code in np.unique(cell):
        n, count = np.bincount(bins[cell == code]), int(np.sum(given == code))
        n, even, sum_of_code = n[n > 0], count, 0.0
        if count == 0 or count < 1e-9 * len(n) * unclipped:
            even, offset = -1, -log(1e-9 * total)
        else:
            offset = (log(len(n)) - log(count)) + log_share
        for values in n.tolist():
            sum_of_code += values * (log_share if values * len(n) == even else log(values) + offset)
        divergence += sum_of_code
    return max(divergence, 0.0) / total


@np.errstate(all="ignore")
def error_sums(w, codes, scale, zero_point, codebook, qmin, qmax, axis=-1, group_size=0, group_axis=0):
    """[channels, 8]: sum w**2, the squared errors of clipped values and of the others, sum w * v, sum v**2, greatest
    error, how many are clipped, divergence; for each index of an axis, -1 for everything."""
    w = np.asarray(w, F32)
    s = spread(scale, w.shape, group_size, group_axis)
    if codebook is None:
        z = spread(zero_point, w.shape, group_size, group_axis)
        v, places = dequantize(codes, s, z), place(w, codes, s, z, qmin, qmax)
    else:
        number = np.zeros(scale.shape, int) if codebook.ndim == 1 else np.arange(scale.size).reshape(scale.shape)
        books = codebook.reshape(-1, codebook.shape[-1])[spread(number, w.shape, group_size, group_axis)]
        v, t = s * np.take_along_axis(books, codes[..., None].astype(int), -1)[..., 0], w / s
        rows = zip(t.ravel(), codes.ravel().tolist(), books.reshape(w.size, -1), strict=True)
        places = [np.array(a).reshape(w.shape) for a in zip(*(place_on_codebook(*row) for row in rows), strict=True)]
    exact, v = w.astype(np.float64), v.astype(np.float64)
    fields = [exact * exact, exact * v, v * v, exact - v, *places]
    shape = (1, 1, w.size) if axis < 0 else (math.prod(w.shape[:axis]), w.shape[axis], math.prod(w.shape[axis + 1 :]))
    result = np.zeros((shape[1], 8))
    for c in range(shape[1]):
        signal, product, power, e, is_clipped, *rest = (field.reshape(shape)[:, c] for field in fields)
        squared = e * e
        sums = (signal, np.where(is_clipped, squared, 0), np.where(is_clipped, 0, squared), product, power)
        result[c, :5] = [eight_sums(x) for x in sums]
        kl = code_divergence(is_clipped.ravel(), *(a.ravel() for a in rest))
        result[c, 5:] = np.abs(e).max(), is_clipped.sum(), kl
    return result


# ---- codebooks ------------------------------------------------------------------------------------------


def codebook_error(x, codebook, weights=None):
    """The summed squared distance of x from the nearest entries, in float64."""
    x, entries = np.ravel(x).astype(np.float64), np.asarray(codebook, np.float64)
    thresholds = (entries[1:] + entries[:-1]) / 2
    distance = x - entries[np.searchsorted(thresholds, x)]
    return float(np.dot(distance**2, np.ones(x.size) if weights is None else np.ravel(weights)))


def filled_up(values, entries):
    """The distinct float32 values, ascending, and the next greater floats up to as many as asked for."""
    values = list(np.unique(np.asarray(values, F32) + F32(0)))
    while len(values) < entries:
        values.append(np.nextafter(values[-1], F32(np.inf)))
    return np.array(values, F32)


def kmeans(x, entries, weights=None):
    """The codebook of the least codebook_error: cells of sorted values, all cuts tried."""
    x = np.asarray(x, np.float64)
    weights = np.ones(x.size) if weights is None else np.asarray(weights, np.float64)
    values = np.unique(x[weights > 0])
    mass = np.array([weights[x == value].sum() for value in values])
    n, cells = len(values), min(entries, len(values))

    def mean(i, j):
        return values[i] + np.dot(mass[i:j], values[i:j] - values[i]) / mass[i:j].sum()

    def cost(i, j):
        return np.dot(mass[i:j], (values[i:j] - mean(i, j)) ** 2)

    best = [[(cost(0, j), 0) if j else (math.inf, 0) for j in range(n + 1)]]
    for _ in range(1, cells):
        best.append(
            [min([(best[-1][i][0] + cost(i, j), i) for i in range(j)] or [(math.inf, 0)]) for j in range(n + 1)]
        )
    means, end = [], n
    for layer in reversed(best):
        start = layer[end][1]
        means.append(mean(start, end))
        end = start
    return filled_up(means, entries)


def quantiles(x, entries, weights=None):
    """Entry i: the least value at or below which (i + 0.5) / entries of the mass lies."""
    order = np.argsort(x)
    weights = np.ones(np.size(x)) if weights is None else np.asarray(weights, np.float64)
    mass = np.cumsum(weights[order])
    wanted = (np.arange(entries) + 0.5) / entries * mass[-1]
    return filled_up(np.asarray(x, F32)[order][np.searchsorted(mass, wanted)], entries)


# ---- requantization: int32 sums to 8-bit codes ------------------------------------------------------


def requantize_float(acc, multiplier, zero_point, qmin, qmax):
    """Rule A: rint(clamp(float32(acc) * multiplier, qmin - z, qmax - z)) + z."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.asarray(acc).astype(F32) * np.asarray(multiplier, F32)
    clamped = np.clip(scaled, F32(qmin - zero_point), F32(qmax - zero_point))
    return (np.rint(clamped).astype(np.int32) + zero_point).astype(code_dtype(qmin, qmax))


def quantize_multiplier(value):
    """(q, e) with value ~ q * 2**(e - 31) and q in [2**30, 2**31), or (0, 0) for less than 2**-32."""
    mantissa, e = math.frexp(value)
    q = math.floor(mantissa * 2**31 + 0.5)
    if q == 2**31:
        q, e = q // 2, e + 1
    return (0, 0) if e < -31 else (q, e)


def requantize_fixed(acc, q, e, zero_point, qmin, qmax):
    """Rule B, in int64: a doubled high product rounded to nearest, then a division by a power of two rounded half
    away from zero."""
    q, e = np.asarray(q, np.int64), np.asarray(e, np.int64)
    shifted = (np.asarray(acc).astype(np.int64) << np.maximum(e, 0)).astype(np.int32).astype(np.int64)
    high = (shifted * q + (1 << 30)) >> 31
    divisor = np.int64(1) << np.maximum(-e, 0)
    rounded = np.sign(high) * ((np.abs(high) + divisor // 2) // divisor)
    return np.clip(rounded + zero_point, qmin, qmax).astype(code_dtype(qmin, qmax))


# ---- matrix products --------------------------------------------------------------------------------


def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    """sum_k (a - za)(b - zb), in int64; za is one number or one per row (m, 1), zb one number or one per column."""
    a = a.astype(np.int64) - np.asarray(a_zero_point, np.int64)
    b = b.astype(np.int64) - np.asarray(b_zero_point, np.int64)
    acc = a @ b
    if acc.size and (acc.min() < INT32.min or acc.max() > INT32.max):
        raise OverflowError("the sum leaves int32")
    return acc.astype(np.int32)


# What an activation that is a clamp keeps results in.
CLAMPS = {None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}


def code_clamps(activation, scale, zero_point, qmin, qmax):
    """The codes of these bounds, as near as codes qmin..qmax come: rint(bound / scale) + z, the quotient in float32."""
    with np.errstate(over="ignore"):
        steps = np.rint(F32(CLAMPS[activation]) / F32(scale))
    return tuple(int(code) for code in np.clip(steps + zero_point, qmin, qmax))


def at_least(y, low):
    """low where y is less than low, else y: NaN stays NaN."""
    return np.where(y < F32(low), F32(low), y).astype(F32)


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


def fma(x, y, z):
    """float32(x * y + z), rounded once. x * y must be exact in float64, which it is for a float32 and a code.

    The sum in float64 is rounded to odd (its lowest bit is set when something was lost); a second rounding to the
    much shorter float32 then gives what a single one gives (Boldo and Melquiond 2008).
    """
    product, addend = x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)
    with np.errstate(invalid="ignore"):
        total = product + addend
        part = total - product
        lost = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64)
    toward = np.where((lost > 0) == (total > 0), 1, -1)
    inexact_even = np.isfinite(total) & (lost != 0) & (bits & 1 == 0)
    with np.errstate(over="ignore", under="ignore"):
        return np.where(inexact_even, bits + toward, bits).view(np.float64).astype(F32)


def matmul_float(x, codes, scale, zero_point=0, offset=0, low=-np.inf, high=np.inf):
    """Weight-only product: clamp((x @ (codes - z)) * scale + offset, low, high), one fma per k, k ascending."""
    x = np.asarray(x, F32)
    weight = (codes.astype(np.int32) - np.asarray(zero_point, np.int32)).astype(F32)
    total = np.zeros((x.shape[0], weight.shape[1]), F32)
    for k in range(x.shape[1]):
        total = fma(x[:, k : k + 1], weight[k], total)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        y = at_least(total * np.asarray(scale, F32) + np.asarray(offset, F32), low)
    return -at_least(-y, -high)


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


# ---- the integer program ----------------------------------------------------------------------------


def evaluate(program, x):
    """All buffers of a program (qlite.nn.program) for the samples x, step by step, in the order of its buffers."""
    values = [None] * len(program.buffers)
    values[program.input] = np.asarray(x).astype(program.buffers[program.input].dtype)
    for step in program.steps:
        STEPS[step.kind](program.buffers, step, values)
    return values


def step_normalize(buffers, step, values):
    """(x - mean) / scale: a subtraction and a division, each rounded to float32."""
    with np.errstate(over="ignore", under="ignore"):
        values[step.output] = (values[step.input] - step.mean) / step.scale


def step_quantize(buffers, step, values):
    grid = buffers[step.output]
    limits = np.iinfo(grid.dtype)
    values[step.output] = quantize(values[step.input], F32(grid.scale), grid.zero_point, limits.min, limits.max)


def step_quantize_dynamic(buffers, step, values):
    codes, scale, zero_point = quantize_rows(values[step.input])
    grid = buffers[step.output]
    values[step.output], values[grid.row_scale], values[grid.row_zero_point] = codes, scale, zero_point


def step_dequantize(buffers, step, values):
    grid = buffers[step.input]
    values[step.output] = dequantize(values[step.input], F32(grid.scale), grid.zero_point)


def step_gemm(buffers, step, values):
    source, target = buffers[step.input], buffers[step.output]
    weight_zero_point = 0 if step.weight_zero_point is None else step.weight_zero_point
    bias = 0 if step.bias is None else step.bias
    low = 0 if step.relu else -np.inf
    if source.row_scale is not None:
        acc = matmul_integer(values[step.input], step.weight, values[source.row_zero_point], weight_zero_point)
        values[step.output] = scale_sums(acc, values[source.row_scale], step.weight_scale, bias, low)
        return
    acc = matmul_integer(values[step.input], step.weight, source.zero_point, weight_zero_point)
    acc = acc + np.asarray(bias, np.int32)
    limits = np.iinfo(np.int8 if target.dtype == "int8" else np.uint8)
    qmin = target.zero_point if step.relu else limits.min
    grid = None if target.dtype == "float32" else (target.scale, target.zero_point, qmin, limits.max)
    result = output_of_sums(acc, source.scale, step.weight_scale, grid, step.fixed, low)
    values[step.output] = result.astype(target.dtype)


def step_gemm_f32(buffers, step, values):
    zero_point = 0 if step.weight_zero_point is None else step.weight_zero_point
    bias = 0 if step.bias is None else step.bias
    low = 0 if step.relu else -np.inf
    values[step.output] = matmul_float(values[step.input], step.weight, step.weight_scale, zero_point, bias, low)


STEPS = {
    "normalize": step_normalize,
    "quantize": step_quantize,
    "quantize_dynamic": step_quantize_dynamic,
    "dequantize": step_dequantize,
    "gemm": step_gemm,
    "gemm_f32": step_gemm_f32,
}
