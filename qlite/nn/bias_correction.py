"""Bias correction: what rounding of weights moves results by, on average, is taken off the biases.

Inputs of a layer are mostly positive, behind a relu above all, so that errors of its rounded weights do not cancel: of
40 to 60 % of their energy each output has the same error for every sample. That part needs no search. Products are
linear, so that for inputs x with the mean E[x], as the float model has them,

    bias -= E[x @ (rounded - weight)] = E[x] @ (rounded - weight)

where a convolution averages over places as well. Inputs of the float model, not of the integer one, are what it is
measured on: there the errors of all layers before are mixed in, and it helps some networks and spoils others.

M. Nagel et al., Data-free quantization through weight equalization and bias correction, 2019, section 4.2.
"""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np

from qlite import _check
from qlite.arrays.qarray import QArray
from qlite.nn.layers.weighted import Weighted
from qlite.nn.model import Model


def check_bias_correction(value: Any) -> None:
    """Refuse what is none of "auto", True and False."""
    if not (isinstance(value, bool) or (isinstance(value, str) and value == "auto")):
        raise ValueError(f"bias_correction: expected 'auto', True or False, got {_check.shown(value)}")


def corrected(
    model: Model, means: Mapping[str, np.ndarray], rounded: Callable[[str, np.ndarray], QArray | None]
) -> Model:
    """Return a model whose biases make up for rounded weights.

    `means` are the samples' means of what layers with weights read, by the names of values; ``rounded(name, weight)``
    is what becomes of a layer's weights, None where they stay as they are. All else is the model's own.
    """
    found = copy(model)
    found.layers = [
        _moved(layer, means[read[0]], rounded(name, layer.weight)) if isinstance(layer, Weighted) else layer
        for name, layer, read in zip(model.names, model.layers, model.sources, strict=True)
    ]
    return found


def _moved(layer: Weighted, mean: np.ndarray, rounded: QArray | None) -> Weighted:
    """A layer whose bias makes up for its weights, for inputs of this mean."""
    if rounded is None:
        return layer
    error = (rounded.dequantize() - layer.weight).astype(np.float32)
    shift = layer.multiply(mean[None].astype(np.float32), error)
    moved = copy(layer)
    places = tuple(range(shift.ndim - 1))
    moved.bias = (layer.bias - shift.mean(axis=places, dtype=np.float64)).astype(np.float32)
    return moved
