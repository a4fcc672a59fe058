"""Where the error of codes comes from: sums that split it into clipping and rounding, and a divergence."""

import math

import numpy as np
from reference.basics import F32, HUGE, spread
from reference.elementwise import dequantize
from reference.sums import eight_sums


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


def cells_of(book):
    """The distinct entries of a codebook and the edges of their cells, which meet in the middle between entries; those
    at the ends are as wide outwards as inwards."""
    values = np.unique(book[~np.isnan(book)]).astype(np.float64)
    if len(values) == 1:
        return values, np.array([-HUGE, HUGE])
    ends = values[0] - (values[1] - values[0]) / 2, values[-1] + (values[-1] - values[-2]) / 2
    edges = np.array([ends[0], *(values[:-1] + values[1:]) / 2, ends[1]])
    return values, np.clip(edges, -HUGE, HUGE).astype(F32)


def place_on_codebook(t, entry, values, edges):
    """What `place` says, of one value t = w / scale whose code stands for this entry."""
    given = cell = int(np.searchsorted(values, entry))
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
        books = codebook.reshape(-1, codebook.shape[-1])
        number = np.zeros(scale.shape, int) if codebook.ndim == 1 else np.arange(scale.size).reshape(scale.shape)
        number = spread(number, w.shape, group_size, group_axis)
        entry, cells = books[number, codes], [cells_of(book) for book in books]
        v, t = s * entry, w / s
        rows = zip(t.ravel(), entry.ravel(), number.ravel().tolist(), strict=True)
        places = zip(*(place_on_codebook(value, own, *cells[n]) for value, own, n in rows), strict=True)
        places = [np.array(a).reshape(w.shape) for a in places]
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
