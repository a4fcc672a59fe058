"""What the loop trains: a model as parameters, a forward and a backward pass."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from qlite.nn.layers.layer import Layer
from qlite.nn.model import Model

#: The name of a layer and that of one of its arrays.
Key = tuple[str, str]
#: Samples of a model with one input, or those of each of several inputs.
Samples = np.ndarray | tuple[np.ndarray, ...]


class Network(Protocol):
    """All that the loop knows of a model.

    Attributes
    ----------
    model : Model
        Its arrays are those that change; `publish` writes the rest to it.
    parameters : dict of ndarray
        The arrays that the optimizer changes in place.
    statistics : dict of ndarray
        Other arrays that training changes, such as running means.
    """

    model: Model
    parameters: dict[Key, np.ndarray]
    statistics: dict[Key, np.ndarray]

    def __call__(self, x: Samples) -> np.ndarray:
        """Return the raw outputs at inference: what validation measures."""

    def forward(self, x: Samples, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        """Return the raw outputs in training, and what `backward` needs of this call."""

    def backward(self, saved: Any, gradient: np.ndarray) -> dict[Key, np.ndarray]:
        """Return the gradients of the parameters; that of the raw outputs is written over."""

    def fault(self, x: Samples) -> str | None:
        """Say which result on samples is the first that is not finite, or why there is none; None: all are finite."""

    def publish(self) -> None:
        """Write to the model what it carries beside its layers."""


class _Node(NamedTuple):
    """A layer in its place; `last` are the values that nothing behind it reads."""

    name: str
    layer: Layer
    sources: tuple[str, ...]
    last: tuple[str, ...]
    needs: tuple[bool, ...]  # of each source: whether something is trained in it or before it
    forward: Callable[..., tuple[np.ndarray, Any]] | None  # None: nothing is trained in the layer or before it


class FloatNetwork:
    """A float model whose layers but the frozen ones are trained; its arrays are changed in place.

    Layers that read nothing which a trained one gives compute as at inference. Parameters and statistics of the other
    frozen layers stay. With `logits` raw outputs are those before the softmax or sigmoid that the model ends in.

    Raises
    ------
    ValueError
        A trained layer, or one behind it, that has no gradient; nothing to train.
    """

    def __init__(self, model: Model, frozen: Collection[str] = (), logits: bool = True) -> None:
        self.model = model
        layers = model.logits_layers if logits else model.layers
        self._nodes = _nodes(model, layers, frozen)
        self._output = self._nodes[-1].name
        self.parameters: dict[Key, np.ndarray] = {}
        self.statistics: dict[Key, np.ndarray] = {}
        for node in self._nodes:
            if node.forward is not None and node.name not in frozen:
                self.parameters |= {(node.name, what): array for what, array in node.layer.parameters.items()}
                self.statistics |= {(node.name, what): array for what, array in node.layer.statistics.items()}

    def __call__(self, x: Samples) -> np.ndarray:
        values, count = self._given(x), len(parts(x)[0])
        for node in self._nodes:
            values[node.name] = node.layer.compute_for(count, *(values[source] for source in node.sources))
            for name in node.last:
                del values[name]
        return values[self._output]

    def forward(self, x: Samples, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        values, count, saved = self._given(x), len(parts(x)[0]), []
        for node in self._nodes:
            inputs = [values[source] for source in node.sources]
            if node.forward is None:
                values[node.name] = node.layer.compute_for(count, *inputs)
            else:
                values[node.name], own = node.forward(*inputs, rng=rng)
                saved.append(own)
            for name in node.last:
                del values[name]
        return values[self._output], saved

    def backward(self, saved: Any, gradient: np.ndarray) -> dict[Key, np.ndarray]:
        found: dict[Key, np.ndarray] = {}
        waiting = {self._output: gradient}
        for node in reversed(self._nodes):
            if node.forward is None:
                continue
            inputs, own = node.layer.backward(saved.pop(), waiting.pop(node.name), needs_input=any(node.needs))
            found |= {(node.name, what): g for what, g in own.items() if (node.name, what) in self.parameters}
            for source, needed, of_source in zip(node.sources, node.needs, apart(inputs), strict=False):
                if needed:
                    before = waiting.get(source)
                    waiting[source] = of_source if before is None else before + of_source
        return found

    def _given(self, x: Samples) -> dict[str, np.ndarray]:
        """What the layers begin with, by name."""
        return self.model.given(dict(zip(self.model.inputs, parts(x), strict=True)))

    def fault(self, x: Samples) -> str | None:
        for name, values in self.model.intermediates(x).items():
            if not np.isfinite(values).all():
                return f"the result of {name!r} is not finite"
        return None

    def publish(self) -> None:
        pass


def _nodes(model: Model, layers: Sequence[Layer], frozen: Collection[str]) -> list[_Node]:
    """The layers in their places, up to the last one."""
    nodes: list[_Node] = []
    reached: set[str] = set()
    places = list(zip(model.names, layers, model.sources, strict=False))
    last_reader = {source: name for name, _, sources in places for source in sources}
    for name, layer, sources in places:
        needs = tuple(source in reached for source in sources)
        forward = None
        if any(needs) or (layer.parameters and name not in frozen):
            if type(layer).backward is Layer.backward:
                raise ValueError(f"model: expected layers with a gradient, got {type(layer).__name__} as {name!r}")
            forward = layer.forward_frozen if name in frozen else layer.forward
            reached.add(name)
        last = tuple({source for source in sources if last_reader[source] == name})
        nodes.append(_Node(name, layer, sources, last, needs, forward))
    if not reached:
        raise ValueError("frozen: expected a layer that is trained, got all that have parameters")
    return nodes


def parts(x: Samples) -> tuple[np.ndarray, ...]:
    """Return the samples of each input."""
    return x if isinstance(x, tuple) else (x,)


def joined(arrays: Iterable[np.ndarray]) -> Samples:
    """Return the samples of each input as networks take them: those of a single one as they are."""
    x = tuple(arrays)
    return x if len(x) > 1 else x[0]


def apart(gradients: Sequence[np.ndarray] | None) -> list[np.ndarray]:
    """Return gradients each of which may be written over: a copy where one array stands for several."""
    gradients = gradients or ()
    return [g.copy() if any(g is other for other in gradients[:i]) else g for i, g in enumerate(gradients)]
