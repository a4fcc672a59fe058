"""What the values of a model are like on samples: all that their grids are chosen from."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from qlite import _check
from qlite._foreign import is_array
from qlite.grids.calibrator import Calibrator
from qlite.grids.qparams import QParams
from qlite.grids.spec import PERCENTILE
from qlite.nn.byte_samples import as_floats
from qlite.nn.layers.weighted import Weighted
from qlite.nn.model import Model
from qlite.nn.ties import ties
from qlite.progress import progress

#: Values of one layer that are held at once, and samples: bounds the memory, not the result.
VALUES_AT_ONCE, SAMPLES_AT_ONCE = 1 << 23, 4096
#: Share of the samples, those that reach farthest, which the method "trimmed" leaves out of a range.
TRIMMED = 0.03
#: Samples stand out where they reach so many times as far as the median one and so many times as far as the next of the
#: others, and are no more than such a share: the tail of a distribution does not. Of a value with few numbers most
#: samples have none that reaches far, and the next has to be as far behind as the median; single numbers may lie
#: anywhere. Few samples have no median to speak of.
FAR, APART, FEW = 3.0, 1.5, 0.05
FEW_NUMBERS, FEW_SAMPLES = 32, 16


class Outlier(NamedTuple):
    """A sample that stands out: its number in the data, the value where it does so most, how far it reaches there and
    how far the median sample does."""

    sample: int
    value: str
    reach: float
    median: float

    @property
    def times(self) -> float:
        """How many times as far as the median sample it reaches."""
        return self.reach / self.median

    def __str__(self) -> str:
        return f"{self.sample} ({self.reach:.3g} in {self.value!r}, {self.times:.1f} times the median)"


class Spread:
    """Samples and results that lie evenly spread over a stream of them: `most` / 2 to `most`, or all; none for 0.

    Which ones are kept depends on their numbers alone, not on how they come in parts.
    """

    def __init__(self, most: int) -> None:
        self.most, self.stride, self.count = most, 1, 0
        self._kept: list[tuple[np.ndarray, ...]] = []

    def add(self, arrays: tuple[np.ndarray, ...]) -> None:
        """Take in arrays, (samples, ...) each."""
        i = -self.count % self.stride
        while self.most and i < len(arrays[0]):
            if len(self._kept) == self.most:
                self._kept, self.stride = self._kept[::2], 2 * self.stride
                i += -(self.count + i) % self.stride
            else:
                self._kept.append(tuple(np.array(values[i]) for values in arrays))
                i += self.stride
        self.count += len(arrays[0])

    def without(self, numbers: Collection[int]) -> list[np.ndarray]:
        """Return what was kept, one array for each that came, without samples of these numbers; all if none is left."""
        kept = [row for i, row in enumerate(self._kept) if i * self.stride not in numbers] or self._kept
        return [np.stack(rows) for rows in zip(*kept, strict=True)]


class Observations:
    """What was seen of the values of a model.

    Attributes
    ----------
    group : dict of str
        For each value the first of those that have its grid.
    calibrators : dict of Calibrator
        Of all values of a grid, by the first of these.
    blank : set of str
        The grids whose values were all zeros.
    spread : Spread
        Samples, input by input, and the results that the model has for them, output by output.
    means : dict of ndarray of float64
        Of all samples, of each value that a layer with weights reads.
    ranges : dict of tuple of float
        The least and the greatest number of each input but indices.
    are_same : bool
        Whether all samples are the first one again.
    """

    def __init__(self, model: Model, most: int) -> None:
        self.group = ties(model)
        self.calibrators = {first: Calibrator() for first in self.group.values()}
        self.blank = set(self.calibrators)
        self.spread = Spread(most)
        self.ranges: dict[str, tuple[float, float]] = {}
        self.are_same = True
        self._first: dict[str, np.ndarray] = {}
        self._roots = _roots(model, self.group)
        self._sums = {read[0]: np.zeros(model.shapes[read[0]]) for read in _read_by_weights(model)}
        self._numbers = dict.fromkeys(self.calibrators, 0)
        self._ends: dict[str, list[np.ndarray]] = {first: [] for first in self.calibrators}

    def add(self, model: Model, samples: dict[str, np.ndarray]) -> None:
        """Take in checked samples."""
        results: dict[str, np.ndarray] = {}
        ends: dict[str, np.ndarray] = {}
        for name, values in samples.items():
            if values.dtype != np.int32:  # indices, which have no grid
                low, high = self.ranges.get(name, (math.inf, -math.inf))
                self.ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
            sample = self._first.setdefault(name, values[0].copy())
            self.are_same = self.are_same and bool((values == sample).all())
        for name, values in model.walk(samples):
            if name in self._roots:
                first = self.group[name]
                try:
                    self.calibrators[first].update(values)
                except ValueError:
                    raise ValueError(f"data: expected finite values in all layers, got others in {name!r}") from None
                rows = values.reshape(len(values), -1)
                self._numbers[first] = max(self._numbers[first], rows.shape[1])
                low, high = rows.min(axis=1), rows.max(axis=1)
                if first in ends:
                    low, high = np.minimum(low, ends[first][0]), np.maximum(high, ends[first][1])
                ends[first] = np.stack([low, high])
                if low.any() or high.any():
                    self.blank.discard(first)
            if name in self._sums:
                self._sums[name] += values.sum(axis=0, dtype=np.float64)
            if name in model.outputs:
                results[name] = values
        for first, both in ends.items():
            self._ends[first].append(both)
        self.spread.add((*samples.values(), *(results[name] for name in model.outputs)))

    @property
    def means(self) -> dict[str, np.ndarray]:
        """See the class."""
        return {name: total / self.spread.count for name, total in self._sums.items()}

    def ends(self, first: str) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest value of each sample on a grid, (samples,)."""
        low, high = np.concatenate(self._ends[first], axis=1)
        return low, high

    def qparams(self, first: str, method: str, bits: int, percentile: float = PERCENTILE) -> QParams:
        """Return unsigned parameters for the values of a grid."""
        if method == "percentile":
            return self.calibrators[first].qparams(method, bits, percentile=percentile)
        if method != "trimmed":
            return self.calibrators[first].qparams(method, bits)
        low, high = self.ends(first)
        reach = np.maximum(-low, high)
        kept = np.argsort(reach, kind="stable")[: len(reach) - round(TRIMMED * len(reach))]
        return QParams.from_range(low[kept].min(), high[kept].max(), bits, symmetric=False)

    def outliers(self) -> list[Outlier]:
        """The samples that stand out, those that do so most first."""
        worst: dict[int, Outlier] = {}
        for first in self.calibrators if self.spread.count >= FEW_SAMPLES else ():
            low, high = self.ends(first)
            reach = np.maximum(-low, high)
            median, order = float(np.median(reach)), np.argsort(-reach, kind="stable")
            if median == 0 or self._numbers[first] == 1:
                continue
            few = reach[order[: 1 + max(1, int(FEW * len(reach)))]]  # and the next one
            apart = FAR if self._numbers[first] < FEW_NUMBERS else APART
            is_last = (few[:-1] > FAR * median) & (few[:-1] > apart * few[1:])
            count = int(np.flatnonzero(is_last).max(initial=-1)) + 1
            for i in order[:count].tolist():
                found = Outlier(i, first, float(reach[i]), median)
                if i not in worst or worst[i].times < found.times:
                    worst[i] = found
        return sorted(worst.values(), key=lambda outlier: -outlier.times)


def observe(model: Model, data: Any, *, is_bytes: bool = False, kept: int = 0) -> Observations:
    """Let samples pass through a model; up to `kept` of them are kept with the model's results.

    With `is_bytes` samples are the numbers 0 to 255, and may be uint8.
    """
    sizes = [math.prod(model.shapes[name]) for name in (*model.inputs, *model.outputs)]
    seen = Observations(model, min(kept, max(1, VALUES_AT_ONCE // sum(sizes))))
    for samples in progress(_batches(model, data, is_bytes), "calibrating", "batch"):
        seen.add(model, samples)
    return seen


def expect_samples(model: Model, data: Any, *, is_bytes: bool = False) -> None:
    """Refuse what is no samples, where none are needed; of what comes in batches these may come only once, and are
    left alone."""
    if not _is_stream(data):
        for _ in _batches(model, data, is_bytes):
            pass


def _read_by_weights(model: Model) -> list[tuple[str, ...]]:
    """What each layer with weights reads."""
    layers = zip(model.layers, model.sources, strict=True)
    return [read for layer, read in layers if isinstance(layer, Weighted)]


def _roots(model: Model, group: Mapping[str, str]) -> set[str]:
    """The values that the others of their grid are made of."""
    producers = dict(zip(model.names, model.layers, strict=True))
    roots = {name for name in group if name not in producers or not producers[name].keeps_grid}
    for name, read in zip(model.names, model.sources, strict=True):
        if name not in roots and any(group[source] != group[name] for source in read):
            roots.add(name)  # it joins values of other grids to its own
    return roots


def _batches(model: Model, data: Any, is_bytes: bool) -> Iterator[dict[str, np.ndarray]]:
    """Yield samples in parts that bound the memory, checked."""
    largest = max(math.prod(shape) for shape in model.shapes.values())
    rows = max(1, min(SAMPLES_AT_ONCE, VALUES_AT_ONCE // largest))
    batches = enumerate(data) if _is_stream(data) else [(None, data)]
    count = 0
    for i, batch in batches:
        where, before = "data" if i is None else f"data: batch {i}", count
        if _holds_batches(model, batch) and len(batch) == 1:
            (batch,) = batch
        for part in _parts(model, where, batch, rows):
            samples = _checked(model, where, part, count - before, is_bytes)
            size = len(next(iter(samples.values())))
            count += size
            if size:
                yield samples
    if count == 0:
        raise ValueError("data: expected at least one sample to calibrate with, got none")


def _checked(model: Model, where: str, part: Any, first: int, is_bytes: bool) -> dict[str, np.ndarray]:
    """Return samples as the model reads them, the first of which has such a number where they stand."""
    try:
        samples = model.samples(where, as_floats(part) if is_bytes else part)
    except TypeError as error:
        if is_bytes or getattr(part, "dtype", None) != np.uint8:
            raise
        raise TypeError(f"{error}; input_dtype='uint8' is for bytes") from None
    except ValueError:
        if not _holds_batches(model, part):
            raise
        hint = "data=(batch[0] for batch in data) leaves labels out"
        if where == "data":
            hint = "data=iter(data) gives them one by one" if _are_alike(model, part) else "give the first, data=x"
        what = f"a {type(part).__name__} of arrays of samples"
        raise ValueError(f"{where}: expected samples, got {what}: {hint}") from None
    for name, values in samples.items():
        named = where if len(samples) == 1 else f"{where}[{name!r}]"
        try:
            _check.finite(named, values)
        except ValueError as error:
            is_finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
            raise ValueError(f"{error}, sample {first + int(is_finite.argmin())}") from None
        if is_bytes and values.size and not 0 <= values.min() <= values.max() <= 255:
            raise ValueError(f"{named}: expected 0 to 255, got {values.min()} to {values.max()}")
    return samples


def _is_stream(data: Any) -> bool:
    """Whether data comes in batches: of an iterator, or of what is iterable and no samples itself."""
    is_samples = isinstance(data, (list, tuple, Mapping, Set, str, bytes)) or is_array(data)
    return isinstance(data, Iterator) or (isinstance(data, Iterable) and not is_samples)


def _holds_batches(model: Model, batch: Any) -> bool:
    """Whether a list or tuple for a model of one input has arrays of samples for parts."""
    if not isinstance(batch, (list, tuple)) or len(model.inputs) > 1 or not batch or not is_array(batch[0]):
        return False
    (shape,) = model.inputs.values()
    return np.ndim(batch[0]) == len(shape) + 1


def _are_alike(model: Model, batches: Any) -> bool:
    """Whether all arrays of a list are samples for a model of one input; a tuple rather holds samples and labels."""
    (shape,) = model.inputs.values()
    return isinstance(batches, list) and all(np.shape(batch)[1:] == shape for batch in batches)


def _parts(model: Model, where: str, batch: Any, rows: int) -> Iterator[Any]:
    """Yield a batch in parts: of arrays of the right shape, which are sliced before they are converted; all else at
    once, for `samples` to convert or to refuse."""
    several = batch if isinstance(batch, (dict, tuple, list)) and len(model.inputs) > 1 else [batch]
    arrays = list(several.values()) if isinstance(several, dict) else list(several)
    lengths = {len(array) if isinstance(array, np.ndarray) and array.ndim else -1 for array in arrays}
    if len(lengths) != 1 or -1 in lengths or lengths == {0}:
        yield batch
        return
    for first in range(0, lengths.pop(), rows):
        part = slice(first, first + rows)
        if isinstance(batch, np.ndarray):
            yield batch[part]
        elif isinstance(batch, dict):
            yield {name: array[part] for name, array in batch.items()}
        else:
            yield tuple(array[part] for array in batch)
