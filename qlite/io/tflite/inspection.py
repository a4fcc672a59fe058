"""What a TensorFlow Lite file holds, as a table to read."""

from collections.abc import Sequence
from typing import NamedTuple

from qlite.io.tflite.graph import Graph, Operator, Tensor

#: Columns; the last one holds names, which may be long.
HEAD = ("operator", "result", "scale", "zero point", "constants", "name")


def table(graph: Graph) -> str:
    """Return a line for each input and each result of an operator: shape and dtype, the grid of codes, the dtypes and
    bytes of the constants that the operator reads, and the name by which `outputs` takes it.
    """
    rows = [HEAD]
    rows += [("input", *_grid(graph.tensors[i]), "", graph.tensors[i].name) for i in graph.inputs]
    for operator in graph.operators:
        constants = _constants(graph, operator)
        for i in operator.outputs:
            rows.append((operator.name, *_grid(graph.tensors[i]), constants, graph.tensors[i].name))
            constants = ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD) - 1)]
    lines = [_line(row, widths) for row in rows]
    lines.append(f"outputs: {', '.join(graph.tensors[i].name for i in graph.outputs)}")
    return "\n".join(lines)


class Sizes(NamedTuple):
    """How many bytes of a file hold what, and how many operators it has."""

    total: int
    constants: int
    grids: int
    operators: int

    @property
    def rest(self) -> int:
        """Names, shapes, operators and their options."""
        return self.total - self.constants - self.grids


def sizes_of(total: int, graph: Graph) -> Sizes:
    """Return the sizes of a graph whose file has so many bytes in all."""
    arrays = [a for tensor in graph.tensors for a in (tensor.scale, tensor.zero_point) if a is not None]
    constants = sum(_nbytes(tensor) for tensor in graph.tensors)
    return Sizes(total, constants, sum(a.nbytes for a in arrays), len(graph.operators))


def _nbytes(tensor: Tensor) -> int:
    """The bytes of a constant in a file."""
    if tensor.data is None:
        return 0
    return (tensor.data.size + 1) // 2 if tensor.type == "INT4" else tensor.data.nbytes


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join([*(f"{text:{width}}" for text, width in zip(row, widths, strict=False)), row[-1]]).rstrip()


def _grid(tensor: Tensor) -> tuple[str, str, str]:
    shown = f"{tensor.type.lower()}{list(tensor.shape)}"
    if tensor.scale is None or tensor.zero_point is None:
        return shown, "", ""
    return shown, f"{tensor.scale.flat[0]:.6g}", str(tensor.zero_point.flat[0])


def _constants(graph: Graph, operator: Operator) -> str:
    """The constants that an operator reads, by dtype."""
    sizes: dict[str, int] = {}
    for i in operator.inputs:
        tensor = graph.tensors[i] if i >= 0 else None
        if tensor is not None and tensor.data is not None:
            kind = tensor.type.lower()
            sizes[kind] = sizes.get(kind, 0) + _nbytes(tensor)
    return ", ".join(f"{kind} {size:,}" for kind, size in sizes.items())
