"""Calibration: the grids of a model's activations, from samples that pass through it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qlite import _check
from qlite.grids.calibrator import Calibrator
from qlite.grids.qparams import QParams
from qlite.nn.byte_samples import as_floats
from qlite.nn.layers.weighted import Weighted
from qlite.nn.model import Model
from qlite.nn.scheme import Scheme
from qlite.progress import progress

#: Values of one layer that are held at once, and samples: bounds the memory, not the result.
VALUES_AT_ONCE, SAMPLES_AT_ONCE = 1 << 23, 4096
#: Steps that a bias moves by within one of its layer's result, where the inputs of a layer were all zeros.
BIAS_STEPS = 2.0**16
#: What sums are multiplied by at most to become codes there: requantize has more.
LARGEST_MULTIPLIER = 2.0**24
#: A scale over that of a sum or a mean of its codes at most there: their steps have less than twice that.
LARGEST_RATIO = 2.0**19


def values_of(model: Model) -> list[str]:
    """The names of all values that may become codes: what the first layers read, and every layer's result."""
    return [*(model.inputs if model.mean is None else ["normalized"]), *model.names]


def ties(model: Model) -> dict[str, str]:
    """Return, for each value, the first of those that have its grid.

    Layers that move values or take the greatest leave them on their grid, and what is joined has one. Results whose
    grid is known, as of a sigmoid, keep it, and become codes on another one where they are joined.
    """
    first = {name: name for name in values_of(model)}

    def find(name: str) -> str:
        while first[name] != name:
            name = first[name]
        return name

    known = {name for name, layer in zip(model.names, model.layers, strict=True) if layer.known_grid()}
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        for source in read if layer.keeps_grid else ():
            if not (len(read) > 1 and source in known):
                first[find(name)] = find(source)
    return {name: find(name) for name in first}


def activation_bits(model: Model, schemes: Sequence[Scheme]) -> dict[str, int]:
    """Return the width of each value: that of the scheme of a layer that multiplies it, the least of several; 8 of
    inputs, of outputs, and of what nothing multiplies. Values of one grid have one width.
    """
    group, widths = ties(model), dict.fromkeys(values_of(model), 8)
    for layer, scheme, read in zip(model.layers, schemes, model.sources, strict=True):
        if isinstance(layer, Weighted):
            (source,) = read
            widths[group[source]] = min(widths[group[source]], scheme.activation_bits or 8)
    for name in {*model.inputs, "normalized", *model.outputs} & set(group):
        widths[group[name]] = 8
    return {name: widths[group[name]] for name in group}


def calibrate(
    model: Model, data: Any, method: str, bits: Mapping[str, int] | None = None, *, is_bytes: bool = False
) -> dict[str, QParams]:
    """Find the unsigned qparams of every value, by the names of buffers; of 8 bits, or as `bits` says.

    With `is_bytes` samples are the numbers 0 to 255, and may be uint8.
    """
    group, widths = ties(model), bits or {}
    producers = dict(zip(model.names, model.layers, strict=True))
    roots = {name for name in group if name not in producers or not producers[name].keeps_grid}
    for name, read in zip(model.names, model.sources, strict=True):
        if name not in roots and any(group[source] != group[name] for source in read):
            roots.add(name)  # it joins values of other grids to its own
    calibrators = {first: Calibrator() for first in group.values()}
    blank = set(calibrators)
    for samples in progress(_batches(model, data, is_bytes), "calibrating", "batch"):
        for name, values in model.walk(samples):
            if name in roots:
                calibrators[group[name]].update(values)
                if values.any():
                    blank.discard(group[name])
    grids = {first: calibrator.qparams(method, widths.get(first, 8)) for first, calibrator in calibrators.items()}
    found = {name: grids[group[name]] for name in group}
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        if layer.keeps_grid and len(read) == 1:
            found[name] = found[read[0]]
        if known := layer.known_grid(widths.get(name, 8)):
            found[name] = known
            blank.discard(group[name])
    _refine_blank(model, found, group, blank)
    return found


def _batches(model: Model, data: Any, is_bytes: bool) -> Iterator[dict[str, np.ndarray]]:
    """Yield samples in parts that bound the memory, checked."""
    largest = max(math.prod(shape) for shape in model.shapes.values())
    rows = max(1, min(SAMPLES_AT_ONCE, VALUES_AT_ONCE // largest))
    batches = enumerate(data) if isinstance(data, Iterator) else [(None, data)]
    count = 0
    for i, batch in batches:
        where = "data" if i is None else f"data: batch {i}"
        for part in _parts(model, where, batch, rows):
            samples = model.samples(where, as_floats(part) if is_bytes else part)
            for name, values in samples.items():
                named = where if len(samples) == 1 else f"{where}[{name!r}]"
                _check.finite(named, values)
                if is_bytes and values.size and not 0 <= values.min() <= values.max() <= 255:
                    raise ValueError(f"{named}: expected 0 to 255, got {values.min()} to {values.max()}")
            count += len(next(iter(samples.values())))
            if len(next(iter(samples.values()))):
                yield samples
    if count == 0:
        raise ValueError("data: expected at least one sample to calibrate with, got none")


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


def _refine_blank(model: Model, qparams: dict[str, QParams], group: Mapping[str, str], blank: set[str]) -> None:
    """Give the grids of `blank`, whose values were all zeros, a scale at which no bias of a layer that reads them is
    lost.

    The codes of zeros are zeros at any scale, and the bias is an integer at the scale of the inputs times that of the
    weights. What gives the zeros must still reach that scale by a multiplier.
    """
    smallest = float(_check.SMALLEST_NORMAL)
    finest, least = dict.fromkeys(blank, 1.0), dict.fromkeys(blank, smallest)
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        greatest = max(float(qparams[source].scale.item()) for source in read)
        multiplier = LARGEST_RATIO
        if isinstance(layer, Weighted):
            weight_scale = max(float(np.abs(layer.weight).max()) / 127, smallest)
            greatest, multiplier = greatest * weight_scale, LARGEST_MULTIPLIER
            if (source := group[read[0]]) in blank:
                finest[source] = min(finest[source], qparams[name].scale.item() / (BIAS_STEPS * weight_scale))
        if group[name] in blank and not layer.keeps_grid:
            least[group[name]] = max(least[group[name]], greatest / multiplier)
    for name in group:
        if group[name] in blank and finest[group[name]] < 1:
            scale = np.array([max(finest[group[name]], least[group[name]])], np.float32)
            qparams[name] = QParams(scale, np.array(0), qparams[name].bits, signed=False)
