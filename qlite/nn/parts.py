"""Products whose results are cut along their channels, as a product for each part.

Boxes beside scores, say: each part then has a grid of its own, of just its range, and so have the parts that a gate is
made of. The weights of a part are those of its channels, exactly, so that it computes the same; nothing is cut at run
time. A product that something else reads, that is an output, or that mixes its channels itself stays whole.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np

from qlite.nn.graph import Node
from qlite.nn.layers.conv import Conv2D
from qlite.nn.layers.conv1d import Conv1D
from qlite.nn.layers.conv_transpose import Conv2DTranspose
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.layers.move import Slice
from qlite.nn.layers.shape import Reshape
from qlite.nn.layers.weighted import Weighted
from qlite.nn.model import Model

#: What layers call the number of their outputs.
COUNTS: dict[type[Layer], str] = {Dense: "units", Conv1D: "filters", Conv2D: "filters", Conv2DTranspose: "filters"}


def with_parts(model: Model) -> Model:
    """Return the model with products for parts, under the names of what cut them out; itself where there are none."""
    found = _Cutting(model)
    if not found.parts:
        return model
    nodes = [
        node
        for name, layer, read in zip(model.names, model.layers, model.sources, strict=True)
        if name not in found.gone
        for node in found.parts.get(name, [Node(name, layer, read)])
    ]
    options: dict[str, Any] = {"mean": model.mean, "scale": model.scale, "task": model.task, "classes": model.classes}
    return Model(model.inputs, model.outputs, nodes=nodes, **options)


class _Cutting:
    """The nodes that take the place of slices, by their names, and the layers that are no longer needed."""

    def __init__(self, model: Model) -> None:
        self.model, self.parts, self.gone = model, dict[str, list[Node]](), set[str]()
        self._layers = dict(zip(model.names, model.layers, strict=True))
        self._taken = {*model.names, *model.inputs}
        self._readers: dict[str, list[str]] = {}
        for name, read in zip(model.names, model.sources, strict=True):
            for source in read:
                self._readers.setdefault(source, []).append(name)
        for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
            if isinstance(layer, Weighted) and self._is_free(name) and _is_by_channel(layer):
                self._cut(name, layer, read)

    def _is_free(self, name: str) -> bool:
        """Whether a value is read inside the model alone."""
        return name not in self.model.outputs

    def _cut(self, name: str, layer: Weighted, read: tuple[str, ...]) -> None:
        """Cut a product, which a change of shape may follow that leaves channels beside each other."""
        last, gone = name, {name}
        readers = self._readers[name]
        shape = self.model.shapes[name]
        if len(readers) == 1 and isinstance(self._layers[readers[0]], Reshape) and self._is_free(readers[0]):
            (last,) = readers
            gone.add(last)
            if shape[-1] % self.model.shapes[last][-1]:
                return
        slices = {reader: self._layers[reader] for reader in self._readers[last]}
        channels = {reader: _channels(cut, self.model.shapes[last]) for reader, cut in slices.items()}
        if None in channels.values():
            return
        self.gone |= gone
        times = shape[-1] // self.model.shapes[last][-1]
        for reader, chosen in channels.items():
            assert chosen is not None
            every = [i * self.model.shapes[last][-1] + j for i in range(times) for j in chosen]
            self.parts[reader] = self._part(name, layer, read, reader, every, is_moved=last != name)

    def _part(
        self, name: str, layer: Weighted, read: tuple[str, ...], reader: str, channels: Sequence[int], is_moved: bool
    ) -> list[Node]:
        """The product of some channels, in the shape and under the name of what read them."""
        part: Any = copy(layer)
        part.weight, part.bias = np.ascontiguousarray(layer.weight[..., channels]), layer.bias[channels]
        setattr(part, COUNTS[type(layer)], len(channels))
        part.name = self._free_name(f"{reader}_{name}") if is_moved else reader
        nodes = [Node(part.name, part, read)]
        if is_moved:
            nodes.append(Node(reader, Reshape(self.model.shapes[reader], name=reader), (part.name,)))
        return nodes

    def _free_name(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _is_by_channel(layer: Weighted) -> bool:
    """Whether a channel of the results needs its own weights alone, and all that the layer reads."""
    return type(layer) in COUNTS and getattr(layer, "groups", 1) == 1 and layer.activation != "softmax"


def _channels(layer: Layer, shape: Shape) -> list[int] | None:
    """The channels that a slice takes; None where it is none or cuts another axis."""
    if not isinstance(layer, Slice):
        return None
    *others, channels = zip(*layer.fields(shape).values(), strict=True)
    if any(places != (0, n, 1) for places, n in zip(others, shape, strict=False)):
        return None
    return list(range(*channels))
