"""From the graph of a float TensorFlow Lite file to a model of layers."""

from collections import Counter
from collections.abc import Mapping, Sequence

from qlite import _check
from qlite.io.tflite.constants import real_values, simplified, without_storing
from qlite.io.tflite.graph import Graph, Operator, Tensor
from qlite.io.tflite.operators import CONVERSIONS, Chain, Conversion, Node
from qlite.io.tflite.patterns import with_layers
from qlite.nn.graph import BUFFERS
from qlite.nn.layers.constant import Constant
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.model import Model

#: Names that a layer must not have, and what one must not end in: see `graph.numbered`.
TAKEN = ("input", "normalized", "output")
#: What layers and arrays raise where a file's numbers make no sense.
SENSELESS = (ValueError, IndexError, TypeError, KeyError, OverflowError, ZeroDivisionError)


def to_model(graph: Graph, outputs: Sequence[str] | None = None) -> Model:
    """Return the model that a float graph describes, or the part of it that gives some of its tensors.

    Raises
    ------
    ValueError
        An operator that no layer computes, with its tensors named; tensors without samples along the first axis.
    """
    return Import(with_layers(simplified(without_storing(graph))), outputs).model()


class Import:
    """The layers of a model as they come, and the names of the values that tensors are.

    Attributes
    ----------
    layers : dict of Layer
        By name.
    names : dict of str
        The input or layer that gives a tensor, by the tensor's number.
    nodes : dict of Node
        The operators that layers are made of, by the names of these.
    """

    def __init__(
        self, graph: Graph, outputs: Sequence[str] | None, conversions: Mapping[str, Conversion] = CONVERSIONS
    ) -> None:
        self.graph, self.conversions = graph, conversions
        self.layers: dict[str, Layer] = {}
        self.names: dict[int, str] = {}
        self.nodes: dict[str, Node] = {}
        self.inputs: dict[str, Shape] = {}
        self.samples = 1  # that the file's tensors hold
        self._sources: list[tuple[str, Layer, tuple[str, ...]]] = []
        self._taken: set[str] = set(TAKEN)
        self._used: Counter[str] = Counter()
        self._wanted = self._outputs(outputs)

    def model(self) -> Model:
        needed = self._needed()
        for number, name in zip(self.graph.inputs, self.graph.input_names, strict=True):
            if number in needed:
                name = "input" if name == "input" and not self.inputs else self._free(name or f"tensor_{number}")
                self._give(number, name)
                self.inputs[name] = self._sample(self.graph.tensors[number])
                self.samples = self.graph.tensors[number].shape[0]
        for i, operator in enumerate(self.graph.operators):
            if not needed.isdisjoint(operator.outputs):
                self._take(i, operator)
        if not self.inputs:
            raise ValueError("expected outputs that are computed from an input, got none that is read")
        for number, name in self._wanted.items():
            if self.names.get(number) not in self.layers:
                raise ValueError(f"output {name!r}: expected a tensor that an operator gives")
        outputs = tuple(self.names[number] for number in self._wanted)
        try:
            return Model(self.inputs, outputs, nodes=self._sources)
        except MemoryError as error:  # of shapes that no machine holds
            raise ValueError(str(error)) from None

    def _outputs(self, names: Sequence[str] | None) -> dict[int, str]:
        """The tensors that the model gives, by number, and their names."""
        if names is None:
            numbers: Sequence[int] = self.graph.outputs
            names = self.graph.output_names
        else:
            if isinstance(names, str):
                raise TypeError(f"outputs: expected a sequence of names, got {names!r}")
            numbers = [self._number(name) for name in names]
        if len(set(numbers)) != len(numbers) or not numbers:
            raise ValueError(f"outputs: expected at least one tensor, each once, got {list(names)[:8]}")
        return dict(zip(numbers, names, strict=True))

    def _number(self, name: str) -> int:
        found = [i for i, known in zip(self.graph.outputs, self.graph.output_names, strict=True) if known == name]
        found += [i for i, tensor in enumerate(self.graph.tensors) if tensor.name == name]
        if not found:
            computed = [self.graph.tensors[i].name for operator in self.graph.operators for i in operator.outputs]
            raise ValueError(f"outputs: expected names of tensors, got {name!r}{_check.close(name, computed)}")
        return found[0]

    def _needed(self) -> set[int]:
        """The tensors that the wanted ones are computed from; shapes that a file computes are none of them."""
        needed = set(self._wanted)
        for operator in reversed(self.graph.operators):
            if not needed.isdisjoint(operator.outputs):
                conversion = self.conversions.get(operator.name)
                reads = None if conversion is None else conversion.reads
                read = operator.inputs if reads is None else [i for n, i in enumerate(operator.inputs) if n in reads]
                needed.update(i for i in read if i >= 0)
        return needed

    def _take(self, i: int, operator: Operator) -> None:
        tensors = self.graph.tensors
        where = f"operators[{i}], {operator.name}, {tensors[operator.outputs[0]].name!r}"
        conversion = self.conversions.get(operator.name)
        if conversion is None:
            known = [tensors[n].name for n in operator.inputs if n in self.names][:8]
            raise ValueError(
                f"{where}: expected an operator that a layer computes (outputs={known} takes what it reads)"
            )
        try:
            node = Node(operator, tensors)
            reads = range(len(operator.inputs)) if conversion.reads is None else conversion.reads
            for n in reads:
                node.tensor(n)
            read = [operator.inputs[n] for n in reads]
            chains = conversion.layers(node)
            if len(chains) != len(operator.outputs):
                raise ValueError(f"expected {len(chains)} results, got {len(operator.outputs)}")
            for number, chain in zip(operator.outputs, chains, strict=True):
                self._check_samples(tensors[number])
                self._put(number, read, chain)
                self.nodes[self.names[number]] = node
        except SENSELESS as error:
            raise ValueError(f"{where}: {error}") from None

    def _check_samples(self, tensor: Tensor) -> None:
        """Several samples have to stay one behind the other."""
        if self.samples not in (1, -1) and tensor.shape[:1] != (self.samples,):
            raise ValueError(
                f"expected {self.samples} samples along the first axis, as the input has, got {tensor.shape} "
                "(convert the network with a batch of 1)"
            )

    def _put(self, number: int, read: Sequence[int], chain: Chain) -> None:
        """Add the layers that compute a tensor."""
        tensor, last = self.graph.tensors[number], chain[-1]
        assert isinstance(last, Layer)
        names = [name for name in (self._wanted.get(number), tensor.name) if name] or [f"tensor_{number}"]
        name = next((name for name in names if name not in TAKEN), f"{names[0]}_{last.kind}")
        sources = tuple(self._source(i, tensor) for i in read)
        self._give(number, self._add(name, last, self._chained(name, chain[:-1], sources)))

    def _chained(self, name: str, chain: Chain, sources: tuple[str, ...]) -> tuple[str, ...]:
        """Add layers, and return the names of those that give what the next one reads."""
        for part in chain:
            if isinstance(part, tuple):
                sources = tuple(end for branch in part for end in self._chained(name, branch, sources))
            else:
                sources = (self._add(f"{name}_{part.kind}", part, sources if part.arity != 0 else ()),)
        return sources

    def _add(self, name: str, layer: Layer, sources: tuple[str, ...]) -> str:
        name = self._free(name)
        self._sources.append((name, layer, sources))
        self.layers[name] = layer
        return name

    def _give(self, number: int, name: str) -> None:
        """Note that a layer or an input gives a tensor."""
        if number in self.names:
            raise ValueError(f"expected a tensor that nothing else gives, got {self.graph.tensors[number].name!r}")
        self.names[number] = name

    def _source(self, number: int, result: Tensor) -> str:
        """The name of a value that is read; a constant becomes a layer."""
        if number in self.names:
            return self.names[number]
        tensor = self.graph.tensors[number] if number >= 0 else None
        if tensor is None or tensor.data is None:
            name = "none" if tensor is None else repr(tensor.name)
            raise ValueError(f"expected tensors that were computed before, got {name}")
        values = real_values(tensor)
        if values.ndim == len(result.shape) and values.ndim:
            if values.shape[0] != 1:
                raise ValueError(f"expected a constant for every sample, got {tensor.name!r} of {values.shape}")
            values = values[0]
        self._give(number, self._add(tensor.name or f"tensor_{number}", Constant(values), ()))
        return self.names[number]

    def _sample(self, tensor: Tensor) -> Shape:
        """The shape of a sample of an input."""
        if len(tensor.shape) < 2 or min(tensor.shape[1:]) < 1 or not (tensor.shape[0] > 0 or tensor.shape[0] == -1):
            raise ValueError(f"input {tensor.name!r}: expected shape (samples, ...), got {tensor.shape}")
        if self.inputs and tensor.shape[0] != self.samples:
            raise ValueError(
                f"input {tensor.name!r}: expected {self.samples} samples, as of {next(iter(self.inputs))!r}, "
                f"got {tensor.shape}"
            )
        return tensor.shape[1:]

    def _free(self, name: str) -> str:
        """A name like this one that no layer and no buffer of a program has."""
        free = name
        while not self._is_free(free):
            self._used[name] += 1
            free = f"{name}_{self._used[name] + 1}"
        self._taken.add(free)
        return free

    def _is_free(self, name: str) -> bool:
        """Whether neither it nor a buffer of its layer has the name of another, nor the other way round."""
        return (
            name not in self._taken
            and all(f"{name}_{what}" not in self._taken for what in BUFFERS)
            and all(name.removesuffix(f"_{what}") not in self._taken for what in BUFFERS if name.endswith(f"_{what}"))
        )
