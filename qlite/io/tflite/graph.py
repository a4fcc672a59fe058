"""What a TensorFlow Lite file holds, as plain data: tensors, and operators that read and write them by number.

Names of operators and of their options are those of the format's schema. Nothing here knows how a file is laid out.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Dtypes of tensors by the schema's names. 4-bit codes are int8 here, one each.
DTYPES: dict[str, np.dtype] = {
    "FLOAT32": np.dtype(np.float32),
    "FLOAT16": np.dtype(np.float16),
    "INT32": np.dtype(np.int32),
    "UINT8": np.dtype(np.uint8),
    "INT64": np.dtype(np.int64),
    "BOOL": np.dtype(np.bool_),
    "INT16": np.dtype(np.int16),
    "INT8": np.dtype(np.int8),
    "INT4": np.dtype(np.int8),
    "FLOAT64": np.dtype(np.float64),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
}
#: What stands before the name of an operator that is not of the schema.
CUSTOM = "custom:"


@dataclass(slots=True)
class Tensor:
    """A value, or a constant where there is `data`.

    Attributes
    ----------
    name : str
    shape : tuple of int
        With the axis of samples; its length is -1 where it may vary.
    type : str
        The schema's name of the dtype.
    data : ndarray or None
    scale, zero_point : ndarray of float32, of int64, or None
        One, or one for each index along `axis`.
    axis : int
    """

    name: str
    shape: tuple[int, ...]
    type: str = "FLOAT32"
    data: np.ndarray | None = None
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    axis: int = 0


@dataclass(slots=True)
class Operator:
    """An operator, the numbers of the tensors that it reads, -1 for one that is left out, and of those that it writes.

    `options` are those that the schema has for it; of a custom operator they are {"custom": bytes}.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1


@dataclass(slots=True)
class Graph:
    """A file's only subgraph: operators in an order in which each reads what came before it.

    `input_names` and `output_names` are those of the signature, or of the tensors where a file has none.
    """

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    description: str = ""
