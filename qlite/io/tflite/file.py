"""Models in TensorFlow Lite files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qlite import _check
from qlite.io.atomic_file import replace_file
from qlite.io.regular_file import open_regular
from qlite.io.tflite.from_program import from_program
from qlite.io.tflite.graph import Graph
from qlite.io.tflite.inspection import Sizes, sizes_of, table
from qlite.io.tflite.read import read
from qlite.io.tflite.to_model import to_model
from qlite.io.tflite.to_qmodel import is_integer, to_qmodel
from qlite.io.tflite.verify import Verification, verify
from qlite.io.tflite.write import write
from qlite.nn.fuse import fuse
from qlite.nn.lower import Builder
from qlite.nn.model import Model
from qlite.nn.qmodel import QModel
from qlite.nn.scheme import Scheme

#: What inputs and outputs of files are.
DTYPES = ("int8", "float32")


def load(path: Any, outputs: Sequence[str] | None) -> Model | QModel:
    """Return the model of a file; see `from_tflite`."""
    path = _check.path("path", path)
    try:
        graph = _opened(path)
        return to_qmodel(graph, outputs) if is_integer(graph) else to_model(graph, outputs)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from None


def verified(model: QModel, path: Any, samples: Any) -> Verification:
    """Compare a file with the model that it was written of; see `QModel.verify`."""
    path = _check.path("path", path)
    try:
        return verify(model, _opened(path), samples)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def inspected(path: Any) -> str:
    """Return a table of a file's inputs and operators; see `inspection`."""
    path = _check.path("path", path)
    try:
        return table(_opened(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def measured(path: Any) -> Sizes:
    """Return what the bytes of a file hold."""
    path = _check.path("path", path)
    return sizes_of(path.stat().st_size, _opened(path))


def _opened(path: Path) -> Graph:
    with open_regular(path) as file:
        return read(file.read())


def save(model: Model | QModel, path: Any, dtype: str, batch: int | None, description: str) -> None:
    """Write a model; see `QModel.to_tflite` and `Model.to_tflite`."""
    path = _check.path("path", path)
    replace_file(path, write(graph_of(model, dtype, batch, description)))


def graph_of(model: Model | QModel, dtype: str, batch: int | None = 1, description: str = "") -> Graph:
    """Return the graph of a model's file."""
    _check.choice("dtype", dtype, DTYPES)
    batch = None if batch is None else _check.integer("batch", batch, 1)
    if isinstance(model, QModel):
        if model.target not in ("tflite", "tflm"):
            model.retarget("tflite")  # an error of its own, where a layer keeps the model from that
            raise ValueError(
                f"target: expected a model for 'tflite' or 'tflm', got {model.target!r}: qm.retarget('tflite') gives it"
            )
        program = model.program
    else:
        builder = Builder(Scheme.parse("float32"))
        program = builder.program(fuse(model).lower(builder))
    return from_program(
        program,
        floats=dtype == "float32",
        batch=batch,
        description=_check.string("description", description),
        is_micro=isinstance(model, QModel) and model.target == "tflm",
    )
