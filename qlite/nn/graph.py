"""The graph of a model: which layer reads what, in an order in which each reads what came before."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from qlite import _check
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.symbol import Symbol, sample_shape

#: What the names of a layer's other buffers end in, of the integer program of some scheme.
BUFFERS = ("scale", "zero_point", "codes", "output_codes", "sums", "values")


class Node(NamedTuple):
    """A layer, its name, and the names of the layers and inputs that it reads."""

    name: str
    layer: Layer
    sources: tuple[str, ...]


class Graph(NamedTuple):
    """Shapes of samples by the names of inputs, nodes in order, and the names of the outputs."""

    inputs: dict[str, Shape]
    nodes: list[Node]
    outputs: tuple[str, ...]


def of_symbols(inputs: Any, outputs: Any) -> Graph:
    """Return the graph that symbols describe."""
    ends = {"inputs": _symbols("inputs", inputs), "outputs": _symbols("outputs", outputs)}
    named = _input_names(ends["inputs"])
    layers: dict[Hashable, Layer] = {}
    sources: dict[Hashable, tuple[Hashable, ...]] = {}
    waiting = list(ends["outputs"])
    while waiting:
        symbol = waiting.pop()
        if symbol in sources or symbol in named:
            continue
        if symbol.layer is None:
            raise ValueError(f"inputs: expected all that the outputs are computed from, got {list(named)} without it")
        layers[symbol], sources[symbol] = symbol.layer, symbol.sources
        waiting += symbol.sources

    def key(symbol: Any) -> Hashable:
        return named.get(symbol, symbol)

    keys = [key(symbol) for symbol in ends["outputs"]]
    of = {place: tuple(map(key, read)) for place, read in sources.items()}
    return _graph({named[s]: s.shape for s in ends["inputs"]}, layers, of, keys)


def of_nodes(inputs: Any, outputs: Any, nodes: Any) -> Graph:
    """Return the graph that a list of (name, layer, names of what it reads) describes."""
    if not isinstance(inputs, Mapping):
        raise TypeError(f"inputs: expected a dict of shapes by name with nodes, got {type(inputs).__name__}")
    for name in inputs:
        if not (isinstance(name, str) and name):
            raise TypeError(f"inputs: expected names that are strings and not empty, got {name!r}")
    shapes = {name: sample_shape(f"inputs[{name!r}]", shape) for name, shape in inputs.items()}
    names = _names("outputs", outputs)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"outputs: expected at least one name, each once, got {list(names)}")
    layers: dict[Hashable, Layer] = {}
    sources: dict[Hashable, tuple[Hashable, ...]] = {}
    if isinstance(nodes, (str, bytes, Mapping)) or not isinstance(nodes, Sequence):
        raise TypeError(f"nodes: expected a sequence of (name, layer, inputs), got {type(nodes).__name__}")
    if not nodes:
        raise ValueError("nodes: expected at least one, got none")
    for i, node in enumerate(nodes):
        if not (isinstance(node, (tuple, list)) and len(node) == 3 and isinstance(node[0], str) and node[0]):
            raise TypeError(f"nodes[{i}]: expected (name, layer, inputs), got {_check.shown(node)}")
        name, layer, read = node
        if not isinstance(layer, Layer):
            raise TypeError(f"nodes[{i}]: {name!r}: expected a layer, got {type(layer).__name__}")
        if name in layers or name in shapes:
            raise ValueError(f"nodes[{i}]: expected a name that nothing else has, got {name!r}")
        layers[name], sources[name] = layer, _names(f"nodes[{i}]: {name!r}: inputs", read)
    known = [*shapes, *layers]
    for name, read in sources.items():
        for source in read:
            _check.choice(f"nodes: {name!r}: inputs", source, known)
    for name in names:
        _check.choice("outputs", name, list(layers))
    graph = _graph(shapes, layers, sources, names)
    if unread := [name for name in layers if name not in {node.name for node in graph.nodes}]:
        raise ValueError(f"nodes: expected layers that the outputs are computed from, got {unread} beside them")
    return graph


def _names(where: str, value: Any) -> tuple[str, ...]:
    """One name, or a sequence of names, as a tuple; `where` is for the error."""
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{where}: expected a name or a sequence of names, got {_check.shown(value)}")
    return tuple(names)


def _symbols(name: str, value: Any) -> list[Symbol]:
    symbols = [value] if isinstance(value, Symbol) else value
    if isinstance(symbols, (str, Mapping)) or not isinstance(symbols, Sequence) or not symbols:
        raise TypeError(
            f"{name}: expected what Input() and called layers give, one or several, got {_check.shown(value)}"
        )
    for symbol in symbols:
        if not isinstance(symbol, Symbol):
            raise TypeError(f"{name}: expected what Input() and called layers give, got {_check.shown(symbol)}")
        if (symbol.layer is None) != (name == "inputs"):
            what = "what Input() gives" if name == "inputs" else "results of layers"
            raise ValueError(f"{name}: expected {what}, got {symbol!r}")
    if len(set(symbols)) != len(symbols):
        raise ValueError(f"{name}: expected each once, got {_check.shown(symbols)}")
    return list(symbols)


def _input_names(symbols: Sequence[Symbol]) -> dict[Symbol, str]:
    if len(symbols) == 1:
        return {symbols[0]: symbols[0].name or "input"}
    names = {symbol: symbol.name or f"input_{i}" for i, symbol in enumerate(symbols, 1)}
    if len(set(names.values())) != len(names):
        raise ValueError(f"inputs: expected different names, got {list(names.values())}")
    return names


def _graph(
    inputs: dict[str, Shape],
    layers: Mapping[Hashable, Layer],
    sources: Mapping[Hashable, tuple[Hashable, ...]],
    outputs: Sequence[Hashable],
) -> Graph:
    """Bring layers into order, and give those a name that have none."""
    order = _ordered(sources, outputs)
    read = {source for key in order for source in sources[key]}
    if unread := [name for name in inputs if name not in read]:
        raise ValueError(f"inputs: expected those that the outputs are computed from, got {unread} beside them")
    given = [key if isinstance(key, str) else layers[key].name for key in order]
    names = dict(zip(order, numbered([layers[key] for key in order], given, list(inputs)), strict=True))
    objects = Counter(id(layers[key]) for key in order)
    for key, name in names.items():
        if objects[id(layers[key])] > 1:
            raise ValueError(f"layer {name!r}: expected a layer for each place in the graph, got it in several")
    nodes = [Node(names[key], layers[key], tuple(names.get(s, str(s)) for s in sources[key])) for key in order]
    return Graph(inputs, nodes, tuple(names[key] for key in outputs))


def _ordered(sources: Mapping[Hashable, tuple[Hashable, ...]], outputs: Sequence[Hashable]) -> list[Hashable]:
    """Return what the outputs are computed from, each behind what it reads, by depth first."""
    done: dict[Hashable, None] = {}
    for output in outputs:
        path, ahead = [output], [iter(sources[output])]
        while path:
            source = next((s for s in ahead[-1] if s in sources and s not in done), None)
            if source is None:
                done.setdefault(path.pop())
                ahead.pop()
            elif source in path:
                names = [*path[path.index(source) :], source]
                raise ValueError(f"nodes: expected no cycle, got {' -> '.join(map(repr, reversed(names)))}")
            else:
                path.append(source)
                ahead.append(iter(sources[source]))
    return list(done)


def numbered(layers: Sequence[Layer], given: Sequence[str | None], inputs: Sequence[str]) -> list[str]:
    """Return the names of layers, those without one numbered by kind; refuse names that repeat, or that the program of
    some scheme gives to another buffer."""
    counts: Counter[str] = Counter()
    names = []
    for layer, name in zip(layers, given, strict=True):
        counts[layer.kind] += 1
        names.append(name or f"{layer.kind}_{counts[layer.kind]}")
    if len(set(names)) != len(names):
        raise ValueError(f"layers: expected different names, got {names}")
    others = {"input", "normalized", "output"} | {f"{name}_{what}" for name in (*inputs, *names) for what in BUFFERS}
    if taken := (others | set(inputs)) & set(names) or (others - {"input"}) & set(inputs):
        raise ValueError(f"layers: expected names that no other buffer has, got {sorted(taken)}")
    return names
