"""Ranges of values, from a stream of batches."""

from contextlib import ExitStack
from threading import Lock
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.qparams import GRIDS, QParams, along, code_range

#: Enough to find a clipping range within 0.01 dB of the sample's optimum, with an outlier 30 times as far out as the
#: rest; channels, of which there are many, get a quarter.
TENSOR_BINS = 8192
CHANNEL_BINS = 2048

NONFINITE = ("raise", "saturate")
#: What the method "percentile" keeps, if nothing else is said.
PERCENTILE = 99.99

METHODS = ("minmax", "percentile", "mse", "entropy")


def finite_range(name: str, x: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest value, of everything or along an axis, of data that holds finite values only."""
    shape = tuple(n if i == axis else 1 for i, n in enumerate(x.shape))
    low, high, has_nan = _core.minmax(x, shape)
    if has_nan or not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")
    return low.ravel(), high.ravel()


def check_options(method: Any, methods: tuple[str, ...], bits: Any, percentile: Any, **flags: Any) -> float:
    """Check what any choice of a grid takes, before the data is looked at; returns the percentile as a float."""
    _check.choice("method", method, methods)
    _check.eight_bits(bits)
    _check.choice("grid", flags.pop("grid"), tuple(GRIDS))
    code_range(**flags)
    percentile = _check.number("percentile", percentile)
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile: expected over 50 and at most 100, got {percentile}")
    if method != "percentile" and percentile != PERCENTILE:
        raise ValueError(f"percentile: expected the default unless method='percentile', got {percentile}")
    return percentile


class Calibrator:
    """Watches batches of values and answers with grids. Several threads may share one.

    The state has a fixed size whatever the number of batches: the exact minimum and maximum, and a histogram whose bins
    have a power of two as their width. It depends on the values only, not on their order, and two calibrators merge
    exactly: merged parts equal one pass over everything. Exact zeros are counted apart.

    Parameters
    ----------
    axis : int, optional
        The axis that keeps a range per index; one range for everything by default.
    bins : int, optional
        Bins per range, a power of two from 128 to 65536; by default 8192, and 2048 with `axis`.
    momentum : float, optional
        Also keep an exponential moving average of the batches' ranges, ``average += momentum * (batch - average)``, for
        ``method="ema"``. It depends on the order of the batches, so such calibrators do not merge.

    Raises
    ------
    TypeError
        An argument is no number.
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

    def __init__(self, axis: int | None = None, bins: int | None = None, momentum: float | None = None) -> None:
        default = TENSOR_BINS if axis is None else CHANNEL_BINS
        bins = default if bins is None else _check.integer("bins", bins)
        if not (128 <= bins <= 65536 and bins & (bins - 1) == 0):
            raise ValueError(f"bins: expected a power of two from 128 to 65536, got {bins}")
        if momentum is not None and not 0 < _check.number("momentum", momentum) <= 1:
            raise ValueError(f"momentum: expected over 0 and at most 1, got {momentum}")
        self._axis = None if axis is None else _check.integer("axis", axis)
        self._bins = bins
        self._momentum = momentum
        self._lock = Lock()
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

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.Calibrator().update(np.array([0.0, 1.0])).update(np.array([[3.0]]))
        Calibrator(3 values in [0, 3], 8192 bins)
        """
        return self._take("batch", _check.real_array("batch", batch))

    def _take(self, name: str, batch: np.ndarray) -> "Calibrator":
        """`update` with float32 data that goes by another name in messages."""
        axis = _check.axis(self._axis, batch.ndim)
        if batch.size == 0:
            return self
        channels = 1 if axis is None else batch.shape[axis]
        low, high = finite_range(name, batch, axis)
        with self._lock:
            if self._ndim is None:
                self._allocate(channels)
            elif channels != len(self._state):
                raise ValueError(f"{name}: expected {len(self._state)} channels along axis {axis}, got {channels}")
            _core.histogram_update(batch, -1 if axis is None else axis, self._state, self._counts)
            self._ndim = batch.ndim
            if self._momentum is not None:
                seen = np.stack([low, high]).astype(np.float64)
                before = seen if self._average is None else self._average
                self._average = before + self._momentum * (seen - before)
        return self

    def merge(self, other: "Calibrator") -> "Calibrator":
        """Take in everything that another calibrator has seen; returns the calibrator itself.

        Raises
        ------
        TypeError
            `other` is no Calibrator.
        ValueError
            The two differ in axis, bins or channels, or keep a moving average, which depends on the order.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> a, b = (ql.Calibrator().update(np.array([x, 2 * x])) for x in (1.0, 3.0))
        >>> a.merge(b)
        Calibrator(4 values in [1, 6], 8192 bins)
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
        with ExitStack() as held:
            for calibrator in sorted({self, other}, key=id):  # in one order: two that merge each other never wait
                held.enter_context(calibrator._lock)
            if other._ndim is None:
                return self
            if self._ndim is None:
                self._allocate(len(other._state))
                self._ndim = other._ndim
            elif len(self._state) != len(other._state):
                raise ValueError(f"other: expected {len(self._state)} channels, got {len(other._state)}")
            state, counts = other._state.copy(), other._counts.copy()  # it may be this one
            _core.histogram_merge(self._state, self._counts, state, counts)
        return self

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            copies = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in self.__dict__.items()}
        return {k: v for k, v in copies.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

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
        percentile: float = PERCENTILE,
    ) -> QParams:
        """Choose a grid for what has been seen.

        Parameters
        ----------
        method : {"minmax", "percentile", "mse", "entropy", "ema"}
            As for `choose_qparams`; ``"ema"`` takes the moving average of the batches' ranges.
        bits, grid, symmetric, signed, narrow, percentile
            See `choose_qparams`; asymmetric by default, as activations mostly are.

        Raises
        ------
        TypeError
            An option is of another type.
        ValueError
            Nothing has been seen, or an option is not one of those that there are.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> c = ql.Calibrator().update(np.array([-1.27, 0.5]))
        >>> c.qparams(symmetric=True)
        QParams(int8 [-127, 127], scale=0.01, zero_point=0)
        """
        options: dict[str, Any] = {"grid": grid, "symmetric": symmetric, "signed": signed, "narrow": narrow}
        percentile = check_options(method, (*METHODS, "ema"), bits, percentile, **options)
        with self._lock:
            if self._ndim is None:
                raise ValueError("method: expected data to choose from, but update() has seen none")
            axis = _check.axis(self._axis, self._ndim)
            shape = along(axis, self._ndim)
            if method == "ema":
                if self._average is None:
                    raise ValueError("method: 'ema' needs Calibrator(momentum=...)")
                low, high = self._average
                high = np.maximum(low, high)  # for constant batches rounding may put one before the other
            elif method == "minmax":
                low, high = self._state["min"], self._state["max"]
            else:
                codes = QParams.from_range(-1.0, 1.0, bits, **options)
                low, high = _core.histogram_range(
                    self._state, self._counts, method, percentile, codes.qmin, codes.qmax, bool(symmetric)
                )
            return QParams.from_range(low.reshape(shape), high.reshape(shape), bits, axis=axis, **options)

    def __repr__(self) -> str:
        if self._ndim is None:
            return f"Calibrator(nothing seen, {self._bins} bins)"
        channels = f" in {len(self._state)} channels" if len(self._state) > 1 else ""
        low, high = self._state["min"].min(), self._state["max"].max()
        return f"Calibrator({self.count} values{channels} in [{low:.6g}, {high:.6g}], {self._bins} bins)"
