"""Calibration: the grids of a model's activations, from samples that pass through it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from qlite import _check
from qlite.grids.qparams import QParams
from qlite.grids.spec import PERCENTILE
from qlite.nn.layers.activation import Activation
from qlite.nn.layers.binary import Multiply
from qlite.nn.layers.matmul import MatMul
from qlite.nn.layers.weighted import Weighted
from qlite.nn.model import Model
from qlite.nn.observe import Observations, observe
from qlite.nn.scheme import Scheme
from qlite.nn.ties import ties, values_of

#: Steps that a bias moves by within one of its layer's result, where the inputs of a layer were all zeros.
BIAS_STEPS = 2.0**16
#: What sums are multiplied by at most to become codes there: requantize has more.
LARGEST_MULTIPLIER = 2.0**24
#: A scale over that of a sum or a mean of its codes at most there: their steps have less than twice that.
LARGEST_RATIO = 2.0**19
#: Inputs beyond which codes of a function's result do not change any more.
SATURATED = {"sigmoid": 8.0, "tanh": 4.0}


def activation_bits(model: Model, schemes: Iterable[Scheme]) -> dict[str, int]:
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
    return grids_of(model, observe(model, data, is_bytes=is_bytes), method, bits or {})


def grids_of(
    model: Model,
    seen: Observations,
    method: str,
    bits: Mapping[str, int],
    percentile: float = PERCENTILE,
    of_outputs: str | None = None,
) -> dict[str, QParams]:
    """Return the unsigned qparams of every value for what was seen of them; outputs may have a method of their own."""
    group = seen.group
    methods = dict.fromkeys(seen.calibrators, method)
    if of_outputs is not None:
        methods |= {group[name]: of_outputs for name in model.outputs if name in group}
    grids = {first: seen.qparams(first, way, bits.get(first, 8), percentile) for first, way in methods.items()}
    for first, most in _limits(model, group).items():
        grids[first] = _within(grids[first], most)
    found = {name: grids[group[name]] for name in group}
    blank = set(seen.blank)
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        if layer.keeps_grid and len(read) == 1:
            found[name] = found[read[0]]
        if known := layer.known_grid(bits.get(name, 8)):
            found[name] = known
            blank.discard(group[name])
    _refine_blank(model, found, group, blank)
    return found


def _limits(model: Model, group: Mapping[str, str]) -> dict[str, float]:
    """The greatest inputs that matter, by the first of the values of one grid, where all that reads these is
    saturated beyond."""
    limits: dict[str, float] = {}
    unlimited = {group[name] for name in model.outputs}
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        for first in {group[source] for source in read if source in group} - {group[name]}:
            limit = SATURATED.get(layer.activation) if isinstance(layer, Activation) else None
            if limit is None:
                unlimited.add(first)
            else:
                limits[first] = max(limits.get(first, 0.0), limit)
    return {first: limit for first, limit in limits.items() if first not in unlimited}


def _within(p: QParams, most: float) -> QParams:
    """A grid that ends at ``-most`` and `most` where it went further."""
    low, high = (float(end.item()) for end in p.range)
    if -most <= low and high <= most:
        return p
    return QParams.from_range(max(low, -most), min(high, most), p.bits, symmetric=False)


def _refine_blank(model: Model, qparams: dict[str, QParams], group: Mapping[str, str], blank: set[str]) -> None:
    """Give the grids of `blank`, whose values were all zeros, a scale at which no bias of a layer that reads them is
    lost.

    The codes of zeros are zeros at any scale, and the bias is an integer at the scale of the inputs times that of the
    weights. What gives the zeros must still reach that scale by a multiplier.
    """
    smallest = float(_check.SMALLEST_NORMAL)
    finest, least = dict.fromkeys(blank, 1.0), dict.fromkeys(blank, smallest)
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        scales = [float(qparams[source].scale.item()) for source in read if source in group]
        greatest = math.prod(scales) if isinstance(layer, Multiply | MatMul) else max(scales, default=0.0)
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
