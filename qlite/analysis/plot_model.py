"""Pictures of models: layers, or steps of an integer program, as boxes, and what each reads as lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qlite.analysis.graph_layout import Layout, Place, layout
from qlite.analysis.style import BLUE, GREY, SKY, STYLE, VERMILION, finished, import_pyplot, shortened
from qlite.nn.model import Model
from qlite.nn.program import Program
from qlite.nn.qmodel import QModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Lengths in points.
NAME_SIZE, TEXT_SIZE = 9, 8
LINE, BETWEEN_TEXTS, INSET, MARGIN = 12, 24, 7, 12
GAP_ACROSS = 14
#: Between ranks: where all lines go straight down, and where some bend.
GAP_STRAIGHT, GAP_BENT = 14, 30
#: Between the ends of lines that come in from one side, and the rounding of corners.
BETWEEN_LINES, CORNER = 12, 4
POINTS_PER_INCH = 72
#: Of a pixel, in which fonts are measured.
SUBPIXELS = 64

#: What a box says at most in a line.
LONGEST_TEXT = 64
#: Edge and fill of boxes by what they do.
COLOURS = {
    "input": (GREY, "#FFFFFF"),
    "multiply": (BLUE, "#DCEBF5"),
    "merge": (VERMILION, "#FBE6DA"),
    "other": (SKY, "#F1F8FD"),
}


@dataclass(frozen=True)
class Box:
    """A node of the picture: its name, the shape of its result, what it is in words, and whose of COLOURS it has."""

    name: str
    shape: str
    text: str
    family: str


def plot_model(model: Model | QModel) -> "Figure":
    """Draw the graph of a model, from its inputs at the top down to its outputs, which have a bold frame.

    Of a float model each box is a layer, of a quantized one a step of its program. They are blue where they multiply
    by weights, red where they join several values, else light.

    Parameters
    ----------
    model : Model or QModel

    Returns
    -------
    matplotlib.figure.Figure
        As high as the graph is deep. In a notebook it shows when it is a cell's last line; elsewhere
        ``.savefig(path)`` or ``pyplot.show()``.

    Raises
    ------
    ImportError
        matplotlib is missing; the message names the extra that brings it.
    TypeError
        `model` is something else.

    Examples
    --------
    >>> import qlite as ql
    >>> x = ql.Input((8, 8, 3))
    >>> y = ql.Add()(x, ql.Conv2D(filters=3, kernel_size=3, padding="same")(x))
    >>> ql.Model(x, y).plot().savefig("model.png")  # doctest: +SKIP
    """
    if isinstance(model, Model):
        boxes, sources = _of_layers(model)
        outputs = set(model.outputs)
    elif isinstance(model, QModel):
        boxes, sources = _of_steps(model.program)
        outputs = {model.program.buffers[i].name for i in model.program.outputs}
    else:
        raise TypeError(f"model: expected a Model or QModel, got {type(model).__name__}")
    pyplot = import_pyplot()
    with pyplot.rc_context(STYLE):
        places = layout(sources)
        widths = [_width([boxes[p] for p in lane.places.values() if isinstance(p, str)]) for lane in places.lanes]
        drawing = _Drawing(places, widths)
        figure = pyplot.figure(figsize=(drawing.width / POINTS_PER_INCH, drawing.height / POINTS_PER_INCH))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(drawing.left, drawing.left + drawing.width), aspect="equal")
        axes.set_ylim(-drawing.height, 0)
        axes.set_axis_off()
        for node, read in sources.items():
            drawing.draw_lines(axes, node, list(dict.fromkeys(read)))
        for name, box in boxes.items():
            drawing.draw_box(axes, box, name in outputs)
    return finished(figure)


def _of_layers(model: Model) -> tuple[dict[str, Box], dict[str, Sequence[str]]]:
    """The boxes of a float model, and the names of what each reads."""
    boxes = {name: Box(name, _lengths(shape), "Input", "input") for name, shape in model.inputs.items()}
    sources: dict[str, Sequence[str]] = {name: () for name in boxes}
    if model.mean is not None:
        boxes["normalized"] = Box("normalized", _lengths(model.shapes["normalized"]), "(x - mean) / scale", "other")
        sources["normalized"] = tuple(model.inputs)
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        multiplies = layer.macs(*(model.shapes[source] for source in read)) > 0
        family = "multiply" if multiplies else "merge" if len(read) > 1 else "other"
        boxes[name] = Box(name, _lengths(model.shapes[name]), repr(layer), family)
        sources[name] = read
    return boxes, sources


def _of_steps(program: Program) -> tuple[dict[str, Box], dict[str, Sequence[str]]]:
    """The boxes of an integer program, and the names of what each reads."""
    buffers = program.buffers
    boxes = {
        buffers[i].name: Box(buffers[i].name, _lengths(buffers[i].shape), buffers[i].dtype, "input")
        for i in program.inputs
    }
    sources: dict[str, Sequence[str]] = {name: () for name in boxes}
    for step in program.steps:
        result = buffers[step.output]
        family = "multiply" if hasattr(step, "weight") else "merge" if len(step.inputs) > 1 else "other"
        width = f" of {result.bits} bits" if result.is_codes and result.bits < 8 else ""
        boxes[result.name] = Box(result.name, _lengths(result.shape), f"{step.kind}: {result.dtype}{width}", family)
        sources[result.name] = [buffers[i].name for i in step.inputs]
    return boxes, sources


def _lengths(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _width(boxes: Sequence[Box]) -> float:
    """The width of a lane with these boxes."""
    if not boxes:
        return 0
    pairs = (
        (_length(b.name, NAME_SIZE, "bold") + BETWEEN_TEXTS + _length(b.shape, TEXT_SIZE), _length(b.text, TEXT_SIZE))
        for b in boxes
    )
    return max(max(pair) for pair in pairs) + 2 * INSET


def _length(text: str, size: int, weight: str = "normal") -> float:
    """The length of a text as it is drawn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(weight=weight)))
    font.set_size(size, POINTS_PER_INCH)
    font.set_text(shortened(text, LONGEST_TEXT))
    return float(font.get_width_height()[0] / SUBPIXELS)


class _Drawing:
    """Where everything is, in points: x from the middle of the spine, y down from 0."""

    def __init__(self, places: Layout, widths: Sequence[float]) -> None:
        self.places = places
        self.height_of_box = 2 * LINE + INSET
        columns = places.columns(widths, GAP_ACROSS)
        self.x: dict[Place, float] = {}
        self.half: dict[Place, float] = {}  # of the width
        for lane, x, width in zip(places.lanes, columns, widths, strict=True):
            for place in lane.places.values():
                self.x[place], self.half[place] = x, width / 2 if isinstance(place, str) else 0
        self.ends = self._ends()
        bent = {
            places.ranks[a] for route in places.routes.values() for a, b in pairwise(route) if self.x[a] != self.x[b]
        }
        self.top, y = [], float(MARGIN)
        for rank in range(max(places.ranks.values()) + 1):
            self.top.append(-y)
            y += self.height_of_box + (GAP_BENT if rank in bent else GAP_STRAIGHT)
        self.height = -self.top[-1] + self.height_of_box + MARGIN
        self.left = min(x - width / 2 for x, width in zip(columns, widths, strict=True)) - MARGIN
        self.width = max(x + width / 2 for x, width in zip(columns, widths, strict=True)) + MARGIN - self.left

    def _ends(self) -> dict[tuple[str, str], float]:
        """Where the line from each source to each node comes in: straight from above, or side by side at the edge that
        is nearer."""
        ends: dict[tuple[str, str], float] = {}
        beside: dict[tuple[str, bool], list[tuple[float, str]]] = {}
        for (source, node), route in self.places.routes.items():
            x, edge = self.x[route[-2]], self.half[node] - INSET
            if abs(x - self.x[node]) <= edge:
                ends[source, node] = x
            else:
                beside.setdefault((node, x < self.x[node]), []).append((abs(x - self.x[node]), source))
        for (node, is_left), lines in beside.items():
            for i, (_, source) in enumerate(sorted(lines, reverse=True)):
                offset = max(0.0, self.half[node] - INSET - i * BETWEEN_LINES)
                ends[source, node] = self.x[node] + (-offset if is_left else offset)
        return ends

    def draw_lines(self, axes: "Axes", node: str, sources: Sequence[str]) -> None:
        """Draw the line from each of these to the node: curves between ranks, straight along them."""
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path

        for source in sources:
            route = self.places.routes[source, node]
            edge = max(0.0, self.half[source] - INSET)
            x = min(max(self.x[route[1]], self.x[source] - edge), self.x[source] + edge)
            if route[1] == node:
                x = min(max(self.ends[source, node], self.x[source] - edge), self.x[source] + edge)
            y = self.top[self.places.ranks[source]] - self.height_of_box
            points, codes = [(x, y)], [Path.MOVETO]
            for place in route[1:]:
                next_x = self.ends[source, node] if place == node else self.x[place]
                next_y = self.top[self.places.ranks[place]]
                middle = (y + next_y) / 2
                points += [(x, middle), (next_x, middle), (next_x, next_y)]
                codes += [Path.CURVE4] * 3
                if place != node:
                    next_y -= self.height_of_box
                    points.append((next_x, next_y))
                    codes.append(Path.LINETO)
                x, y = next_x, next_y
            look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7, "linewidth": 1, "color": GREY}
            axes.add_patch(FancyArrowPatch(path=Path(points, codes), shrinkA=0, shrinkB=0, zorder=1, **look))

    def draw_box(self, axes: "Axes", box: Box, is_output: bool) -> None:
        from matplotlib.patches import FancyBboxPatch

        x, half, top = self.x[box.name], self.half[box.name], self.top[self.places.ranks[box.name]]
        edge, fill = COLOURS[box.family]
        corner = (x - half + CORNER, top - self.height_of_box + CORNER)
        size = (2 * half - 2 * CORNER, self.height_of_box - 2 * CORNER)
        look: dict[str, Any] = {"edgecolor": edge, "facecolor": fill, "linewidth": 2.5 if is_output else 1, "zorder": 2}
        axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=f"round,pad={CORNER}", **look))
        first, second = top - INSET / 2 - LINE / 2, top - INSET / 2 - 3 * LINE / 2
        words: dict[str, Any] = {"va": "center_baseline", "zorder": 3, "parse_math": False}
        axes.text(x - half + INSET, first, shortened(box.name, LONGEST_TEXT), size=NAME_SIZE, weight="bold", **words)
        axes.text(x + half - INSET, first, box.shape, size=TEXT_SIZE, ha="right", **words)
        axes.text(x - half + INSET, second, shortened(box.text, LONGEST_TEXT), size=TEXT_SIZE, **words)
