"""The file of a float model: a container whose description lists the layers, and of a graph, version 2, the shapes of
its inputs, what each layer reads, and which of them give the outputs.

A layer is its kind, its name, the options that its class lists, and its arrays, ``layers.<number>.<array>``. ``mean``
and ``scale`` are tensors of these names. The grids of training with a scheme are described by layer; their tensors
begin with ``grids.weights.<number>`` and ``grids.activations.<number>``, in the order of the description. Loading takes
no memory for lengths that no tensor has.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from qlite import _check
from qlite.grids.qparams import QParams
from qlite.io import container, stored_classes, stored_qparams
from qlite.nn.layers.layer import KINDS, Layer
from qlite.nn.model import Model
from qlite.nn.model_grids import ModelGrids
from qlite.nn.quantize import check_grids
from qlite.nn.sequential import Sequential

#: Of layers that follow one another, and of graphs.
CHAIN_VERSION, GRAPH_VERSION = 1, 2
#: What both descriptions have, and what each has besides.
FIELDS = {"version", "layers", "task", "classes", "grids"}
OWN_FIELDS = {CHAIN_VERSION: {"input_shape"}, GRAPH_VERSION: {"inputs", "outputs"}}
#: The fields of `ModelGrids` that hold parameters.
GRIDS = ("weights", "activations")

Tensors = dict[str, np.ndarray]


def save(model: Model, path: Any) -> None:
    """Write `model` to `path`; see `Model.save`."""
    path = _check.path("path", path)
    if model.grids is not None:
        check_grids(model, model.grids)
    tensors: Tensors = {}
    for name, array in (("mean", model.mean), ("scale", model.scale)):
        if array is not None:
            stored_qparams.put(tensors, name, _float32(name, array))
    layers = [_describe_layer(i, layer, tensors) for i, layer in enumerate(model.layers)]
    if isinstance(model, Sequential):
        own: dict[str, Any] = {"version": CHAIN_VERSION, "input_shape": model.input_shape}
    else:
        own = {"version": GRAPH_VERSION, "inputs": model.inputs, "outputs": model.outputs}
        only = {"normalized": next(iter(model.inputs))}
        for layer, name, read in zip(layers, model.names, model.sources, strict=True):
            layer |= {"name": name, "inputs": [only.get(source, source) for source in read]}
    content = own | {
        "layers": layers,
        "task": model.task,
        "classes": stored_classes.describe(model.classes),
        "grids": None if model.grids is None else _describe_grids(model.grids, tensors),
    }
    container.write(path, json.dumps(content, separators=(",", ":"), allow_nan=False), tensors)


def _describe_layer(i: int, layer: Layer, tensors: Tensors) -> dict[str, Any]:
    if KINDS.get(layer.kind) is not type(layer):
        raise TypeError(f"layers[{i}]: expected a class with a kind of its own, got {type(layer).__qualname__}")
    if not layer.is_stored:
        raise TypeError(f"layers[{i}]: expected what a file can hold, got {layer!r} (its quantized model can be saved)")
    for name, array in (layer.parameters | layer.statistics).items():
        stored_qparams.put(tensors, f"layers.{i}.{name}", _float32(f"layers[{i}]: {name}", array))
    options = {name: getattr(layer, name) for name in layer.options}
    return {"kind": layer.kind, "name": layer.name, "options": options}


def _describe_grids(grids: ModelGrids, tensors: Tensors) -> dict[str, Any]:
    described: dict[str, Any] = {"scheme": grids.scheme, "per_layer": dict(grids.per_layer)}
    for what in GRIDS:
        found: Mapping[str, QParams] = getattr(grids, what)
        described[what] = {
            name: stored_qparams.describe(f"grids.{what}.{i}", p, tensors) for i, (name, p) in enumerate(found.items())
        }
    return described


def _float32(name: str, array: np.ndarray) -> np.ndarray:
    """Return an array that a layer can have: float32, finite."""
    if array.dtype != np.float32:
        raise ValueError(f"{name}: expected float32, got {array.dtype}")
    return _check.finite(name, array)


def build(content: dict[str, Any], tensors: Tensors) -> Model:
    """The model of a description."""
    version = content.get("version")
    if type(version) is not int or version not in OWN_FIELDS:
        raise ValueError(f"expected format version 1 or 2 of a float model, got {version!r:.80}")
    _expect("the description", content, FIELDS | OWN_FIELDS[version])
    for name in ("layers", *(OWN_FIELDS[version] - {"inputs"})):
        if not isinstance(content[name], list):
            raise ValueError(f"{name}: expected a list, got {content[name]!r:.80}")
    mean, scale = _taken(tensors, "mean"), _taken(tensors, "scale")
    if (mean is None) != (scale is None):
        raise ValueError("mean, scale: expected both tensors or none, got one")
    arrays = _taken_by_layer(tensors)
    options = {
        "mean": mean,
        "scale": scale,
        "task": content["task"],
        "classes": stored_classes.build(content["classes"]),
    }
    try:
        model = (_chain if version == CHAIN_VERSION else _graph)(content, arrays, options)
    except MemoryError as error:  # of what a layer declares
        raise ValueError(f"layers: {error}") from None
    if content["grids"] is not None:
        model.grids = _grids(content["grids"], tensors)
        check_grids(model, model.grids)
    if arrays or tensors:
        raise ValueError(f"tensors that nothing uses: {sorted([*arrays, *tensors])[:8]}")
    return model


def _chain(content: dict[str, Any], arrays: dict[str, Tensors], options: dict[str, Any]) -> Model:
    described = content["layers"]
    layers = [_layer(f"layers.{i}", c, arrays.pop(f"layers.{i}", {})) for i, c in enumerate(described)]
    return Sequential(layers, input_shape=content["input_shape"], **options)


def _graph(content: dict[str, Any], arrays: dict[str, Tensors], options: dict[str, Any]) -> Model:
    described = content["layers"]
    nodes = [_node(f"layers.{i}", c, arrays.pop(f"layers.{i}", {})) for i, c in enumerate(described)]
    model = Model(_inputs(content["inputs"]), _strings("outputs", content["outputs"]), nodes=nodes, **options)
    if model.names != [name for name, _, _ in nodes]:
        raise ValueError("layers: expected each behind those that it reads")
    return model


def _expect(where: str, content: Any, names: set[str]) -> None:
    if not isinstance(content, dict) or set(content) != names:
        raise ValueError(f"{where}: expected {sorted(names)}, got {sorted(content)!r:.200}")


def _taken(tensors: Tensors, name: str) -> np.ndarray | None:
    """Take out a tensor that may be absent."""
    return _float32(name, tensors.pop(name)) if name in tensors else None


def _taken_by_layer(tensors: Tensors) -> dict[str, Tensors]:
    """Take out the tensors of all layers: by layer, then by array."""
    taken: dict[str, Tensors] = {}
    for name in [name for name in tensors if name.startswith("layers.")]:
        layer, _, what = name.rpartition(".")
        taken.setdefault(layer, {})[what] = _float32(name, tensors.pop(name))
    return taken


def _inputs(content: Any) -> dict[str, tuple[int, ...]]:
    if not isinstance(content, dict) or not all(isinstance(shape, list) for shape in content.values()):
        raise ValueError(f"inputs: expected shapes by name, got {content!r:.80}")
    return {name: tuple(shape) for name, shape in content.items()}


def _strings(where: str, content: Any, least: int = 1) -> tuple[str, ...]:
    is_list = isinstance(content, list) and len(content) >= least
    if not is_list or not all(isinstance(name, str) and name for name in content):
        raise ValueError(f"{where}: expected names, got {content!r:.80}")
    return tuple(content)


def _node(where: str, content: Any, arrays: Tensors) -> tuple[str, Layer, tuple[str, ...]]:
    _expect(where, content, {"kind", "name", "options", "inputs"})
    layer = _layer(where, {key: content[key] for key in ("kind", "name", "options")}, arrays)
    (name,) = _strings(f"{where}: name", [content["name"]])
    return name, layer, _strings(f"{where}: inputs", content["inputs"], 0 if layer.arity == 0 else 1)


def _layer(where: str, content: Any, arrays: Tensors) -> Layer:
    _expect(where, content, {"kind", "name", "options"})
    kind = content["kind"]
    known = sorted(name for name, layer in KINDS.items() if layer.is_stored)
    if kind not in known:
        raise ValueError(f"{where}: kind: expected one of {', '.join(known)}, got {kind!r:.80}")
    cls = KINDS[kind]
    is_of_before = isinstance(content["options"], dict) and not set(cls.later_options) & set(content["options"])
    _expect(f"{where}: options", content["options"], set(cls.options) - set(cls.later_options if is_of_before else ()))
    try:
        layer = cls(**{**content["options"], **arrays, "name": content["name"]})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
    own = sorted(layer.parameters | layer.statistics)
    if own != sorted(arrays):
        raise ValueError(f"{where}: expected the tensors {own}, got {sorted(arrays)}")
    return layer


def _grids(content: Any, tensors: Tensors) -> ModelGrids:
    _expect("grids", content, {"scheme", "per_layer", *GRIDS})
    for name in ("per_layer", *GRIDS):
        if not isinstance(content[name], dict):
            raise ValueError(f"grids: {name}: expected an object, got {content[name]!r:.80}")
    if not all(isinstance(scheme, str) for scheme in content["per_layer"].values()):
        raise ValueError(f"grids: per_layer: expected names of schemes, got {content['per_layer']!r:.80}")
    found: dict[str, dict[str, QParams]] = {what: {} for what in GRIDS}
    for what, grids in found.items():
        for i, (name, described) in enumerate(content[what].items()):
            try:
                grids[name] = stored_qparams.build(f"grids.{what}.{i}", described, tensors)
            except (TypeError, ValueError) as error:
                raise ValueError(f"grids: {what}: {name}: {error}") from None
    return ModelGrids(content["scheme"], content["per_layer"], **found)
