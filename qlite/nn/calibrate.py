"""Calibration: the grids of a model's activations, from samples that pass through it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qlite import _check
from qlite.grids.calibrator import Calibrator
from qlite.grids.qparams import QParams
from qlite.nn.activation_tables import known_grid
from qlite.nn.layers.activation import Activation
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


def values_of(model: Model) -> list[str]:
    """The names of all values that may become codes: what the first layers read, and every layer's result."""
    return [*(model.inputs if model.mean is None else ["normalized"]), *model.names]


def ties(model: Model) -> dict[str, str]:
    """Return, for each value, the first of those that have its grid.

    Layers that move values or take the greatest leave them on their grid, and what is joined has one. Results whose
    grid is known, as of a sigmoid, keep it.
    """
    first = {name: name for name in values_of(model)}

    def find(name: str) -> str:
        while first[name] != name:
            name = first[name]
        return name

    known = {name for name, layer in zip(model.names, model.layers, strict=True) if _known(layer)}
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        for source in read if layer.keeps_grid else ():
            if not (len(read) > 1 and source in known):
                first[find(name)] = find(source)
    return {name: find(name) for name in first}


def _known(layer: Any, bits: int = 8) -> QParams | None:
    return known_grid(layer.activation, bits) if isinstance(layer, Activation) else None


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


def calibrate(model: Model, data: Any, method: str, bits: Mapping[str, int] | None = None) -> dict[str, QParams]:
    """Find the unsigned qparams of every value, by the names of buffers; of 8 bits, or as `bits` says."""
    group, widths = ties(model), bits or {}
    producers = {name: layer for name, layer in zip(model.names, model.layers, strict=True)}
    roots = [name for name in group if name not in producers or not producers[name].keeps_grid]
    calibrators = {first: Calibrator() for first in group.values()}
    blank = set(calibrators)
    for samples in progress(_batches(model, data), "calibrating", "batch"):
        for name, values in _walk(model, samples):
            if name in roots:
                calibrators[group[name]].update(values)
                if values.any():
                    blank.discard(group[name])
    grids = {first: calibrator.qparams(method, widths.get(first, 8)) for first, calibrator in calibrators.items()}
    found = {name: grids[group[name]] for name in group}
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        if layer.keeps_grid and len(read) == 1:
            found[name] = found[read[0]]
        found[name] = _known(layer, widths.get(name, 8)) or found[name]
    _refine_blank(model, found, {name for name in group if group[name] in blank})
    return found


def _walk(model: Model, samples: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every value by name, and forget it behind its last reader."""
    values = model.given(samples)
    last = {source: i for i, read in enumerate(model.sources) for source in read}
    yield from ((name, values[name]) for name in values_of(model)[: -len(model.names)])
    for i, (name, layer, read) in enumerate(zip(model.names, model.layers, model.sources, strict=True)):
        values[name] = layer.compute(*(values[source] for source in read))
        yield name, values[name]
        for source in read:
            if last[source] == i:
                values.pop(source, None)


def _batches(model: Model, data: Any) -> Iterator[dict[str, np.ndarray]]:
    """Yield samples in parts that bound the memory, checked."""
    largest = max(math.prod(shape) for shape in model.shapes.values())
    rows = max(1, min(SAMPLES_AT_ONCE, VALUES_AT_ONCE // largest))
    batches = enumerate(data) if isinstance(data, Iterator) else [(None, data)]
    count = 0
    for i, batch in batches:
        where = "data" if i is None else f"data: batch {i}"
        for part in _parts(model, where, batch, rows):
            samples = model.samples(where, part)
            for name, values in samples.items():
                _check.finite(where if len(samples) == 1 else f"{where}[{name!r}]", values)
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


def _refine_blank(model: Model, qparams: dict[str, QParams], blank: set[str]) -> None:
    """Give inputs of a layer that were all zeros a scale at which its bias is not lost.

    The codes of zeros are zeros at any scale, and the bias is an integer at the scale of the inputs times that of the
    weights. What gives the zeros must still reach that scale by a multiplier.
    """
    scale_of_sums: dict[str, Any] = {}
    refined = {}
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        if not isinstance(layer, Weighted):
            continue
        (source,) = read
        weight_scale: Any = max(np.abs(layer.weight).max() / np.float64(127), _check.SMALLEST_NORMAL)
        if source in blank:
            scale = qparams[name].scale / (BIAS_STEPS * weight_scale)
            least = scale_of_sums.get(source, 0.0) / LARGEST_MULTIPLIER
            scale = np.clip(scale, max(least, _check.SMALLEST_NORMAL), 1)
            refined[source] = QParams(scale.astype(np.float32), np.array(0), qparams[source].bits, signed=False)
        scale_of_sums[name] = qparams[source].scale.item() * weight_scale
    qparams.update(refined)
