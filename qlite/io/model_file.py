"""The model file: a safetensors file whose metadata holds a JSON description of the program.

The tensors are the arrays of the steps, ``steps.<number>.<field>``. ``__metadata__`` holds ``qlite``, the description,
and ``digest``, a SHA-256 of the description and of all tensors, so that a changed byte is found. Loading runs no code,
checks the description before anything is built, and needs about twice the file's size: the bytes and the tensors, then
the tensors and the packed weights. Saving writes another file in the same folder and renames it: at every moment the
name stands for the old file or the new one, whole.
"""

import hashlib
import json
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from qlite import _check
from qlite.nn.program import DTYPES, STEPS, Buffer, Program, Step, step_fields
from qlite.nn.qmodel import QModel
from qlite.nn.scheme import SCHEMES, TARGETS

FORMAT_VERSION = 1

#: A header longer than this is refused unread; a description of a thousand layers has about a megabyte.
MAX_HEADER = 8 << 20

SMALLEST_SCALE, LARGEST_SCALE = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)


def save(model: QModel, path: Any) -> None:
    """Write `model` to `path`; see `QModel.save`."""
    from safetensors.numpy import save as to_bytes

    description, tensors = _describe(model)
    metadata = {"qlite": description, "digest": _digest(description, tensors)}
    _replace_file(Path(os.path.realpath(path)), to_bytes(tensors, metadata))


def load(path: Any) -> QModel:
    """Read a model from `path`; see `qlite.load`."""
    try:
        return _build(*_read(Path(path)))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: not a usable qlite model file: {error}") from None


def _read(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The description and the tensors, unchanged since they were written; the file's bytes are gone on return."""
    data = path.read_bytes()
    description, digest = _metadata(data)
    tensors = _tensors(data)
    if _digest(description, tensors) != digest:
        raise ValueError("the digest does not match: the file was changed or damaged")
    return description, tensors


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
    if np.dtype(name).itemsize * len(values) > MAX_HEADER:
        raise ValueError(f"classes: dtype: expected at most {MAX_HEADER} bytes in all, got {len(values)} of {name}")
    classes = np.array(values, name)
    if classes.ndim != 1 or classes.tolist() != values:
        raise ValueError(f"classes: values: expected labels of dtype {name}, got {values!r:.80}")
    return classes


def _digest(description: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _replace_file(path: Path, content: bytes) -> None:
    if path.exists() and not path.is_file():  # a rename would put a file where a folder, device or pipe is
        raise OSError(f"path: expected a file, or a new name, got what is no regular file: {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: expected a name in a folder that exists, got {path}")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The new name survives a power cut only once the folder is on disk too; not every file system can do that."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"a name occurs twice in {sorted(keys)[:8]}")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"expected finite numbers, got {name}")


def _parse(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        content = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{what} is not a JSON object")
    return content


def _metadata(data: bytes) -> tuple[str, str]:
    """The description and the digest, once the file's outer form is right."""
    if len(data) < 8:
        raise ValueError(f"expected at least 8 bytes, got {len(data)}")
    length = int.from_bytes(data[:8], "little")
    if length > min(len(data) - 8, MAX_HEADER):
        raise ValueError(f"the header should have {length} bytes, of {len(data) - 8} in the file (limit {MAX_HEADER})")
    metadata = _parse(data[8 : 8 + length], "the header").get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("qlite"), str):
        raise ValueError("it is a safetensors file without a qlite description")
    if set(metadata) != {"qlite", "digest"}:
        raise ValueError(f"expected the metadata qlite and digest, got {sorted(metadata)}")
    return metadata["qlite"], metadata["digest"]


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(data)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"the tensors cannot be read ({error})") from None


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


def _build(description: str, tensors: dict[str, np.ndarray]) -> QModel:
    content = _parse(description, "the description")
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
