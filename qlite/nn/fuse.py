"""Fusing: from a model as it is trained to the layers that are deployed, which compute the same.

Batch norms go into the weights of the dense layer before or behind them, dropout falls away. An activation that is a
clamp goes into the dense layer before it, since integer products apply it themselves, and any other one out of it.
"""

from copy import copy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from qlite.nn.layers.activation import Activation
from qlite.nn.layers.batch_norm import BatchNorm
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.dropout import Dropout
from qlite.nn.layers.flatten import Flatten
from qlite.nn.layers.layer import Layer
from qlite.nn.sequential import Sequential
from qlite.ops.activations import CLAMPS

L = TypeVar("L", bound=Layer)


@dataclass(frozen=True)
class _Affine:
    """Batch norms that wait for the dense layer behind them: ``factor * x + summand``, float64 (features,)."""

    name: str
    factor: np.ndarray
    summand: np.ndarray


def fuse(model: Sequential) -> Sequential:
    """Return a model of layers that can be deployed, which computes what `model` computes at inference.

    Its dense layers have no activation but a clamp, and the names that they had; another activation of a layer
    "dense_1" becomes a layer "dense_1_<activation>". What a batch norm at the very front subtracts and divides by goes
    into `mean` and `scale`. Arrays are those of `model` where nothing was folded into them.

    Raises
    ------
    ValueError
        A batch norm that no dense layer is next to, so that it cannot be folded; the message names it.
    """
    fused: list[Layer] = []
    waiting: _Affine | None = None
    mean, scale = model.mean, model.scale
    shape = model.input_shape
    for name, layer in zip(model.names, model.layers, strict=True):
        before = fused[-1] if fused else None
        if isinstance(layer, BatchNorm):
            if isinstance(before, Dense) and before.activation is None and waiting is None:
                fused[-1] = _with_norm(before, layer)
            elif before is None and waiting is None:
                mean, scale = _normalization(model, layer)
                waiting = _Affine(name, layer.gamma.astype(np.float64), layer.beta.astype(np.float64))
            else:
                waiting = _joined(waiting, name, layer)
        elif isinstance(layer, Dense):
            fused += _split(_named(layer if waiting is None else _behind(waiting, layer), name))
            waiting = None
        elif isinstance(layer, Flatten):
            waiting = waiting and _repeated(waiting, int(np.prod(shape[:-1])))
            fused.append(_named(layer, name))
        elif not isinstance(layer, Dropout):
            if waiting is not None:
                raise _unfoldable(waiting.name)
            fused += _joined_activation(fused.pop() if fused else None, _named(layer, name))
        shape = layer.infer(shape)
    if waiting is not None:
        raise _unfoldable(waiting.name)
    return Sequential(
        fused, input_shape=model.input_shape, mean=mean, scale=scale, task=model.task, classes=model.classes
    )


def _unfoldable(name: str) -> ValueError:
    return ValueError(f"layer {name!r}: expected a Dense before it without an activation, or a Dense behind it")


def _named(layer: L, name: str | None) -> L:
    """The layer under a name, with the same arrays."""
    layer = copy(layer)
    layer.name = name
    return layer


def _with_norm(dense: Dense, norm: BatchNorm) -> Dense:
    """A dense layer that does what a batch norm behind it did as well."""
    factor, summand = norm.affine()
    return Dense(dense.weight * factor, dense.bias * factor + summand, name=dense.name)


def _behind(affine: _Affine, dense: Dense) -> Dense:
    """A dense layer that does what batch norms before it did as well."""
    bias = dense.bias + affine.summand @ dense.weight.astype(np.float64)
    return Dense(dense.weight * affine.factor[:, None], bias, dense.activation)


def _normalization(model: Sequential, norm: BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of the model and, after them, of a batch norm."""
    deviation = np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
    if model.mean is None or model.scale is None:
        return norm.mean, deviation
    scale = model.scale.astype(np.float64)
    return model.mean + scale * norm.mean, scale * deviation


def _joined(affine: _Affine | None, name: str, norm: BatchNorm) -> _Affine:
    """A batch norm after those that wait already."""
    factor, summand = norm.affine()
    if affine is None:
        return _Affine(name, factor, summand)
    return _Affine(name, affine.factor * factor, affine.summand * factor + summand)


def _repeated(affine: _Affine, times: int) -> _Affine:
    """The same for samples that became vectors."""
    return _Affine(affine.name, np.tile(affine.factor, times), np.tile(affine.summand, times))


def _split(dense: Dense) -> list[Layer]:
    """A dense layer, and its activation as a layer unless it is a clamp."""
    if dense.activation is None or dense.activation in CLAMPS:
        return [dense]
    activation = Activation(dense.activation, name=f"{dense.name}_{dense.activation}")
    dense.activation = None
    return [dense, activation]


def _joined_activation(before: Layer | None, layer: Layer) -> list[Layer]:
    """A layer behind another one, or one dense layer in place of the two where the second is a clamp."""
    if isinstance(before, Dense) and before.activation is None and isinstance(layer, Activation):
        if layer.activation not in CLAMPS:
            return [before, layer]
        joined = _named(before, before.name)
        joined.activation = layer.activation
        return [joined]
    return [layer] if before is None else [before, layer]
