"""Labels of classes in files."""

import re
from typing import Any

import numpy as np

from qlite.io import container


def describe(classes: np.ndarray | None) -> dict[str, Any] | None:
    """Return what JSON holds of labels: their dtype and values."""
    if classes is None:
        return None
    values = classes.tolist()
    if not all(type(value) in (bool, int, str) or (type(value) is float and np.isfinite(value)) for value in values):
        raise ValueError(f"classes: expected integers, finite floats, strings or bools, got {classes!r}")
    return {"dtype": classes.dtype.str, "values": values}


def build(content: Any) -> np.ndarray | None:
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
