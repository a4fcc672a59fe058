"""The model file: a container whose description is that of the program.

What stands in it follows from the dataclasses of buffers and steps: a field's annotation says which JSON value it is,
and arrays are tensors, ``steps.<number>.<field>``. Loading checks the description before anything is built, and needs
about twice the file's size: the bytes and the tensors.
"""

import json
from collections.abc import Container
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from qlite import _check
from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams
from qlite.io import container, model_file_v1, stored_classes
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.qmodel import QModel
from qlite.nn.steps import PRODUCTS, STEPS

FORMAT_VERSION = 2
INT32 = range(-(1 << 31), 1 << 31)


def save(model: QModel, path: Any) -> None:
    """Write `model` to `path`; see `QModel.save`."""
    container.write(_check.path("path", path), *_describe(model))


def _describe(model: QModel) -> tuple[str, dict[str, np.ndarray]]:
    program = model.program
    tensors: dict[str, np.ndarray] = {}
    steps = []
    for i, step in enumerate(program.steps):
        arrays = {name: value for name, value in vars(step).items() if isinstance(value, np.ndarray)}
        described = {"kind": step.kind} | _without_defaults(step, arrays)
        if isinstance(step, PRODUCTS) and step.weight_bits < 8:
            described["weight_shape"], described["weight_dtype"] = step.weight.shape, step.weight.dtype.name
            storage = _storage(step.weight.ndim, step.weight.dtype, step.weight_bits)
            arrays["weight"] = QArray(step.weight, storage).stored
        tensors |= {f"steps.{i}.{name}": value for name, value in arrays.items()}
        steps.append(described)
    content = {
        "version": FORMAT_VERSION,
        "scheme": model.scheme,
        "target": model.target,
        "task": model.task,
        "classes": stored_classes.describe(model.classes),
        "program": {
            "inputs": program.inputs,
            "outputs": program.outputs,
            "buffers": [_without_defaults(b) for b in program.buffers],
            "steps": steps,
        },
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False), tensors


def _without_defaults(content: Any, arrays: Container[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass but for arrays, None, and defaults."""
    defaults = {f.name: f.default for f in fields(content)}
    return {k: v for k, v in vars(content).items() if k not in arrays and v is not None and v != defaults[k]}


def _storage(ndim: int, dtype: np.dtype, bits: int) -> QParams:
    """Parameters under which weights (..., out) are stored packed, output by output."""
    one = (1,) * ndim
    return QParams(np.ones(one, np.float32), np.zeros(one, np.int32), bits, dtype == np.int8, axis=ndim - 1)


@cache
def _types(cls: type) -> dict[str, tuple[Any, ...]]:
    """The types that each field of a dataclass may have."""
    hints = get_type_hints(cls)
    return {f.name: get_args(h) if isinstance(h := hints[f.name], UnionType) else (h,) for f in fields(cls)}


def _value(where: str, value: Any, types: tuple[Any, ...]) -> Any:
    """A value of JSON as one of these types: ints of 32 bits, finite floats, bools, strings, tuples of ints."""
    if isinstance(value, list) and any(get_origin(t) is tuple for t in types):
        for i, n in enumerate(value):
            if type(n) is not int or n not in INT32:
                raise ValueError(f"{where}[{i}]: expected an int of 32 bits, got {n!r:.80}")
        return tuple(value)
    if type(value) not in types or value is None:
        names = " or ".join("a list" if get_origin(t) is tuple else t.__name__ for t in types if t is not NoneType)
        raise ValueError(f"{where}: expected {names}, got {value!r:.80}")
    if isinstance(value, int) and value not in INT32:
        raise ValueError(f"{where}: expected 32 bits, got {value}")
    return value


def _fields(where: str, content: Any, cls: type, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The fields of a dataclass from an object and the tensors that belong to it."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected an object, got {type(content).__name__}")
    types = _types(cls)
    optional = {f.name: None if f.default is MISSING else f.default for f in fields(cls)}
    optional = {name: default for name, default in optional.items() if default is not None or NoneType in types[name]}
    plain = {name for name, allowed in types.items() if np.ndarray not in allowed}
    required = plain - set(optional)
    if not required <= set(content) <= plain:
        raise ValueError(
            f"{where}: expected {sorted(required)} and perhaps {sorted(plain - required)}, got {sorted(content)}"
        )
    values: dict[str, Any] = {name: default for name, default in optional.items() if name in plain}
    values |= {name: _value(f"{where}: {name}", value, types[name]) for name, value in content.items()}
    for name in set(types) - plain:
        values[name] = tensors.pop(f"{where}.{name}", None)
        if values[name] is None and name not in optional:
            raise ValueError(f"{where}: the tensor {name} is missing")
    return values


def _buffer(i: int, content: Any) -> Buffer:
    values = _fields(f"buffers.{i}", content, Buffer, {})
    try:
        return Buffer(**values)
    except ValueError as error:
        raise ValueError(f"buffers.{i}: {error}") from None


def _step(i: int, content: Any, tensors: dict[str, np.ndarray]) -> Step:
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in STEPS:
        raise ValueError(f"steps.{i}: kind: expected one of {sorted(STEPS)}, got {kind!r}")
    described = {name: value for name, value in content.items() if name != "kind"}
    if {"weight_shape", "weight_dtype"} <= set(described):
        _unpack_weight(f"steps.{i}", described, tensors)
    return STEPS[kind](**_fields(f"steps.{i}", described, STEPS[kind], tensors))


def _unpack_weight(where: str, described: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Put codes in place of packed weights, and take what describes these out of a step's description."""
    name, shape, dtype = f"{where}.weight", described.pop("weight_shape"), described.pop("weight_dtype")
    bits, packed = described.get("weight_bits"), tensors.get(name)
    if dtype not in ("int8", "uint8"):
        raise ValueError(f"{where}: weight_dtype: expected int8 or uint8, got {dtype!r:.80}")
    if type(bits) is not int or not 1 <= bits < 8 or packed is None:
        raise ValueError(f"{where}: weight_bits: expected 1 to 7 and a tensor weight, got {bits!r:.80}")
    try:
        lengths = _value("weight_shape", shape, (tuple[int, ...],))
        storage = _storage(len(lengths), np.dtype(dtype), bits)
        tensors[name] = QArray.from_stored(packed, lengths, storage).codes
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def build(content: dict[str, Any], tensors: dict[str, np.ndarray]) -> QModel:
    """The model of a description."""
    version = content.get("version")
    if type(version) is int and version == 1:
        content = model_file_v1.upgraded(content)
    elif type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(f"expected format version 1 to {FORMAT_VERSION}, got {version!r}")
    if set(content) != {"version", "scheme", "target", "task", "classes", "program"}:
        raise ValueError(f"the description has the wrong names: {sorted(content)}")
    program = content["program"]
    if not isinstance(program, dict) or set(program) != {"inputs", "outputs", "buffers", "steps"}:
        raise ValueError("the description has no whole program")
    if not isinstance(program["buffers"], list) or not isinstance(program["steps"], list):
        raise ValueError("the program's buffers and steps are not lists")
    buffers = [_buffer(i, b) for i, b in enumerate(program["buffers"])]
    steps = [_step(i, s, tensors) for i, s in enumerate(program["steps"])]
    if tensors:
        raise ValueError(f"tensors that no step uses: {sorted(tensors)[:8]}")
    inputs, outputs = (_value(name, program[name], (tuple[int, ...],)) for name in ("inputs", "outputs"))
    if any(i < 0 for i in outputs):
        raise ValueError(f"outputs: expected numbers of buffers, got {outputs}")
    built = Program(buffers, steps, inputs, outputs)
    if unused := set(range(len(buffers))) - built.written - set(inputs):
        raise ValueError(f"buffers that no step writes: {[buffers[i].name for i in sorted(unused)][:8]}")
    return QModel(
        built,
        scheme=content["scheme"],
        target=content["target"],
        task=content["task"],
        classes=stored_classes.build(content["classes"]),
    )
