"""What a model consists of, as a table."""

from dataclasses import dataclass
from typing import Any, ClassVar

from qlite.nn.shown_names import shown_names


class Table:
    """Rows under a title, to print or to look at in a notebook."""

    #: How many columns, the first ones, hold words.
    words: ClassVar[int] = 4
    title: str

    def _rows(self) -> list[list[str]]:
        """The cells, the head first."""
        raise NotImplementedError

    def _notes(self) -> list[str]:
        """Lines behind the rows."""
        return []

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = (
            "  ".join(
                c.ljust(w) if i < self.words else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))
            )
            for r in rows
        )
        return "\n".join([self.title, *(line.rstrip() for line in lines), *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape  # here: it would slow `import qlite` down

        head, *rows = self._rows()
        titles = "".join(f"<th>{escape(c)}</th>" for c in head)
        cells = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        return f"<p>{escape(self.title)}</p><table><tr>{titles}</tr>{cells}</table>{notes}"


@dataclass(frozen=True)
class LayerSummary:
    """One layer: its name, what it is, what it reads, the shape of a sample's result, and its size.

    Attributes
    ----------
    parameters : int
        Numbers in its arrays.
    macs : int
        Products of a sample, each of which is added up.
    nbytes : int
        Of its arrays in float32.
    """

    name: str
    layer: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: int
    macs: int
    nbytes: int


@dataclass(frozen=True, repr=False)
class Summary(Table):
    """A table of a model's layers, to print or to look at in a notebook. Made by `Model.summary`."""

    title: str
    layers: tuple[LayerSummary, ...]

    def _rows(self) -> list[list[str]]:
        rows = [["layer", "", "reads", "shape", "parameters", "MACs", "bytes"]]
        shown = shown_names(name for row in self.layers for name in (row.name, *row.inputs))
        for row in self.layers:
            shape = " x ".join(map(str, row.shape))
            sizes = (f"{n:,}" if n else "" for n in (row.parameters, row.macs, row.nbytes))
            reads = ", ".join(shown[name] for name in row.inputs)
            rows.append([shown[row.name], row.layer, reads, shape, *sizes])
        totals = (sum(getattr(row, what) for row in self.layers) for what in ("parameters", "macs", "nbytes"))
        return [*rows, ["total", "", "", "", *(f"{n:,}" for n in totals)]]


def summary_of(model: Any) -> Summary:
    """The summary of a float model."""
    rows = []
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        arrays = (layer.parameters | layer.statistics).values()
        macs = layer.macs(*(model.shapes[source] for source in read))
        sizes = sum(a.size for a in arrays), macs, sum(a.nbytes for a in arrays)
        rows.append(LayerSummary(name, repr(layer), read, model.shapes[name], *sizes))
    inputs = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in model.inputs.items())
    return Summary(f"{type(model).__name__} of {inputs}, {model.task}", tuple(rows))
