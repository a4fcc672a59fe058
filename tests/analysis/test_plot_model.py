"""Pictures of models: every layer has a box, every connection a line, and no box lies over another or over a line."""

import sys
from itertools import pairwise

import numpy as np
import pytest
from networks import zoo
from networks.qlite_model import qlite_model

import qlite as ql
from qlite.analysis.graph_layout import layout
from qlite.analysis.plot_model import plot_model

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def no_windows():
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def conv(filters, size, **options):
    return ql.Conv2D(filters=filters, kernel_size=size, padding="same", **options)


def inception():
    x = ql.Input((8, 8, 3))
    branches = conv(4, 1)(x), conv(4, 3)(conv(2, 1)(x)), conv(4, 1)(ql.MaxPool(3, stride=1, padding="same")(x))
    return ql.Model(x, ql.Concatenate()(*branches))


def two_ends():
    a, b = ql.Input((4,), "a"), ql.Input((4,), "b")
    h = ql.Add()(ql.Dense(units=4)(a), b)
    return ql.Model([a, b], [ql.Dense(units=1, name="one")(h), ql.Softmax(name="two")(h)])


def nested():
    x = ql.Input((4,))
    first = ql.Dense(units=4)(x)
    second = ql.Dense(units=4)(first)
    inner = ql.Add()(ql.Dense(units=4)(second), second)
    return ql.Model(x, ql.Concatenate()(ql.Dense(units=4)(inner), inner, first, x))


def chain():
    layers = [ql.Dense(units=3, activation="relu") for _ in range(50)]
    return ql.Sequential(layers, input_shape=(3,), mean=np.ones(3))


MODELS = {
    "inception": inception,
    "two_ends": two_ends,
    "nested": nested,
    "chain": chain,
    "resnet_8": lambda: qlite_model(zoo.resnet_8()),
    "mobilenet_v2": lambda: qlite_model(zoo.mobilenet_v2()),
}


def read_by(m):
    """What each value of a model is computed from."""
    sources = {name: () for name in m.inputs}
    if m.mean is not None:
        sources["normalized"] = tuple(m.inputs)
    return sources | dict(zip(m.names, m.sources, strict=True))


def boxes(axes):
    return [p for p in axes.patches if isinstance(p, matplotlib.patches.FancyBboxPatch)]


def lines(axes):
    return [p for p in axes.patches if isinstance(p, matplotlib.patches.FancyArrowPatch)]


def overlap(a, b):
    return min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) > max(a.y0, b.y0)


@pytest.mark.parametrize("name", MODELS)
def test_every_value_has_a_box_and_every_connection_a_line(name, tmp_path):
    m = MODELS[name]()
    sources = read_by(m)
    figure = m.plot()
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts[::3] == list(sources)
    assert texts[1::3] == [" x ".join(map(str, m.shapes[value])) for value in sources]
    assert texts[2::3][-len(m.layers) :] == [repr(layer) for layer in m.layers]
    assert len(boxes(axes)) == len(sources)
    assert len(lines(axes)) == sum(len(set(read)) for read in sources.values())
    bold = {text for text, box in zip(sources, boxes(axes), strict=True) if box.get_linewidth() > 2}
    assert bold == set(m.outputs)
    figure.savefig(tmp_path / "model.png")


@pytest.mark.parametrize("name", MODELS)
def test_nothing_lies_over_a_box(name):
    figure = MODELS[name]().plot()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    placed = [box.get_path().get_extents() for box in boxes(axes)]
    assert not any(overlap(a, b) for i, a in enumerate(placed) for b in placed[:i])
    shrunk = [matplotlib.transforms.Bbox([[b.x0 + 1, b.y0 + 1], [b.x1 - 1, b.y1 - 1]]) for b in placed]
    for line in lines(axes):
        (corners,) = line._path_original.to_polygons(closed_only=False)
        points = matplotlib.path.Path(corners).interpolated(8).vertices
        assert not any(bbox.contains(*point) for bbox in shrunk for point in points)
    for box in placed:
        assert axes.get_xlim()[0] < box.x0 and box.x1 < axes.get_xlim()[1] and box.y0 > axes.get_ylim()[0]


@pytest.mark.parametrize("name", MODELS)
def test_texts_fit_into_their_boxes(name):
    figure = MODELS[name]().plot()
    renderer = figure.canvas.get_renderer()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    placed = [box.get_window_extent(renderer) for box in boxes(axes)]
    texts = [text.get_window_extent(renderer) for text in axes.texts]
    for box, first, shape, second in zip(placed, texts[::3], texts[1::3], texts[2::3], strict=True):
        assert first.x1 < shape.x0
        assert all(box.x0 < text.x0 and text.x1 < box.x1 and box.y0 < text.y0 < text.y1 < box.y1
                   for text in (first, shape, second))  # fmt: skip


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w4a4"])
def test_steps_of_a_quantized_model(rng, scheme):
    m = inception()
    qm = ql.quantize_model(m, scheme, data=None if scheme == "dynamic" else rng.random((4, 8, 8, 3)))
    (axes,) = qm.plot().axes
    texts = [text.get_text() for text in axes.texts]
    buffers = qm.program.buffers
    assert texts[::3] == ["input", *(buffers[step.output].name for step in qm.program.steps)]
    kinds = [text.partition(":")[0] for text in texts[5::3]]
    assert kinds == [step.kind for step in qm.program.steps]
    assert ("uint8 of 4 bits" in " ".join(texts)) == (scheme == "w4a4")


def test_long_names_and_those_with_dollars():
    long = "block/" * 30
    m = ql.Sequential([ql.Dense(np.eye(2), name=long), ql.Dense(np.eye(2), name="a$b$")])
    figure = m.plot()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[3].startswith("block/block/") and texts[3].endswith("/block/") and len(texts[3]) == 64
    assert texts[6] == "a$b$" and not figure.axes[0].texts[6].get_parse_math()


def test_only_models_are_drawn():
    with pytest.raises(TypeError, match="model: expected a Model or QModel, got int"):
        plot_model(3)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    m = two_ends()
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'qlite-quant\[plot\]'"):
        m.plot()


# ---- ranks and lanes


@pytest.mark.parametrize("name", MODELS)
def test_lines_go_rank_by_rank_and_lanes_do_not_meet(name):
    places = layout(read_by(MODELS[name]()))
    for route in places.routes.values():
        assert all(places.ranks[b] == places.ranks[a] + 1 for a, b in pairwise(route))
    taken = [(rank, i) for i, lane in enumerate(places.lanes) for rank in lane.places]
    columns = places.columns([10.0] * len(places.lanes), 1.0)
    at = {(rank, columns[i]) for rank, i in taken}
    assert len(at) == len(taken)


def test_a_residual_connection_passes_beside_a_straight_chain():
    sources = {"input": (), "a": ("input",), "b": ("a",), "sum": ("b", "input"), "out": ("sum",)}
    places = layout(sources)
    spine, side = places.lanes
    assert list(spine.places.values()) == ["input", "a", "b", "sum", "out"]
    assert side.places == {1: ("input", 1), 2: ("input", 2)}
    assert places.columns([20.0, 0.0], 5.0) == [0.0, 15.0]


def test_branches_stand_in_their_order_on_both_sides_of_the_longest():
    sources = {"input": (), "a": ("input",), "b": ("input",), "c": ("b",), "d": ("input",), "all": ("a", "c", "d")}
    places = layout(sources)
    centres = dict(zip(("spine", "left", "right"), places.columns([10.0] * 3, 2.0), strict=True))
    assert [lane.is_left for lane in places.lanes] == [False, True, False]
    assert centres == {"spine": 0.0, "left": -12.0, "right": 12.0}
    assert places.lanes[1].places == {1: "a", 2: ("a", 2)}


def test_an_input_stands_above_its_first_reader():
    places = layout({"x": (), "late": (), "a": ("x",), "b": ("a",), "sum": ("b", "late")})
    assert places.ranks["late"] == 2


@pytest.mark.parametrize("seed", range(100))
def test_no_two_places_of_random_graphs_are_one(seed):
    rng = np.random.default_rng(seed)
    names = [f"n{i}" for i in range(25)]
    sources = {
        name: () if i == 0 or rng.random() < 0.1 else tuple(rng.choice(names[:i], min(i, rng.integers(1, 4)), False))
        for i, name in enumerate(names)
    }
    places = layout(sources)
    assert set(sources) <= set(places.ranks)
    for (source, node), route in places.routes.items():
        assert (route[0], route[-1]) == (source, node) and source in sources[node]
        assert all(places.ranks[b] == places.ranks[a] + 1 for a, b in pairwise(route))
    widths = list(rng.uniform(0, 50, len(places.lanes)))
    spans = {}
    for lane, x, width in zip(places.lanes, places.columns(widths, 1.0), widths, strict=True):
        for rank in lane.places:
            spans.setdefault(rank, []).append((x - width / 2, x + width / 2))
    for taken in map(sorted, spans.values()):
        assert all(left[1] < right[0] for left, right in pairwise(taken))
    assert sum(map(len, spans.values())) == len({place for lane in places.lanes for place in lane.places.values()})
