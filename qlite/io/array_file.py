"""Files of arrays, quantized and plain.

The tensors of a quantized array are ``<name>.codes`` as they are stored and those of its parameters (see
`qlite.io.stored_qparams`).
"""

import json
from typing import Any

import numpy as np

from qlite import _check
from qlite.arrays.qarray import QArray
from qlite.io import container, stored_qparams

FORMAT_VERSION = 1
#: The name of the array in a file that holds one alone.
ALONE = "array"


def save_array(path: Any, q: QArray) -> None:
    """Write one array; see `QArray.save`."""
    save_arrays(path, {ALONE: q}, alone=True)


def save_arrays(
    path: Any,
    arrays: dict[str, Any],
    alone: bool = False,
    about: dict[str, Any] | None = None,
    follow_links: bool = True,
) -> None:
    """Write arrays by name, quantized or plain, and a note of where they come from."""
    path = _check.path("path", path)
    described: dict[str, Any] = {}
    tensors: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if isinstance(array, QArray):
            stored_qparams.put(tensors, f"{name}.codes", array.stored)
            described[name] = {"shape": list(array.shape), **stored_qparams.describe(name, array.qparams, tensors)}
        else:
            stored_qparams.put(tensors, name, np.asarray(array))
    content = {"version": FORMAT_VERSION, "alone": alone, "arrays": described}
    if about is not None:
        content["about"] = about
    container.write(path, json.dumps(content, separators=(",", ":"), allow_nan=False), tensors, follow_links)


def build(content: dict[str, Any], tensors: dict[str, np.ndarray]) -> Any:
    """The quantized array of a description of one alone, or else a dict of all arrays."""
    if content.get("version") != FORMAT_VERSION:
        raise ValueError(f"expected format version {FORMAT_VERSION}, got {content.get('version')!r}")
    names = {"version", "alone", "arrays"}
    if not names <= set(content) <= {*names, "about"} or not isinstance(content["arrays"], dict):
        raise ValueError(f"the description has the wrong names: {sorted(content)}")
    arrays = {name: _build(name, described, tensors) for name, described in content["arrays"].items()}
    if content["alone"] is True and set(arrays) == {ALONE} and not tensors:
        return arrays[ALONE]
    if content["alone"] is not False:
        raise ValueError("alone: expected false for more than one array")
    return {**arrays, **tensors}


def _build(name: str, described: Any, tensors: dict[str, np.ndarray]) -> QArray:
    if not isinstance(described, dict) or "shape" not in described:
        raise ValueError(f"{name}: expected a description with a shape, got {described!r:.80}")
    shape = stored_qparams.lengths(name, "shape", described["shape"])
    fields = {field: value for field, value in described.items() if field != "shape"}
    p = stored_qparams.build(name, fields, tensors)
    return QArray.from_stored(stored_qparams.take(tensors, name, "codes"), shape, p)
