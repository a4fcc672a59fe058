"""Where batches come from: arrays whose rows are shuffled, or an iterable of the user's."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np

from qlite import _check
from qlite._foreign import is_array
from qlite.nn.model import Model
from qlite.training.identity import digest_of, name_of
from qlite.training.network import Samples, joined, parts
from qlite.training.targets import is_labels, targets_of, weights_of

#: Samples, targets, and how much each sample counts (None: all the same).
Batch = tuple[Samples, np.ndarray, np.ndarray | None]
#: What can be iterated over, but never gives batches.
NO_BATCHES = (str, bytes, Mapping, Set)
#: So many rows, evenly spread, tell samples from others.
ROWS_THAT_TELL = 64


class Source(Protocol):
    """Samples with targets, epoch after epoch."""

    #: Number of batches of an epoch; None: not known.
    steps: int | None

    @property
    def identity(self) -> str:
        """What tells these samples from others, as far as that is known before they are read."""

    def epoch(self, rng: "np.random.Generator | None") -> Iterator[Batch]:
        """Yield all batches, in an order that `rng` draws; None: in order."""

    def some(self, count: int) -> Samples:
        """Return so many samples, or all if there are fewer, before the first epoch, which has them too."""


@dataclass
class Rows:
    """Some rows of arrays, gathered batch by batch into the same memory; the last batch may be a part of one.

    `x` has an array for each input of the model. They may lie in files (`numpy.memmap`): only the rows of a batch are
    read.
    """

    x: tuple[np.ndarray, ...]
    targets: np.ndarray
    weights: np.ndarray | None
    rows: np.ndarray
    batch_size: int

    def __post_init__(self) -> None:
        self.steps: int | None = -(-len(self.rows) // self.batch_size)
        self._places = [self._place(array) for array in self.x]

    def _place(self, array: np.ndarray) -> np.ndarray | None:
        """Memory for the rows of a batch of plain arrays: `take` would copy all of any other one, for every batch."""
        if not (array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative):
            return None
        return np.empty((min(self.batch_size, len(self.rows)), *array.shape[1:]), array.dtype)

    @property
    def identity(self) -> str:
        count = min(ROWS_THAT_TELL, len(self.rows))
        telling = self.rows[np.linspace(0, len(self.rows) - 1, count).astype(int)]
        digest = digest_of(*(array[telling] for array in self.x), self.targets, self.weights, self.rows)
        return f"{', '.join(f'{array.dtype} {array.shape}' for array in self.x)}, {digest}"

    def epoch(self, rng: "np.random.Generator | None") -> Iterator[Batch]:
        rows = self.rows if rng is None else rng.permutation(self.rows)
        for first in range(0, len(rows), self.batch_size):
            chosen = rows[first : first + self.batch_size]
            weights = None if self.weights is None else self.weights[chosen]
            yield self._gathered(chosen), self.targets[chosen], weights

    def some(self, count: int) -> Samples:
        rows = np.random.default_rng(0).permutation(self.rows)[:count]
        return joined(_samples(array[rows]) for array in self.x)

    def _gathered(self, rows: np.ndarray) -> Samples:
        # "clip": to look for indices out of range, as the default does, `take` would fill a copy first.
        return joined(
            _samples(array[rows] if place is None else array.take(rows, axis=0, out=place[: len(rows)], mode="clip"))
            for array, place in zip(self.x, self._places, strict=True)
        )


def _samples(x: np.ndarray) -> np.ndarray:
    """Samples of an input as float32, or as the indices that they are."""
    return x if x.dtype == np.int32 else _check.real_array("X", x)


class Stream:
    """Batches of the user's, ``(x, y)`` or ``(x, y, sample weights)``, checked one by one.

    `batches` is iterable again and again, or a function that returns an iterable for each epoch. Every epoch must have
    as many batches as the first.
    """

    def __init__(self, model: Model, batches: Any, name: str) -> None:
        self._model, self._batches, self._name = model, batches, name
        self.steps: int | None = len(batches) if hasattr(batches, "__len__") else None
        self._begun: Iterable[Any] | None = None  # an epoch of which `some` has read the first batches

    @property
    def identity(self) -> str:
        if callable(self._batches):
            return f"batches of {name_of(self._batches)}"
        if not isinstance(self._batches, (list, tuple)):
            return f"batches of a {type(self._batches).__name__}"  # to read one may change what comes next
        ends: list[np.ndarray | None] = []
        for i in (0, -1):
            x, *rest = self._checked(self._name, self._batches[i])
            ends += [*parts(x), *rest]
        return f"{len(self._batches)} batches, {digest_of(*ends)}"

    def epoch(self, rng: "np.random.Generator | None") -> Iterator[Batch]:
        count = -1
        for count, batch in enumerate(self._open()):
            yield self._checked(f"{self._name}: batch {count}", batch)
        if count + 1 != (self.steps or count + 1) or count < 0:
            expected = f"{self.steps} batches, as before" if self.steps else "at least one batch"
            raise ValueError(f"{self._name}: expected {expected}, got {count + 1}")
        self.steps = count + 1

    def some(self, count: int) -> Samples:
        batches = iter(self._open())
        read: list[Any] = []
        samples: list[tuple[np.ndarray, ...]] = []
        for batch in batches:
            read.append(deepcopy(batch))  # the next one may come in the same memory
            samples.append(parts(self._checked(f"{self._name}: batch {len(samples)}", read[-1])[0]))
            if sum(len(x[0]) for x in samples) >= count:
                break
        if not read:
            raise ValueError(f"{self._name}: expected at least one batch, got 0")
        self._begun = chain(read, batches)
        return joined(np.concatenate(arrays)[:count] for arrays in zip(*samples, strict=True))

    def _open(self) -> Iterable[Any]:
        if self._begun is not None:
            begun, self._begun = self._begun, None
            return begun
        batches = self._batches() if callable(self._batches) else self._batches
        if not isinstance(batches, Iterable):
            raise TypeError(f"{self._name}: expected an iterable of batches, got {type(batches).__name__}")
        return batches

    def _checked(self, where: str, batch: Any) -> Batch:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise TypeError(f"{where}: expected (x, y) or (x, y, sample weights), got {type(batch).__name__}")
        x = joined(self._model.samples(where, batch[0]).values())
        samples = len(parts(x)[0])
        if samples == 0:
            raise ValueError(f"{where}: expected at least one sample, got none")
        targets = targets_of(self._model, batch[1], samples, f"{where}: y")
        weights = weights_of(self._model, targets, None, batch[2], f"{where}: weights") if len(batch) == 3 else None
        return x, targets, weights


def samples_of(model: Model, name: str, x: Any) -> tuple[np.ndarray, ...]:
    """Return the samples of each input as they are, of any real floating dtype: batches become float32."""
    arrays = model.samples(name, x, _floating)
    for array in arrays.values():
        if len(array) == 0:
            raise ValueError(f"{name}: expected at least one sample, got none")
    return tuple(arrays.values())


def _floating(name: str, x: Any) -> np.ndarray:
    """Return an array of a real floating dtype as it is."""
    x = _check.as_array(name, x)
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: expected a real floating dtype, got {x.dtype}")
    return x


def is_stream(x: Any) -> bool:
    """Whether these are batches rather than an array."""
    if callable(x):
        return True
    is_no_array = not is_array(x) and not hasattr(x, "dtype")  # sparse matrices have one
    return isinstance(x, Iterable) and not isinstance(x, NO_BATCHES) and is_no_array and not _is_nested(x)


def _is_nested(x: Any) -> bool:
    """Whether this is a list of samples, not of batches."""
    return isinstance(x, (list, tuple)) and not (len(x) and isinstance(x[0], (tuple, list)) and _holds_arrays(x[0]))


def _holds_arrays(batch: Any) -> bool:
    """Whether these are the samples of a batch and one or two arrays or lists, not the numbers of a sample, which may
    have `__array__` too."""
    x, *rest = batch
    inputs = tuple(x.values()) if isinstance(x, Mapping) else x if isinstance(x, tuple) else (x,)
    are_lists = all(isinstance(part, (list, tuple)) or _is_array(part) for part in rest)
    return len(rest) in (1, 2) and are_lists and all(map(_is_array, inputs))


def _is_array(part: Any) -> bool:
    return is_array(part) and bool(getattr(part, "ndim", 1))


def split(targets: np.ndarray, share: float, rng: "np.random.Generator") -> tuple[np.ndarray, np.ndarray]:
    """Draw rows to train on and rows to validate with.

    Labels are stratified: of every class about this share is held out. Sorting a shuffle by label and taking every
    1 / share-th does that.
    """
    shuffled = rng.permutation(len(targets))
    if is_labels(targets):
        shuffled = shuffled[np.argsort(targets.reshape(-1)[shuffled], kind="stable")]
    count = round(len(targets) * share)
    if not 0 < count < len(targets):
        raise ValueError(f"validation: expected a share with samples on both sides, got {count} of {len(targets)}")
    held = np.zeros(len(targets), bool)
    held[shuffled[(np.arange(count) * len(targets) + len(targets) // 2) // count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


Augment = Callable[[Any, "np.random.Generator"], Any]


def augmented(augment: Augment, x: Samples, rng: "np.random.Generator") -> Samples:
    """Return what a function of the user's makes of a copy of a batch of samples, checked."""
    result = augment(joined(array.copy() for array in parts(x)), rng)
    if isinstance(x, tuple) and not (isinstance(result, (tuple, list)) and len(result) == len(x)):
        raise TypeError(f"augment: expected samples of {len(x)} inputs, got {type(result).__name__}")
    arrays = [
        array if isinstance(array, np.ndarray) and array.dtype == np.int32 else _check.real_array("augment", array)
        for array in (result if isinstance(x, tuple) else (result,))
    ]
    for given, array in zip(parts(x), arrays, strict=True):
        if array.shape != given.shape:
            raise ValueError(f"augment: expected samples of shape {given.shape}, got {array.shape}")
    return joined(arrays)
