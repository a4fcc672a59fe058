"""Ranges of values: from one array, or from a stream of batches."""

from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.qparams import QParams

#: Enough to find a clipping range within 0.01 dB of the sample's optimum, with an outlier 30 times as far out as the
#: rest; channels, of which there are many, get a quarter.
TENSOR_BINS = 8192
CHANNEL_BINS = 2048

METHODS = ("minmax", "percentile", "mse", "entropy")


def _scale_shape(axis: int | None, ndim: int, channels: int) -> tuple[int, ...]:
    """The shape of a scale: the rank of the data, 1 everywhere but along `axis`."""
    return tuple(channels if i == axis else 1 for i in range(ndim))


def _finite_range(name: str, x: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    low, high, has_nan = _core.minmax(x, -1 if axis is None else axis)
    if has_nan or not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")
    return low, high


class Calibrator:
    """Watches batches of values and answers with grids.

    The state has a fixed size whatever the number of batches: the exact minimum and maximum, and a histogram whose bins
    have a power of two as their width. It depends on the values only, not on their order, and two calibrators merge
    exactly: merged parts equal one pass over everything. Exact zeros are counted apart.

    Parameters
    ----------
    axis : int, optional
        The axis that keeps a range per index; one range for everything by default.
    bins : int
        Bins per range, a power of two from 128 to 65536.
    momentum : float, optional
        Also keep an exponential moving average of the batches' ranges, ``average += momentum * (batch - average)``, for
        ``method="ema"``. It depends on the order of the batches, so such calibrators do not merge.

    Raises
    ------
    ValueError
        `bins` or `momentum` is outside what is named above.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> c = ql.Calibrator()
    >>> for batch in np.linspace(0, 6, 600).reshape(6, 100):
    ...     _ = c.update(batch)
    >>> c
    Calibrator(600 values in [0, 6], 8192 bins)
    >>> c.qparams()
    QParams(uint8 [0, 255], scale=0.0235294, zero_point=0)
    """

    def __init__(self, axis: int | None = None, bins: int = TENSOR_BINS, momentum: float | None = None) -> None:
        if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)):
            raise TypeError(f"bins: expected an integer, got {bins!r}")
        if not (128 <= bins <= 65536 and bins & (bins - 1) == 0):
            raise ValueError(f"bins: expected a power of two from 128 to 65536, got {bins}")
        if momentum is not None and not 0 < momentum <= 1:
            raise ValueError(f"momentum: expected over 0 and at most 1, got {momentum}")
        if axis is not None and (isinstance(axis, bool) or not isinstance(axis, (int, np.integer))):
            raise TypeError(f"axis: expected an integer or None, got {axis!r}")
        self._axis = axis
        self._bins = int(bins)
        self._momentum = momentum
        self._ndim: int | None = None
        self._average: np.ndarray | None = None
        self._allocate(1)

    def _allocate(self, channels: int) -> None:
        self._state = np.zeros(channels, _core.HISTOGRAM_DTYPE)
        self._counts = np.zeros((channels, self._bins), np.int64)
        _core.histogram_clear(self._state, self._counts)

    def update(self, batch: Any) -> "Calibrator":
        """Take in a batch; returns the calibrator itself.

        Parameters
        ----------
        batch : array_like of a real floating dtype
            Any shape; along `axis` always as long as the first batch. An empty batch changes nothing.

        Raises
        ------
        TypeError
            `batch` is not of a real floating dtype.
        ValueError
            `batch` holds NaN or infinity, or its shape does not match. Nothing has been counted then.
        """
        return self._update("batch", _check.real_array("batch", batch))

    def _update(self, name: str, batch: np.ndarray) -> "Calibrator":
        axis = _check.axis(self._axis, batch.ndim)
        if batch.size == 0:
            return self
        channels = 1 if axis is None else batch.shape[axis]
        low, high = _finite_range(name, batch, axis)
        if self._ndim is None:
            self._allocate(channels)
        elif channels != len(self._state):
            raise ValueError(f"{name}: expected {len(self._state)} channels along axis {axis}, got {channels}")
        _core.histogram_update(batch, -1 if axis is None else axis, self._state, self._counts)
        self._ndim = batch.ndim
        if self._momentum is not None:
            seen = np.stack([low, high])
            self._average = seen if self._average is None else self._average + self._momentum * (seen - self._average)
        return self

    def merge(self, other: "Calibrator") -> "Calibrator":
        """Take in everything that another calibrator has seen; returns the calibrator itself.

        Raises
        ------
        TypeError
            `other` is no Calibrator.
        ValueError
            The two differ in axis, bins or channels, or keep a moving average, which depends on the order.
        """
        if not isinstance(other, Calibrator):
            raise TypeError(f"other: expected a Calibrator, got {type(other).__name__}")
        if self._momentum is not None or other._momentum is not None:
            raise ValueError("other: expected no momentum: a moving average depends on the order and cannot be merged")
        if (self._axis, self._bins) != (other._axis, other._bins):
            raise ValueError(
                f"other: expected axis={self._axis} and bins={self._bins}, "
                f"got axis={other._axis} and bins={other._bins}"
            )
        if other._ndim is None:
            return self
        if self._ndim is None:
            self._allocate(len(other._state))
            self._ndim = other._ndim
        elif len(self._state) != len(other._state):
            raise ValueError(f"other: expected {len(self._state)} channels, got {len(other._state)}")
        _core.histogram_merge(self._state, self._counts, other._state, other._counts)
        return self

    @property
    def count(self) -> int:
        """How many values have been seen."""
        return int(self._state["count"].sum())

    def qparams(
        self,
        method: str = "minmax",
        bits: int = 8,
        *,
        grid: str = "uniform",
        symmetric: bool = False,
        signed: bool | None = None,
        narrow: bool | None = None,
        percentile: float = 99.99,
    ) -> QParams:
        """Choose a grid for what has been seen; the options are those of `choose_qparams`, and ``method="ema"``.

        Raises
        ------
        ValueError
            Nothing has been seen, or an option is not one of those that there are.
        """
        _check.choice("method", method, (*METHODS, "ema"))
        _check.eight_bits(bits)
        if self._ndim is None:
            raise ValueError("method: expected data to choose from, but update() has seen none")
        if not 50 < percentile <= 100:
            raise ValueError(f"percentile: expected over 50 and at most 100, got {percentile}")
        axis = _check.axis(self._axis, self._ndim)
        shape = _scale_shape(axis, self._ndim, len(self._state))
        options = {"grid": grid, "symmetric": symmetric, "signed": signed, "narrow": narrow}
        if method == "ema":
            if self._average is None:
                raise ValueError("method: 'ema' needs Calibrator(momentum=...)")
            low, high = self._average
        elif method == "minmax":
            low, high = self._state["min"], self._state["max"]
        else:
            codes = QParams.from_range(np.float32(-1), np.float32(1), bits, **options)
            low, high = _core.histogram_range(
                self._state, self._counts, method, codes.qmin, codes.qmax, bool(symmetric), float(percentile)
            )
        return QParams.from_range(low.reshape(shape), high.reshape(shape), bits, axis=axis, **options)

    def __repr__(self) -> str:
        if self._ndim is None:
            return f"Calibrator(nothing seen, {self._bins} bins)"
        channels = f" in {len(self._state)} channels" if len(self._state) > 1 else ""
        low, high = self._state["min"].min(), self._state["max"].max()
        return f"Calibrator({self.count} values{channels} in [{low:.6g}, {high:.6g}], {self._bins} bins)"


def choose_qparams(
    w: Any,
    bits: int = 8,
    *,
    grid: str = "uniform",
    method: str = "minmax",
    axis: int | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    signed: bool | None = None,
    narrow: bool | None = None,
    percentile: float = 99.99,
    nonfinite: str = "raise",
) -> QParams:
    """Choose the grid for an array.

    Symmetric: zero stands at the middle code z and ``scale = max(-min / (z - qmin), max / (qmax - z))``. Asymmetric:
    the range is widened to hold 0, ``scale = (max - min) / (qmax - qmin)``, ``zero_point = rint(qmin - min / scale)``.
    The method says what stands for min and max. A constant channel gets a scale that brings it back exactly.

    Parameters
    ----------
    w : array_like of a real floating dtype
        The data.
    bits : int
        Width of a code; 8 so far.
    grid : {"uniform"}
        Where codes stand.
    method : {"minmax", "percentile", "mse", "entropy"}
        How much of the range is kept: all of it; what is left when ``100 - percentile`` percent are cut off each end;
        the range of the least expected squared error; the range of the least Kullback-Leibler divergence between the
        data's histogram and the quantized one (Migacz, *8-bit inference with TensorRT*, 2017), exact zeros left out.
    axis : int, optional
        The axis that keeps a scale per index. One scale for everything by default.
    group_size : None
        Groups are not supported so far.
    symmetric : bool
        Whether zero stands in the middle.
    signed : bool, optional
        Signed codes; as `symmetric` by default.
    narrow : bool, optional
        Leave the lowest code out; by default for signed symmetric grids, as runtimes expect of weights.
    percentile : float
        For the method of that name, over 50 and at most 100.
    nonfinite : {"raise", "saturate"}
        Whether NaN and infinities are an error or are left out of the choice.

    Returns
    -------
    QParams

    Raises
    ------
    TypeError
        `w` is not of a real floating dtype.
    ValueError
        An option is not one of those above, `axis` does not exist, `w` is empty, or holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.choose_qparams(np.array([-1.0, 0.5, 1.27]))
    QParams(int8 [-127, 127], scale=0.01, zero_point=0)
    >>> ql.choose_qparams(np.array([0.0, 2.55]), symmetric=False)
    QParams(uint8 [0, 255], scale=0.01, zero_point=0)
    """
    w = _check.real_array("w", w)
    _check.choice("method", method, ("minmax", "percentile", "mse", "entropy"))
    _check.choice("nonfinite", nonfinite, ("raise", "saturate"))
    _check.eight_bits(bits)
    _check.no_groups(group_size)
    axis = _check.axis(axis, w.ndim)
    if w.size == 0:
        raise ValueError(f"w: expected data to choose from, got an empty array of shape {w.shape}")
    if nonfinite == "saturate":
        w = np.where(np.isfinite(w), w, w.dtype.type(0))
    options = {"grid": grid, "symmetric": symmetric, "signed": signed, "narrow": narrow}
    if method != "minmax":
        calibrator = Calibrator(axis=axis, bins=TENSOR_BINS if axis is None else CHANNEL_BINS)
        return calibrator._update("w", w).qparams(method, bits, percentile=percentile, **options)
    low, high = _finite_range("w", w, axis)
    shape = _scale_shape(axis, w.ndim, low.size)
    return QParams.from_range(low.reshape(shape), high.reshape(shape), bits, axis=axis, **options)
