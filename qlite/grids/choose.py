"""Choosing the quantization parameters of one array."""

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.grids import codebooks
from qlite.grids.granularity import Granularity, along
from qlite.grids.histogram import CHANNEL_BINS, TENSOR_BINS, Histogram
from qlite.grids.qparams import QParams
from qlite.grids.spec import METHODS, NONFINITE, PERCENTILE, GridSpec, check_keep_zero, check_method, check_symmetric

#: Channels whose histograms are in memory at the same time: 16 KiB each.
CHANNELS_AT_ONCE = 256
#: Values that one call of the core sorts and searches: bounds the memory, and how long Ctrl-C waits.
VALUES_AT_ONCE = 1 << 20


def choose_qparams(
    w: Any,
    bits: int | None = None,
    *,
    grid: Any = "uniform",
    method: str = "minmax",
    axis: int | None = None,
    group_size: int | None = None,
    group_axis: int | None = None,
    symmetric: bool = True,
    signed: bool | None = None,
    narrow: bool | None = None,
    percentile: float = PERCENTILE,
    importance: Any = None,
    keep_zero: bool = False,
    scale_dtype: str | None = None,
    nonfinite: str = "raise",
) -> QParams:
    """Choose the quantization parameters of an array.

    Symmetric: zero is the middle code z and ``scale = max(-min / (z - qmin), max / (qmax - z))``. Asymmetric:
    the range is widened to hold 0, ``scale = (max - min) / (qmax - qmin)``, ``zero_point = rint(qmin - min / scale)``.
    The method says what stands for min and max. A constant channel gets a scale that brings it back exactly. On a
    codebook, ``real = scale * codebook[code]``, and the scale takes its ends to those of the range.

    Parameters
    ----------
    w : array_like of a real floating dtype
        The data.
    bits : int, optional
        Width of a code: 1 to 16 on the uniform grid (8 by default), 1 to 8 on the others (by default 4 or the one there
        is). One bit, symmetric, keeps the sign: ``+-mean(|w|)``, the least squared error whatever the method (Rastegari
        et al., *XNOR-Net*, 2016).
    grid : str or array_like
        Format of the codes. "uniform"; "kmeans", the codebook of the least squared error (optimal one-dimensional
        k-means; Lloyd 1957, Max 1960), and "quantile", equally many values to a code, both fitted to the data and
        without a scale; "log2", "apot" (sums of powers of two), "sign"; "nf4", "nf3"; the small floats "fp8_e4m3",
        "fp8_e5m2", "fp6_e2m3", "fp6_e3m2", "fp4"; and the block formats: "mxfp4", "mxfp6_e2m3", "mxfp6_e3m2",
        "mxfp8_e4m3", "mxfp8_e5m2", "mxint8", which are groups of 32 under a power of two, and "nvfp4", "fp4" in
        groups of 16 under scales of fp8_e4m3 (NVIDIA, *Introducing NVFP4*, 2025). An array is a codebook of
        your own: ascending values, in units of the scale, which stretches them to the data (with
        ``quantize(w, grid=values, scale=1.0)`` they stand as they are).
    method : {"minmax", "percentile", "mse", "entropy"}
        How much of the range is kept: all of it; what is left when ``100 - percentile`` percent are cut off each end;
        the range of the least expected squared error; the range of the least Kullback-Leibler divergence between the
        data's histogram and the quantized one (Migacz, *8-bit inference with TensorRT*, 2017), exact zeros left out.
    axis : int, optional
        The axis that keeps a scale per index. One scale for everything by default.
    group_size, group_axis : int, optional
        Cut `group_axis`, by default the last one that is not `axis`, into groups that have a scale each; the last may
        be shorter. Without `axis` every index of the other axes has its own groups, as in ONNX.
    symmetric : bool
        Whether zero is the middle code of a uniform grid. Activations that are never negative want
        ``symmetric=False``: they leave half the codes of a symmetric grid unused.
    signed : bool, optional
        Signed codes; as `symmetric` by default.
    narrow : bool, optional
        Leave the lowest code out; by default for signed symmetric grids, as runtimes expect of weights.
    percentile : float
        For the method of that name, over 50 and at most 100.
    importance : array_like, optional
        How much each value counts, for grid "kmeans": of the shape of `w`, at least 0.
    keep_zero : bool
        For the grids "kmeans" and "quantile": the entry nearest to 0 becomes 0, so that weights which pruning has set
        to 0 stay 0.
    scale_dtype : {"float32", "float16", "e8m0", "uint8", "fp8_e4m3"}, optional
        What scales are stored as: e8m0 is a power of two; the last two are codes under a float32 scale for each index
        of `axis`, or one for all (two levels, as in QLoRA and NVFP4). The scale is rounded up, for the last two to the
        nearest. float16 has scales from 2**-24 to 65504.
    nonfinite : {"raise", "saturate"}
        Whether NaN and infinities are an error, or count as zeros in the choice.

    Returns
    -------
    QParams

    Raises
    ------
    TypeError
        `w` is not of a real floating dtype, or an option is of another type.
    ValueError
        An option is not one of those above, `axis` does not exist, `w` is empty, or holds NaN or infinity, or
        needs scales that `scale_dtype` does not hold.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.choose_qparams(np.array([-1.0, 0.5, 1.27]))
    QParams(int8 [-127, 127], scale=0.01, zero_point=0)
    >>> ql.choose_qparams(np.array([0.0, 2.55]), symmetric=False)
    QParams(uint8 [0, 255], scale=0.01, zero_point=0)
    >>> ql.choose_qparams(np.eye(4, 64), 4, group_size=32)
    QParams(int4 [-7, 7], 8 scales for groups of 32 along axis 1: 0.1429 to 1)
    >>> ql.choose_qparams(np.array([0.0, 0.1, 4.0, 4.1]), 1, grid="kmeans").codebook
    array([[0.05, 4.05]], dtype=float32)
    """
    spec = GridSpec.of(bits, grid, symmetric, signed, narrow, scale_dtype)
    check_symmetric(spec, symmetric)
    percentile = check_method(method, METHODS, spec, percentile)
    _check.choice("nonfinite", nonfinite, NONFINITE)
    w = _check.real_array("w", w)
    granularity = Granularity.of(w.ndim, axis, spec.group_size(group_size), group_axis)
    if w.size == 0:
        raise ValueError(f"w: expected data to choose from, got an empty array of shape {w.shape}")
    keep_zero = check_keep_zero(keep_zero, spec)
    if importance is not None:
        importance = _checked_importance(importance, w.shape, spec)
    if nonfinite == "saturate":
        w = np.where(np.isfinite(w), w, np.float32(0))
    low, high = _finite_range(w, granularity)  # also where only its check of the data is wanted
    if spec.is_fitted:
        book = _fitted_codebook(w, importance, spec, granularity)
        if keep_zero:
            codebooks.put_zero(book)
        return QParams._of_spec(np.ones(book.shape[:-1], np.float32), 0, spec, granularity, book)
    if spec.is_sign:
        mean = _mean_magnitude(w, granularity)
        return QParams._of_range(-mean, mean, spec, granularity)
    if method == "minmax":
        if spec.block_exponent is None:
            return QParams._of_range(low, high, spec, granularity)
        return QParams._of_spec(_block_scale(np.maximum(-low, high), spec.block_exponent), 0, spec, granularity)
    if method == "mse":
        spec.check_scales(low, high)  # the search stays among the scales that there are
    if granularity.group_size is None:
        return QParams._of_range(*_searched(w, granularity, method, percentile, spec), spec, granularity)
    if method == "entropy":
        raise ValueError(
            "method: expected 'minmax', 'percentile' or 'mse' with groups, which have too few values for a histogram, "
            "got 'entropy'"
        )
    for rows, places in _rows_that_share(w, granularity):
        ends = _core.sorted_range(np.sort(rows, axis=1), method, percentile, *spec.core_options)
        low.ravel()[places], high.ravel()[places] = ends
    return QParams._of_range(low, high, spec, granularity)


def _checked_importance(importance: Any, shape: tuple[int, ...], spec: GridSpec) -> np.ndarray:
    if spec.grid != "kmeans":
        raise ValueError(f"importance: expected None for grid {spec.grid!r}, for only 'kmeans' weighs values, got some")
    importance = _check.finite("importance", _check.numbers("importance", importance).astype(np.float64))
    if importance.shape != shape:
        raise ValueError(f"importance: expected shape {shape} as w, got {importance.shape}")
    if np.any(importance < 0) or not importance.any():
        raise ValueError(f"importance: expected at least 0, and not 0 everywhere, got down to {importance.min()}")
    return importance


def _finite_range(w: np.ndarray, granularity: Granularity) -> tuple[np.ndarray, np.ndarray]:
    if not w.flags.forc:
        _check.memory("w", w.shape, w.dtype)
    low, high, all_finite = _core.minmax(w, granularity.shape(w.shape), *granularity.groups)
    if not all_finite:
        bad = ~np.isfinite(w)
        if not bad.any():
            raise _check.has_changed("w")
        first = ", ".join(map(str, np.argwhere(bad)[0]))
        raise ValueError(
            f"w: expected finite values, got NaN or infinity: {np.count_nonzero(bad):,} of {w.size:,} as float32, the "
            f"first at [{first}]"
        )
    return low, high


def _searched(
    w: np.ndarray, granularity: Granularity, method: str, percentile: float, spec: GridSpec
) -> tuple[np.ndarray, np.ndarray]:
    """The ranges that a method finds in the histogram of all values, or in those of the channels."""
    axis = granularity.axis
    ends = []
    for first in range(0, 1 if axis is None else w.shape[axis], CHANNELS_AT_ONCE):
        piece = w if axis is None else w[(slice(None),) * axis + (slice(first, first + CHANNELS_AT_ONCE),)]
        channels, bins = (1, TENSOR_BINS) if axis is None else (piece.shape[axis], CHANNEL_BINS)
        histogram = Histogram(channels, bins)
        _core.histogram_update(piece, -1 if axis is None else axis, histogram.state, histogram.counts, "w")
        ends.append(histogram.ranges(method, percentile, spec))
    low, high = (np.concatenate(part).reshape(along(axis, w.ndim)) for part in zip(*ends, strict=True))
    return low, high


def _rows_that_share(w: np.ndarray, granularity: Granularity) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of values that share their parameters, and for each row the place of these in the parameters' array.

    Rows come in pieces of the same length: first all full groups, then the shorter ones that end the axis that is cut.
    """
    shape = granularity.shape(w.shape)
    cut = granularity.group_axis
    own = [i for i in range(w.ndim) if i != cut and shape[i] == w.shape[i]]
    shared = [i for i in range(w.ndim) if i != cut and i not in own]
    order = own + ([] if cut is None else [cut]) + shared
    length, size = (1, 1) if cut is None else (w.shape[cut], min(granularity.group_size or 1, w.shape[cut]))
    rows = int(np.prod([w.shape[i] for i in own], dtype=np.int64))
    values = w.transpose(order).reshape(rows, length, -1)
    places = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape).transpose(order).reshape(rows, -1)
    full = length // size
    parts = [(values[:, : full * size].reshape(rows * full, -1), places[:, :full].ravel())]
    if length % size:
        parts.append((values[:, full * size :].reshape(rows, -1), places[:, full:].ravel()))
    for part, part_places in parts:
        step = max(1, VALUES_AT_ONCE // part.shape[1])
        for first in range(0, len(part), step):
            yield part[first : first + step], part_places[first : first + step]


def _fitted_codebook(
    w: np.ndarray, importance: np.ndarray | None, spec: GridSpec, granularity: Granularity
) -> np.ndarray:
    """The codebooks that fit the data, in the parameters' shape and then the entries."""
    shape = granularity.shape(w.shape)
    books = np.empty((int(np.prod(shape)), spec.entries), np.float32)
    weights = repeat(None) if importance is None else (rows for rows, _ in _rows_that_share(importance, granularity))
    for (rows, places), weight in zip(_rows_that_share(w, granularity), weights, strict=False):
        if weight is None:
            rows = np.sort(rows, axis=1)
        else:
            order = np.argsort(rows, axis=1, kind="stable")
            rows, weight = np.take_along_axis(rows, order, 1), np.take_along_axis(weight, order, 1)
        books[places] = _core.sorted_codebook(rows, weight, spec.grid, spec.entries)
    return books.reshape(*shape, spec.entries)


def _mean_magnitude(w: np.ndarray, granularity: Granularity) -> np.ndarray:
    """The mean of ``abs(w)`` over the values that share their parameters."""
    shape = granularity.shape(w.shape)
    _, _, magnitudes = _core.moments(w, shape, *granularity.groups)
    counts = np.ones(())
    for length, parameters in zip(w.shape, shape, strict=True):
        size = length if parameters == 1 else 1 if parameters == length else granularity.groups[0]
        counts = np.multiply.outer(counts, np.diff(np.minimum(np.arange(parameters + 1) * size, length)))
    return (magnitudes / counts).astype(np.float32)


def _block_scale(greatest: np.ndarray, block_exponent: int) -> np.ndarray:
    """The scale of a block by its greatest magnitude: ``2**(floor(log2(greatest)) - block_exponent)``, 1 for zeros."""
    _, exponent = np.frexp(greatest)
    powers = np.ldexp(np.float32(1), np.clip(exponent - 1 - block_exponent, -126, 127))
    return np.where(greatest == 0, np.float32(1), powers).astype(np.float32)
