"""The model file: a container whose description is that of the program.

The tensors are the arrays of the steps, ``steps.<number>.<field>``. Loading checks the description before anything is
built, and needs about twice the file's size: the bytes and the tensors, then the tensors and the packed weights.
"""

import json
import re
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from qlite import _check
from qlite.io import container
from qlite.nn.program import DTYPES, STEPS, Buffer, Program, Step, step_fields
from qlite.nn.qmodel import QModel
from qlite.nn.scheme import SCHEMES, TARGETS

FORMAT_VERSION = 1

SMALLEST_SCALE, LARGEST_SCALE = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)


def save(model: QModel, path: Any) -> None:
    """Write `model` to `path`; see `QModel.save`."""
    container.write(path, *_describe(model))


def _describe(model: QModel) -> tuple[str, dict[str, np.ndarray]]:
    program, classes = model.program, model.classes
    tensors: dict[str, np.ndarray] = {}
    steps = []
    for i, step in enumerate(program.steps):
        described: dict[str, Any] = {"kind": step.kind}
        for name, value in step_fields(step).items():
            if isinstance(value, np.ndarray):
                tensors[f"steps.{i}.{name}"] = np.ascontiguousarray(value)
            elif value is not None:
                described[name] = value
        steps.append(described)
    content = {
        "version": FORMAT_VERSION,
        "scheme": model.scheme,
        "target": model.target,
        "output": model.output,
        "classes": None if classes is None else {"dtype": classes.dtype.str, "values": _listed(classes)},
        "program": {
            "input": program.input,
            "output": program.output,
            "buffers": [{k: v for k, v in asdict(b).items() if v is not None} for b in program.buffers],
            "steps": steps,
        },
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False), tensors


def _listed(classes: np.ndarray) -> list[Any]:
    values = classes.tolist()
    if not all(type(value) in (bool, int, str) or (type(value) is float and np.isfinite(value)) for value in values):
        raise ValueError(f"classes: expected integers, finite floats, strings or bools, got {classes!r}")
    return values


def _classes(content: Any) -> np.ndarray | None:
    """The labels with the very dtype that they had."""
    if content is None:
        return None
    if not isinstance(content, dict) or set(content) != {"dtype", "values"} or not isinstance(content["values"], list):
        raise ValueError(f"classes: expected a dtype and values, got {content!r:.80}")
    name, values = content["dtype"], content["values"]
    if not isinstance(name, str) or not re.fullmatch(r"[<>|][iufb][1248]|[<>]U[1-9]\d{0,5}", name):
        raise ValueError(f"classes: dtype: expected one of integers, floats, strings or bools, got {name!r:.80}")
    if np.dtype(name).itemsize * len(values) > container.MAX_HEADER:
        raise ValueError(
            f"classes: dtype: expected at most {container.MAX_HEADER} bytes in all, got {len(values)} of {name}"
        )
    classes = np.array(values, name)
    if classes.ndim != 1 or classes.tolist() != values:
        raise ValueError(f"classes: values: expected labels of dtype {name}, got {values!r:.80}")
    return classes


_FIELD_TYPES: dict[str, type] = {
    **dict.fromkeys(("name", "layer", "dtype", "kind"), str),
    **dict.fromkeys(("width", "zero_point", "row_scale", "row_zero_point", "input", "output"), int),
    **dict.fromkeys(("relu", "fixed"), bool),
    "scale": float,
}


def _checked(where: str, content: Any, allowed: set[str], required: set[str]) -> dict[str, Any]:
    """An object with the right names, and values of the right types."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected an object, got {type(content).__name__}")
    if not required <= set(content) <= allowed:
        raise ValueError(
            f"{where}: expected {sorted(required)} and perhaps {sorted(allowed - required)}, got {sorted(content)}"
        )
    for name, value in content.items():
        if type(value) is not _FIELD_TYPES[name]:
            raise ValueError(f"{where}: {name}: expected {_FIELD_TYPES[name].__name__}, got {value!r}")
        if isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
            raise ValueError(f"{where}: {name}: expected 32 bits, got {value}")
    return content


def _buffer(i: int, content: Any, widest: int) -> Buffer:
    names = {f.name for f in fields(Buffer)}
    buffer = Buffer(**_checked(f"buffers[{i}]", content, names, {"name", "layer", "width", "dtype"}))
    if buffer.dtype not in DTYPES:
        raise ValueError(f"buffers[{i}]: dtype: expected one of {DTYPES}, got {buffer.dtype!r}")
    if not 1 <= buffer.width <= widest:  # wider than any tensor: nothing computes it, but it would need its memory
        raise ValueError(f"buffers[{i}]: width: expected 1 to {widest}, got {buffer.width}")
    if (buffer.scale is None) != (buffer.zero_point is None):
        raise ValueError(f"buffers[{i}]: scale, zero_point: expected both or none, got {buffer}")
    lowest = -128 if buffer.dtype == "int8" else 0  # of a float32 output too, which keeps its grid as uint8
    if buffer.zero_point is not None and not lowest <= buffer.zero_point <= lowest + 255:
        raise ValueError(f"buffers[{i}]: zero_point: expected {lowest} to {lowest + 255}, got {buffer.zero_point}")
    if buffer.scale is not None and not SMALLEST_SCALE <= buffer.scale <= LARGEST_SCALE:
        raise ValueError(f"buffers[{i}]: scale: expected a normal, positive float32, got {buffer.scale}")
    return buffer


def _step(i: int, content: Any, tensors: dict[str, np.ndarray]) -> Step:
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in STEPS:
        raise ValueError(f"steps[{i}]: kind: expected one of {sorted(STEPS)}, got {kind!r}")
    types = {f.name: f.type for f in fields(STEPS[kind])}
    arrays = {name for name, type_ in types.items() if type_ not in (int, bool)}
    scalars = set(types) - arrays | {"kind"}
    values = _checked(f"steps[{i}]", content, scalars, scalars)
    values = {name: value for name, value in values.items() if name != "kind"}
    for name in arrays:
        values[name] = tensors.pop(f"steps.{i}.{name}", None)
        if values[name] is None and types[name] is np.ndarray:
            raise ValueError(f"steps[{i}]: the tensor {name} is missing")
    return STEPS[kind](**values)


def build(content: dict[str, Any], tensors: dict[str, np.ndarray]) -> QModel:
    """The model of a description."""
    version = content.get("version")
    if version != FORMAT_VERSION:
        raise ValueError(f"expected format version {FORMAT_VERSION}, got {version!r}")
    if set(content) != {"version", "scheme", "target", "output", "classes", "program"}:
        raise ValueError(f"the description has the wrong names: {sorted(content)}")
    program = content["program"]
    if not isinstance(program, dict) or set(program) != {"input", "output", "buffers", "steps"}:
        raise ValueError("the description has no whole program")
    if not isinstance(program["buffers"], list) or not isinstance(program["steps"], list):
        raise ValueError("the program's buffers and steps are not lists")
    ends = _checked("program", {k: program[k] for k in ("input", "output")}, {"input", "output"}, {"input", "output"})
    widest = max((tensor.size for tensor in tensors.values()), default=0)
    buffers = [_buffer(i, b, widest) for i, b in enumerate(program["buffers"])]
    steps = [_step(i, s, tensors) for i, s in enumerate(program["steps"])]
    if tensors:
        raise ValueError(f"tensors that no step uses: {sorted(tensors)[:8]}")
    if not all(0 <= end < len(buffers) for end in ends.values()):
        raise ValueError(f"input and output: expected buffers 0 to {len(buffers) - 1}, got {ends}")
    if buffers[ends["output"]].dtype != "float32":
        raise ValueError(f"output: expected float32, got {buffers[ends['output']].dtype}")
    built = Program(buffers, steps, **ends)
    unused = set(range(len(buffers))) - built.written - {built.input}
    if unused:
        raise ValueError(f"buffers that no step writes: {[buffers[i].name for i in sorted(unused)][:8]}")
    return QModel(
        built,
        scheme=_check.choice("scheme", content["scheme"], SCHEMES),
        target=_check.choice("target", content["target"], tuple(TARGETS)),
        output=content["output"],
        classes=_classes(content["classes"]),
    )
