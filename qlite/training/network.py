"""What the loop trains: a model as parameters, a forward and a backward pass."""

from collections.abc import Collection
from typing import Any, Protocol

import numpy as np

from qlite.nn.layers.layer import Layer
from qlite.nn.sequential import Sequential

#: The name of a layer and that of one of its arrays.
Key = tuple[str, str]


class Network(Protocol):
    """All that the loop knows of a model.

    Attributes
    ----------
    model : Sequential
        Its arrays are those that change; `publish` writes the rest to it.
    parameters : dict of ndarray
        The arrays that the optimizer changes in place.
    statistics : dict of ndarray
        Other arrays that training changes, such as running means.
    """

    model: Sequential
    parameters: dict[Key, np.ndarray]
    statistics: dict[Key, np.ndarray]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the raw outputs at inference: what validation measures."""

    def forward(self, x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        """Return the raw outputs in training, and what `backward` needs of this call."""

    def backward(self, saved: Any, gradient: np.ndarray) -> dict[Key, np.ndarray]:
        """Return the gradients of the parameters; that of the raw outputs is written over."""

    def fault(self, x: np.ndarray) -> str | None:
        """Say which result on samples is the first that is not finite, or why there is none; None: all are finite."""

    def publish(self) -> None:
        """Write to the model what it carries beside its layers."""


class FloatNetwork:
    """A float model whose layers but the frozen ones are trained; its arrays are changed in place.

    Layers before the first trained one compute as at inference. Parameters and statistics of the other frozen layers
    stay. With `logits` raw outputs are those before the softmax or sigmoid that the model ends in.

    Raises
    ------
    ValueError
        A trained layer, or one behind it, that has no gradient; nothing to train.
    """

    def __init__(self, model: Sequential, frozen: Collection[str] = (), logits: bool = True) -> None:
        self.model = model
        self._layers = model.logits_layers if logits else model.layers
        layers = list(zip(model.names, self._layers, strict=False))
        trained = [(name, layer) for name, layer in layers if name not in frozen and layer.parameters]
        if not trained:
            raise ValueError("frozen: expected a layer that is trained, got all that have parameters")
        self._first = model.names.index(trained[0][0])
        for name, layer in layers[self._first :]:
            if type(layer).backward is Layer.backward:
                raise ValueError(f"model: expected layers with a gradient, got {type(layer).__name__} as {name!r}")
        self._forwards = [layer.forward_frozen if name in frozen else layer.forward for name, layer in layers]
        self.parameters = {(name, what): array for name, layer in trained for what, array in layer.parameters.items()}
        self.statistics = {
            (name, what): array
            for name, layer in layers[self._first :]
            if name not in frozen
            for what, array in layer.statistics.items()
        }

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y = self.model._normalized(x)
        for layer in self._layers:
            y = layer.compute(y)
        return y

    def forward(self, x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        y = self.model._normalized(x)
        for layer in self._layers[: self._first]:
            y = layer.compute(y)
        saved = []
        for forward in self._forwards[self._first :]:
            y, own = forward(y, rng=rng)
            saved.append(own)
        return y, saved

    def backward(self, saved: Any, gradient: np.ndarray) -> dict[Key, np.ndarray]:
        gradients = {}
        for i in range(len(self._layers) - 1, self._first - 1, -1):
            layer, name = self._layers[i], self.model.names[i]
            inputs, own = layer.backward(saved.pop(), gradient, needs_input=i > self._first)
            gradients.update({(name, what): g for what, g in own.items() if (name, what) in self.parameters})
            if inputs is not None:
                (gradient,) = inputs
        return gradients

    def fault(self, x: np.ndarray) -> str | None:
        for name, values in self.model.intermediates(x).items():
            if not np.isfinite(values).all():
                return f"the result of {name!r} is not finite"
        return None

    def publish(self) -> None:
        pass
