"""Pictures: what is drawn stands for the numbers."""

import sys
from itertools import pairwise

import numpy as np
import pytest

import qlite as ql
from qlite.analysis.plot import plot_array, plot_report
from qlite.analysis.report import GOOD_SQNR_DB

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def no_windows():
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def stairs(axes):
    (patch,) = (p for p in axes.patches if isinstance(p, matplotlib.patches.StepPatch))
    return patch.get_data()


def texts(axes):
    return [text.get_text() for text in axes.texts]


def compared(rng, scheme="w8a8", calibration=1.0):
    m = ql.from_weights([(rng.normal(size=(16, 8)), None), (rng.normal(size=(8, 4)), None)])
    x = rng.normal(size=(200, 16))
    return ql.compare(m, ql.quantize_model(m, scheme, data=calibration * x), x)


@pytest.mark.parametrize("options", [{"axis": 1}, {}, {"symmetric": False}], ids=str)
def test_every_code_is_counted(rng, options):
    w = rng.normal(size=(64, 32)).astype(np.float32)
    q = ql.quantize(w, **options)
    (axes,) = q.plot().axes
    shares, edges, _ = stairs(axes)
    np.testing.assert_allclose(shares.sum(), 100)
    code = int(q.codes[3, 5])
    assert edges[list(edges).index(code - 0.5) + 1] == code + 0.5
    np.testing.assert_allclose(shares[list(edges).index(code - 0.5)], 100 * np.mean(q.codes == code))
    assert axes.get_title(loc="left").startswith("Codes: ")
    assert q.codes.dtype.name in axes.get_xlabel() and "%" in axes.get_ylabel()


def test_errors_of_rounding_stay_within_the_marked_half_step(rng):
    w = rng.normal(size=(64, 32)).astype(np.float32)
    q = ql.quantize(w, axis=1)
    axes = q.plot(w).axes[1]
    shares, edges, _ = stairs(axes)
    np.testing.assert_allclose(shares[(edges[:-1] > -0.51) & (edges[1:] < 0.51)].sum(), 100)
    assert [line.get_xdata()[0] for line in axes.lines] == [-0.5, 0.5]
    assert axes.get_title(loc="left") == f"Errors: SQNR {q.error(w).sqnr_db:.1f} dB, none clipped"


def test_clipped_values_stand_beyond(rng):
    w = rng.normal(size=2000).astype(np.float32)
    q = ql.quantize(w, scale=0.01)
    axes = plot_array(q, w).axes[1]
    shares, edges, _ = stairs(axes)
    assert f"{np.mean(np.abs(w / np.float32(0.01)) > 127.5):.2%} clipped" in axes.get_title(loc="left")
    np.testing.assert_allclose(shares[0] + shares[-1], 100 * np.mean(np.abs(w / 0.01) - 127 > edges[-2]), atol=0.2)
    assert [label.get_text() for label in axes.get_xticklabels()][:: len(axes.get_xticks()) - 1] == ["beyond"] * 2


def test_a_spike_does_not_flatten_the_rest(rng):
    x = np.maximum(rng.normal(size=4000), 0).astype(np.float32)
    q = ql.quantize(x, symmetric=False)
    for axes in q.plot(x).axes:
        shares, _, _ = stairs(axes)
        first, second = np.sort(shares)[[-1, -2]]
        assert second < axes.get_ylim()[1] < first / 5
        assert f"{first:.0f}%" in texts(axes)


@pytest.mark.parametrize("w", [np.float32(3), np.zeros((3, 4)), np.ones((2, 0)).sum(keepdims=True)], ids=str)
def test_a_perfect_copy(w, tmp_path):
    figure = ql.quantize(w).plot(w)
    assert figure.axes[1].get_title(loc="left") == "Errors: none"
    figure.savefig(tmp_path / "figure.png")


def test_layers_and_their_parts(rng, tmp_path):
    report = compared(rng, calibration=0.5)
    figure = report.plot()
    left, right = figure.axes
    bars = [p for p in left.patches if isinstance(p, matplotlib.patches.Rectangle)]
    np.testing.assert_allclose([bar.get_width() for bar in bars], [layer.own_sqnr_db for layer in report.layers])
    assert [label.get_text() for label in left.get_yticklabels()] == ["dense_1", "dense_2"]
    assert texts(left) == [f"{layer.own_sqnr_db:.1f}" for layer in report.layers]
    assert left.lines[0].get_xdata()[0] == GOOD_SQNR_DB
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first layer on top

    parts = np.array([[r.weight_error, r.rounding_error, r.clipping_error] for r in report.layers])
    widths = np.array([bar.get_width() for bar in right.patches]).reshape(3, 2).T
    np.testing.assert_allclose(widths, 100 * parts / parts.sum(axis=1, keepdims=True))
    legend = [text.get_text() for text in right.get_legend().get_texts()]
    assert [label.split()[0] for label in legend] == ["weights", "rounding", "clipping"]
    assert len({bar.get_facecolor() for bar in right.patches}) == 3
    figure.savefig(tmp_path / "figure.png")


def test_many_layers_with_long_names_stay_apart(rng):
    layers = [
        ql.Dense(rng.normal(size=(8, 8)), name=f"backbone/stage_{i}/" + "block/" * 20 + f"conv_{i}") for i in range(30)
    ]
    m, x = ql.Sequential(layers), rng.normal(size=(20, 8))
    figure = plot_report(ql.compare(m, ql.quantize_model(m, "w8"), x))
    figure.draw_without_rendering()
    left, _ = figure.axes
    labels = left.get_yticklabels()
    assert [label.get_text()[-7:].split("/")[-1] for label in labels] == [f"conv_{i}" for i in range(30)]
    extents = [label.get_window_extent() for label in labels]
    assert all(below.y1 < above.y0 for above, below in pairwise(extents))
    assert min(extent.x0 for extent in extents) >= 0
    assert left.get_position().width > 0.25  # of the figure


def test_a_layer_without_error(tmp_path):
    m = ql.from_weights([(np.eye(8, 4), None)])
    x = np.arange(256.0)[:, None] * np.ones(8)
    left, right = plot_report(ql.compare(m, ql.quantize_model(m, data=x), x)).axes
    assert texts(left) == ["exact"] and texts(right) == ["no error"]


def test_weight_only_has_one_part(rng):
    right = plot_report(compared(rng, "w8")).axes[1]
    assert texts(right) == ["100%", "100%"]


def test_in_a_notebook_it_shows_once(rng, monkeypatch):
    from matplotlib import pyplot

    q = ql.quantize(rng.normal(size=20))
    q.plot()
    assert len(pyplot.get_fignums()) == 1
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    assert q.plot().axes
    assert len(pyplot.get_fignums()) == 1


def test_the_style_does_not_leak(rng):
    before = dict(matplotlib.rcParams)
    plot_report(compared(rng))
    assert dict(matplotlib.rcParams) == before


def test_what_cannot_be_drawn(rng):
    q = ql.quantize(rng.normal(size=(4, 3)))
    with pytest.raises(TypeError, match="q: expected a QArray, got ndarray"):
        plot_array(np.ones(3))
    with pytest.raises(ValueError, match="q: expected at least one value to draw, got shape"):
        q[:0].plot()
    with pytest.raises(ValueError, match=r"^w: "):
        q.plot(np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"^w: "):
        q.plot(np.full((4, 3), np.nan))
    with pytest.raises(TypeError, match="report: expected a Report, got QArray"):
        plot_report(q)


def test_without_matplotlib_the_error_names_the_extra(rng, monkeypatch):
    q, report = ql.quantize(rng.normal(size=(4, 3))), compared(rng)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (q.plot, report.plot):
        with pytest.raises(ImportError, match=r"pip install 'qlite-quant\[plot\]'"):
            draw()
