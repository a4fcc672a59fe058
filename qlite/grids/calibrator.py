"""Ranges of values, from a stream of batches."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite._foreign import is_array
from qlite._locks import in_order, new_lock
from qlite._public import public
from qlite.grids.granularity import Granularity, along
from qlite.grids.histogram import CHANNEL_BINS, TENSOR_BINS, Histogram
from qlite.grids.qparams import QParams
from qlite.grids.spec import METHODS, PERCENTILE, GridSpec, check_keep_zero, check_method
from qlite.progress import progress

#: Values of an array that `Calibrator.from_data` takes in at once: bounds the memory, not the result.
BATCH_VALUES = 1 << 20
JSON_FORMAT = "qlite calibrator 1"
#: Names of the state, besides the two histograms.
FIELDS = ("axis", "bins", "momentum", "ndim", "batches", "average")
#: Limit of NumPy.
MAX_NDIM = 64


@public
class Calibrator:
    """Counts the values of batches, and chooses quantization parameters for them. Several threads may share one.

    The state has a fixed size whatever the number of batches: the exact minimum and maximum, and a histogram whose bins
    have a power of two as their width, once for the batches of odd and once for those of even number. Their sum depends
    on the values only, not on their order, and two calibrators merge exactly: merged parts equal one pass over
    everything. Exact zeros are counted apart.

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
        self._lock = new_lock()
        self._ndim: int | None = None
        self._average: np.ndarray | None = None
        self._batches = 0
        self._halves = [Histogram(1, bins), Histogram(1, bins)]

    @classmethod
    def from_data(
        cls, data: Any, axis: int | None = None, bins: int | None = None, momentum: float | None = None
    ) -> "Calibrator":
        """Take in data of any form, with a progress bar if it takes long and tqdm is installed.

        Parameters
        ----------
        data : array_like, iterable of array_like, or callable
            An array (a memory map is read piece by piece), batches from a list, a generator or any other iterable, or a
            function without parameters that returns one of these, as TensorFlow Lite's representative dataset. Pairs
            and dicts, of inputs and labels for example, are refused: give ``(x for x, _ in loader)``.
        axis, bins, momentum
            As in the class.

        Raises
        ------
        TypeError, ValueError
            As `update`; or there are no values, as in an iterator that was read before.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.Calibrator.from_data(np.full(100, x) for x in (1.0, 2.0))
        Calibrator(200 values in [1, 2], 8192 bins)
        """
        calibrator = cls(axis, bins, momentum)
        if callable(data) and not hasattr(data, "__array__"):
            data = data()
        if isinstance(data, Mapping):
            data = _alone("data", data)
        if isinstance(data, (str, bytes)):
            raise TypeError(f"data: expected arrays, got {data!r:.60}: numpy.load opens files")
        if isinstance(data, np.ndarray):
            data = list(_pieces(data, _check.axis(axis, data.ndim)))
        elif is_array(data) or not isinstance(data, Iterable):
            data = [_check.real_array("data", data)]
        for batch in progress(data, "calibrating", "batch"):
            calibrator.update(batch)
        if calibrator._ndim is None:
            raise ValueError("data: expected at least one value to calibrate with, got none")
        return calibrator

    def update(self, batch: Any) -> "Calibrator":
        """Take in a batch; returns the calibrator itself.

        Parameters
        ----------
        batch : array_like of a real floating dtype
            Any shape; along `axis` always as long as the first batch. An empty batch changes nothing.

        Raises
        ------
        TypeError
            `batch` is not of a real floating dtype, or is a dict or a sequence of arrays.
        ValueError
            `batch` holds NaN or infinity, or its shape does not match. Nothing has been counted then.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.Calibrator().update(np.array([0.0, 1.0])).update(np.array([[3.0]]))
        Calibrator(3 values in [0, 3], 8192 bins)
        """
        return self._take("batch", _check.real_array("batch", _alone("batch", batch)))

    def _take(self, name: str, batch: np.ndarray) -> "Calibrator":
        """Take in float32 data that goes by this name in messages."""
        axis = _check.axis(self._axis, batch.ndim)
        if batch.size == 0:
            return self
        channels = 1 if axis is None else batch.shape[axis]
        with self._lock:
            half = self._halves[self._batches % 2]
            if channels != len(half.state):
                if self._ndim is not None:
                    raise ValueError(f"{name}: expected {len(half.state)} channels along axis {axis}, got {channels}")
                half = Histogram(channels, self._bins)
            before = self._halves, self._ndim, self._average, self._batches
            average = self._moved_average(batch, axis)
            if self._ndim is None:
                self._halves = [half, Histogram(channels, self._bins)]
            self._ndim = max(self._ndim or 0, batch.ndim)
            self._average = average
            self._batches += 1
            try:  # last: Ctrl-C comes through when the core is done, and then the whole batch has been taken in
                _core.histogram_update(batch, -1 if axis is None else axis, half.state, half.counts, name)
            except Exception:
                self._halves, self._ndim, self._average, self._batches = before
                raise
        return self

    def _moved_average(self, batch: np.ndarray, axis: int | None) -> np.ndarray | None:
        if self._momentum is None:
            return None
        low, high, _ = _core.minmax(batch, Granularity(batch.ndim, axis).shape(batch.shape))
        seen = np.stack([low.ravel(), high.ravel()]).astype(np.float64)
        before = seen if self._average is None else self._average
        with np.errstate(invalid="ignore"):  # the histogram refuses infinities
            return before + self._momentum * (seen - before)

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
        with ExitStack() as locks:
            for lock in in_order(self._lock, other._lock):
                locks.enter_context(lock)
            if other._ndim is None:
                return self
            halves = [half.copy() for half in other._halves]  # copies: `other` may be this calibrator
            if self._ndim is not None:
                if len(self._halves[0].state) != len(halves[0].state):
                    raise ValueError(
                        f"other: expected {len(self._halves[0].state)} channels, got {len(halves[0].state)}"
                    )
                halves = [half.merge(own) for half, own in zip(halves, self._halves, strict=True)]
            self._ndim = max(self._ndim or 0, other._ndim)
            self._halves = halves
            self._batches += other._batches
        return self

    def _followed_by(self, later: "Calibrator") -> "Calibrator":
        """A calibrator that has seen the batches of this one and then those of `later`.

        Each batch is in the half that it would be in after one pass over all.
        """
        both, later = copy.copy(self), copy.copy(later)
        if self._batches % 2:
            later._halves.reverse()
        return both.merge(later)

    @classmethod
    def _side_by_side(cls, parts: Sequence["Calibrator"]) -> "Calibrator":
        """A calibrator for the channels of all parts, which have seen the same number of batches of the same rank."""
        both = copy.copy(parts[0])
        both._halves = [Histogram.side_by_side(halves) for halves in zip(*(p._halves for p in parts), strict=True)]
        return both

    def __getstate__(self) -> dict[str, Any]:
        """A copy of the state, of plain objects and arrays alone."""
        with self._lock:
            halves = [(half.state.copy(), half.counts.copy()) for half in self._halves]
            return {**{name: getattr(self, f"_{name}") for name in FIELDS}, "halves": halves}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._lock = new_lock()
        self._halves = [Histogram.of(*half) for half in state["halves"]]
        for name in FIELDS:
            setattr(self, f"_{name}", state[name])

    def to_json(self) -> str:
        """Return the whole state as JSON, for `from_json`; empty bins are left out.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.Calibrator.from_json(ql.Calibrator().update(np.ones(3)).to_json())
        Calibrator(3 values in [1, 1], 8192 bins)
        """
        import json

        state = self.__getstate__()
        average = state["average"]
        content = {
            "format": JSON_FORMAT,
            **{name: state[name] for name in FIELDS},
            "average": None if average is None else average.tolist(),
            "halves": [Histogram.of(*half).to_json() for half in state["halves"]],
        }
        return json.dumps(content, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Calibrator":
        """Return the calibrator that `to_json` wrote.

        Raises
        ------
        TypeError
            `text` is no string.
        ValueError
            It is not what `to_json` writes, or no values could have led to such a state.

        Examples
        --------
        >>> import qlite as ql
        >>> ql.Calibrator.from_json(ql.Calibrator(axis=1).to_json())
        Calibrator(nothing seen, 2048 bins)
        """
        import json

        if not isinstance(text, (str, bytes)):
            raise TypeError(f"text: expected a string, got {type(text).__name__}")
        try:
            content = json.loads(text)
            if content["format"] != JSON_FORMAT:
                raise ValueError(f"it says {content['format']!r}")
            calibrator = cls(content["axis"], content["bins"], content["momentum"])
            first, second = (Histogram.from_json(channels, calibrator._bins) for channels in content["halves"])
            if len(first.state) != len(second.state) or (calibrator._axis is None and len(first.state) != 1):
                raise ValueError("the halves have different numbers of channels, or several without an axis")
            calibrator._halves = [first, second]
            calibrator._batches = _check.integer("batches", content["batches"])
            if calibrator._batches < 0:
                raise ValueError(f"it counts {calibrator._batches} batches")
            if content["ndim"] is not None:
                calibrator._ndim = _check.integer("ndim", content["ndim"])
                if not 0 <= calibrator._ndim <= MAX_NDIM:
                    raise ValueError(f"data has no {calibrator._ndim} dimensions")
                _check.axis(calibrator._axis, calibrator._ndim)
            if content["average"] is not None:
                average = np.array(content["average"], np.float64).reshape(2, len(first.state))
                calibrator._average = _check.finite("average", average)
            if {calibrator._ndim is None, calibrator._batches <= 0} != {calibrator.count == 0}:
                raise ValueError("a rank and batches belong to values that were counted")
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, MemoryError) as error:
            raise ValueError(f"text: expected what Calibrator.to_json() writes, got something else: {error}") from None
        return calibrator

    @property
    def count(self) -> int:
        """How many values have been seen."""
        return sum(int(half.state["count"].sum()) for half in self._halves)

    def qparams(
        self,
        method: str = "minmax",
        bits: int | None = None,
        *,
        grid: Any = "uniform",
        symmetric: bool = False,
        signed: bool | None = None,
        narrow: bool | None = None,
        percentile: float = PERCENTILE,
        keep_zero: bool = False,
        scale_dtype: str | None = None,
    ) -> QParams:
        """Choose quantization parameters for what has been seen.

        Parameters
        ----------
        method : {"minmax", "percentile", "mse", "entropy", "ema"}
            As for `choose_qparams`; ``"ema"`` takes the moving average of the batches' ranges.
        bits, grid, symmetric, signed, narrow, percentile, keep_zero, scale_dtype
            See `choose_qparams`; asymmetric by default, as activations mostly are. "kmeans" and "quantile" fit their
            codebook to the histogram. The block formats are for arrays: nothing is remembered of single groups.

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
        spec = _without_groups(GridSpec.of(bits, grid, symmetric, signed, narrow, scale_dtype))
        percentile = check_method(method, (*METHODS, "ema"), spec, percentile)
        keep_zero = check_keep_zero(keep_zero, spec)
        with self._lock:
            granularity = self._granularity()
            if method != "ema":
                return self._total().qparams(method, percentile, spec, granularity, keep_zero)
            if self._average is None:
                raise ValueError("method: 'ema' needs Calibrator(momentum=...)")
            low, high = self._average.astype(np.float32)
            shape = along(granularity.axis, granularity.ndim)
            high = np.maximum(low, high)  # rounding may put the ends of constant batches in the wrong order
            return QParams._of_range(low.reshape(shape), high.reshape(shape), spec, granularity)

    def stability(
        self,
        method: str = "minmax",
        bits: int | None = None,
        *,
        symmetric: bool = False,
        percentile: float = PERCENTILE,
    ) -> float:
        """Return how far the answer moves between halves of the data: 0.01 means by 1 % of the range.

        The batches of odd and those of even number give parameters of a uniform grid each. The figure is the greatest
        distance of the ends of their ranges, over all channels, relative to the width of the range that all data gives.
        A large one asks for more data, or for a method that depends less on single values.

        Parameters
        ----------
        method, bits, symmetric, percentile
            As for `qparams`; not "ema".

        Raises
        ------
        TypeError, ValueError
            As `qparams`; fewer than two batches have been seen.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> c = ql.Calibrator().update(np.array([0.0, 1.0])).update(np.array([0.0, 1.1]))
        >>> round(c.stability(), 3)
        0.091
        """
        spec = GridSpec.of(bits, "uniform", symmetric, None, None, None)
        percentile = check_method(method, METHODS, spec, percentile)
        with self._lock:
            granularity = self._granularity()
            if not all(half.state["count"].all() for half in self._halves):
                raise ValueError("method: expected two batches or more to compare, but update() has seen one")
            parts = (*self._halves, self._total())
            (low_a, high_a), (low_b, high_b), (low, high) = (
                part.qparams(method, percentile, spec, granularity).range for part in parts
            )
        return float(np.max(np.maximum(np.abs(low_a - low_b), np.abs(high_a - high_b)) / (high - low)))

    def _granularity(self) -> Granularity:
        if self._ndim is None:
            raise ValueError("method: expected data to choose from, but update() has seen none")
        return Granularity.of(self._ndim, self._axis)

    def _total(self) -> Histogram:
        return self._halves[0].copy().merge(self._halves[1])

    def __repr__(self) -> str:
        if self._ndim is None:
            return f"Calibrator(nothing seen, {self._bins} bins)"
        states = np.stack([half.state for half in self._halves])
        channels = f" in {states.shape[1]} channels" if states.shape[1] > 1 else ""
        low, high = states["min"].min(), states["max"].max()
        return f"Calibrator({self.count} values{channels} in [{low:.6g}, {high:.6g}], {self._bins} bins)"


def _without_groups(spec: GridSpec) -> GridSpec:
    """Return `spec` if it is of no block format."""
    if spec.group_size(None) is not None:
        raise ValueError(f"grid: expected one without groups, got {spec.grid!r}")
    return spec


def _alone(name: str, value: Any) -> Any:
    """Return what can be one array only; of several nobody but the user knows which one is meant."""
    if isinstance(value, Mapping):
        first = next(iter(value), "x")
        raise TypeError(
            f"{name}: expected an array, got a {type(value).__name__}: choose one, such as {name}[{first!r}]"
        )
    if isinstance(value, (tuple, list)) and any(getattr(part, "ndim", 0) > 0 for part in value):
        raise TypeError(
            f"{name}: expected an array, got a {type(value).__name__} of {len(value)}, such as inputs and labels: "
            f"choose one, such as {name}[0]"
        )
    return value


def _pieces(data: np.ndarray, axis: int | None) -> Iterator[np.ndarray]:
    """Pieces of an array, cut along its longest axis that is not kept."""
    cut = max((i for i in range(data.ndim) if i != axis), key=lambda i: data.shape[i], default=None)
    if cut is None or data.size <= BATCH_VALUES:
        yield data
        return
    step = max(1, BATCH_VALUES * data.shape[cut] // data.size)
    for first in range(0, data.shape[cut], step):
        yield data[(slice(None),) * cut + (slice(first, first + step),)]
