"""Ranges and histograms of a stream of values, per channel."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite.grids.granularity import Granularity, along
from qlite.grids.qparams import QParams
from qlite.grids.spec import GridSpec

#: Bins that find a clipping range within 0.01 dB of the sample's optimum, with an outlier 30 times as far out as the
#: rest; a quarter of them for channels, of which there are many.
TENSOR_BINS = 8192
CHANNEL_BINS = 2048


class Histogram:
    """State of a calibrator: for each channel the exact range and the counts of a histogram."""

    FIELDS = ("exponent", "origin", "count", "zeros")

    def __init__(self, channels: int, bins: int) -> None:
        self.state = np.zeros(channels, _core.HISTOGRAM_DTYPE)
        self.counts = np.zeros((channels, bins), np.int64)
        _core.histogram_clear(self.state, self.counts)

    @classmethod
    def of(cls, state: np.ndarray, counts: np.ndarray) -> "Histogram":
        """The histogram that these arrays belong to."""
        histogram = object.__new__(cls)
        histogram.state, histogram.counts = state, counts
        return histogram

    def copy(self) -> "Histogram":
        """Another histogram with the same values."""
        return Histogram.of(self.state.copy(), self.counts.copy())

    @classmethod
    def side_by_side(cls, parts: Sequence["Histogram"]) -> "Histogram":
        """One histogram for the channels of all parts."""
        return cls.of(np.concatenate([part.state for part in parts]), np.concatenate([part.counts for part in parts]))

    def merge(self, other: "Histogram") -> "Histogram":
        """Take in the counts of another histogram; returns this one."""
        _core.histogram_merge(self.state, self.counts, other.state, other.counts)
        return self

    def qparams(self, method: str, percentile: float, spec: GridSpec, granularity: Granularity) -> QParams:
        """Choose parameters for the values that have been counted."""
        shape = along(granularity.axis, granularity.ndim)
        if spec.is_fitted:
            books = _core.histogram_codebook(self.state, self.counts, spec.grid, spec.entries)
            books = books.reshape(*shape, spec.entries)
            return QParams._of_spec(np.ones(books.shape[:-1], np.float32), 0, spec, granularity, books)
        low, high = self.ranges(method, percentile, spec)
        return QParams._of_range(low.reshape(shape), high.reshape(shape), spec, granularity)

    def ranges(self, method: str, percentile: float, spec: GridSpec) -> tuple[np.ndarray, np.ndarray]:
        """The ends of each channel's range."""
        if method == "minmax" and not spec.is_sign:
            return self.state["min"], self.state["max"]
        method = "mse" if spec.is_sign else method
        return _core.histogram_range(self.state, self.counts, method, percentile, *spec.core_options)

    def to_json(self) -> list[dict[str, Any]]:
        """A dict for each channel, without the bins that are empty, for `from_json`."""
        channels = []
        for state, counts in zip(self.state, self.counts, strict=True):
            used = np.flatnonzero(counts)
            ends = {name: state[name].item() for name in ("min", "max") if state["count"]}
            fields = {name: state[name].item() for name in self.FIELDS}
            channels.append({**fields, **ends, "bins": used.tolist(), "counts": counts[used].tolist()})
        return channels

    @classmethod
    def from_json(cls, channels: list[dict[str, Any]], bins: int) -> "Histogram":
        """The histogram that `to_json` wrote; ValueError for one that no values could have led to."""
        half = cls(len(channels), bins)
        for state, counts, channel in zip(half.state, half.counts, channels, strict=True):
            for name in cls.FIELDS:
                state[name] = _check.integer(name, channel[name])
            if channel["count"]:
                with np.errstate(over="ignore"):  # merging refuses infinities
                    state["min"], state["max"] = channel["min"], channel["max"]
            used, filled = (np.array(channel[name] or np.zeros(0, int)) for name in ("bins", "counts"))
            if used.dtype.kind != "i" or filled.dtype.kind != "i" or used.shape != filled.shape or used.ndim != 1:
                raise ValueError("a count belongs to a bin")
            if np.any(used < 0) or np.any(np.diff(used) <= 0):
                raise ValueError("bins ascend")
            counts[used] = filled
        cls(len(channels), bins).merge(half)  # refuses a state that no values lead to
        return half
