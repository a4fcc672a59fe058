"""What tells models, samples and options from others, in short texts that a checkpoint can hold."""

from typing import Any

import numpy as np

from qlite.nn.sequential import Sequential


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
    """What a checkpoint says of an option: its value, or the name of a function."""
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else type(value).__name__
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def description_of(model: Sequential) -> str:
    """What tells a model from others: its layers and all of its arrays."""
    arrays = [array for layer in model.layers for array in (layer.parameters | layer.statistics).values()]
    return f"{model!r} {digest_of(*arrays, model.mean, model.scale, model.classes)}"
