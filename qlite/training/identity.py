"""What tells models, samples and options from others, in short texts that a checkpoint can hold."""

from functools import partial
from typing import Any

import numpy as np

from qlite.nn.model import Model
from qlite.nn.predictor import Predictor
from qlite.nn.qmodel import QModel


def digest_of(*arrays: np.ndarray | None) -> str:
    """A short text that two sets of arrays have in common only if they are equal."""
    import hashlib  # here: it would slow `import qlite` down

    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            array = np.ascontiguousarray(array)
            digest.update(f"\n{array.dtype.str} {array.shape}\n".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


def name_of(value: Any) -> Any:
    """What a checkpoint says of an option: its value, or the name of a function, with the arguments of a `partial`."""
    if isinstance(value, partial):
        arguments = [*map(name_of, value.args), *(f"{key}={name_of(own)}" for key, own in value.keywords.items())]
        return f"{name_of(value.func)}({', '.join(map(str, arguments))})"
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"array {digest_of(value)}"
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else type(value).__name__
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    has_address = type(value).__repr__ is object.__repr__
    return type(value).__name__ if has_address else repr(value)


def description_of(model: Predictor) -> str:
    """What tells a model from others: its layers or steps, and all of their numbers."""
    if isinstance(model, QModel):
        return f"{model!r} {_digest_of_program(model)}"
    assert isinstance(model, Model)
    arrays = [array for layer in model.layers for array in (layer.parameters | layer.statistics).values()]
    return f"{model!r} {digest_of(*arrays, model.mean, model.scale, model.classes)}"


def _digest_of_program(model: QModel) -> str:
    fields = [value for step in model.program.steps for value in vars(step).values()]
    arrays = [value for value in fields if isinstance(value, np.ndarray)]
    plain = [value for value in fields if not isinstance(value, np.ndarray)]
    text = repr((model.program.buffers, plain)).encode()
    return digest_of(np.frombuffer(text, np.uint8), *arrays, model.classes)
