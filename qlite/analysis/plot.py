"""Pictures of quantized arrays and of reports. Needs matplotlib, which is imported when the first one is drawn."""

from typing import TYPE_CHECKING, Any

import numpy as np

from qlite import _check
from qlite.analysis.report import GOOD_SQNR_DB, Report
from qlite.analysis.style import BLUE, GREY, SKY, STYLE, VERMILION, finished, import_pyplot, shortened
from qlite.arrays.error import ErrorStats, quantization_error
from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams
from qlite.nn.shown_names import shown_names
from qlite.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Bins of errors, in steps: one is centred on 0, and half a step is an edge. So many are drawn without and with clipped
#: values, which reach out to 0.74 and 1.5 steps; what lies beyond is counted in the last bar.
BIN_WIDTH = 1 / 21
ERROR_BINS = (31, 63)
#: A bar this many times as high as the next one is cut off.
DWARFING = 3
#: Parts of a bar narrower than this are not labelled: the text would not fit.
LABELLED_SHARE = 0.08
LONGEST_NAME = 32  # of a layer beside its bar
LEGEND_HEIGHT = 22  # points between a panel and its title


def plot_array(q: QArray, w: Any = None) -> "Figure":
    """Draw how often each code is used and, given the originals, how far the values are from them.

    Errors are in steps of each value's own scale: rounding alone stays within half a step, which is marked; what lies
    further out was clipped.

    Parameters
    ----------
    q : QArray
    w : array_like of a real floating dtype, optional
        The originals, of the shape of `q`.

    Returns
    -------
    matplotlib.figure.Figure
        In a notebook it shows when it is a cell's last line; elsewhere ``.savefig(path)`` or ``pyplot.show()``.

    Raises
    ------
    ImportError
        matplotlib is missing; the message names the extra that brings it.
    TypeError, ValueError
        `q` is no QArray or is empty; `w` is something else than its originals.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> from qlite.analysis.plot import plot_array
    >>> w = np.random.default_rng(0).normal(size=(64, 32))
    >>> plot_array(ql.quantize(w, axis=1), w).savefig("weights.png")  # doctest: +SKIP
    """
    if not isinstance(q, QArray):
        raise TypeError(f"q: expected a QArray, got {type(q).__name__}")
    if q.size == 0:
        raise ValueError(f"q: expected at least one value to draw, got shape {q.shape}")
    error = None if w is None else quantization_error(w, q)
    pyplot = import_pyplot()
    with pyplot.rc_context(STYLE):
        panels = 1 if error is None else 2
        figure, axes = pyplot.subplots(1, panels, figsize=(5 * panels, 3.2), layout="constrained", squeeze=False)
        _draw_codes(axes[0, 0], q)
        if error is not None:
            _draw_errors(axes[0, 1], q, _check.real_array("w", w), error)
    return finished(figure)


def plot_report(report: Report) -> "Figure":
    """Draw what each layer costs by itself, and what its error comes from.

    Parameters
    ----------
    report : Report
        From `compare`.

    Returns
    -------
    matplotlib.figure.Figure
        In a notebook it shows when it is a cell's last line; elsewhere ``.savefig(path)`` or ``pyplot.show()``.

    Raises
    ------
    ImportError
        matplotlib is missing; the message names the extra that brings it.
    TypeError
        `report` is no Report.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> m = ql.from_weights([(np.eye(8, 4), None)])
    >>> x = np.random.default_rng(0).normal(size=(100, 8))
    >>> report = ql.compare(m, ql.quantize_model(m, data=x), x)
    >>> report.plot().savefig("report.png")  # doctest: +SKIP
    """
    if not isinstance(report, Report):
        raise TypeError(f"report: expected a Report, got {type(report).__name__}")
    pyplot = import_pyplot()
    with pyplot.rc_context(STYLE):
        size = (10, 1.5 + 0.36 * len(report.layers))
        figure, (left, right) = pyplot.subplots(1, 2, figsize=size, layout="constrained", sharey=True)
        _draw_sqnr(left, report)
        _draw_parts(right, report)
        shown = shown_names(layer.name for layer in report.layers)
        names = [shortened(shown[layer.name], LONGEST_NAME) for layer in report.layers]
        left.set_yticks(range(len(names)), names)
        left.set_ylim(len(report.layers) - 0.5, -0.5)  # the first layer on top
        for axes in (left, right):
            axes.tick_params(axis="y", length=0)
    return finished(figure)


def plot_history(history: History) -> "Figure":
    """Draw the losses of every epoch; see `History.plot`."""
    pyplot = import_pyplot()
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
        for name, colour in (("loss", GREY), ("validation_loss", BLUE)):
            if name in history:
                axes.plot(range(1, len(history) + 1), history[name], color=colour, label=name.replace("_", " "))
        if history.best_epoch is not None:
            axes.axvline(history.best_epoch, color=VERMILION, linestyle=":", label="best epoch")
        axes.set(xlabel="epoch", ylabel="loss")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return finished(figure)


def _draw_codes(axes: "Axes", q: QArray) -> None:
    p = q.qparams
    counts = np.bincount(q.codes.ravel().astype(np.intp) - p.qmin, minlength=p.qmax - p.qmin + 1)
    first, what = p.qmin, "code"
    if p.codebook is not None and p.codebook.ndim == 1:  # small floats stand in the order of their bits
        _, codes = np.unique(p.codebook[np.isfinite(p.codebook)], return_index=True)
        counts, first, what = counts[np.flatnonzero(np.isfinite(p.codebook))[codes]], 0, "entry, ascending"
    end = first + len(counts)
    _draw_shares(axes, counts, np.arange(first, end + 1) - 0.5)
    margin = 0.5 + len(counts) / 128
    axes.set_xlim(first - margin, end - 1 + margin)
    quarter = max(1, len(counts) // 4)
    ticks = [tick for tick in range(first, end) if (tick - max(first, 0)) % quarter == 0]
    axes.set_xticks([first, *(tick for tick in ticks if first + quarter // 2 < tick < end - 1 - quarter // 2), end - 1])
    axes.set_xlabel(f"{what} ({q._kind()}); {_unit(p)}")
    axes.set_title(f"{'Codes' if what == 'code' else 'Entries'}: {np.count_nonzero(counts)} of {len(counts)} in use")


def _unit(p: QParams) -> str:
    """What a step is worth."""
    if p.codebook is not None and p.codebook.ndim > 1:
        return p._scales()
    name = "one step" if p.codebook is None else "the scale"
    if p.scale.size > 1:
        return f"{name} is {p.scale.min():.3g} to {p.scale.max():.3g} ({p.scale.size} scales)"
    zero = f", {p.zero_point.item()} is zero" if p.zero_point.any() else ""
    return f"{name} is {p.scale.item():.3g}{zero}"


def _draw_errors(axes: "Axes", q: QArray, w: np.ndarray, error: ErrorStats) -> None:
    widest = 1.0 if q.codebook is None else np.nanmax(np.diff(np.sort(q.codebook)), axis=-1)
    steps = (np.float64(w) - q.dequantize()) / q._spread(q.scale * widest)
    bins = ERROR_BINS[int(error.clipped_share > 0)]
    end = bins / 2 * BIN_WIDTH
    counts, edges = np.histogram(steps.clip(-end, end), np.linspace(-end, end, bins + 1))
    _draw_shares(axes, counts, edges)
    for half in (-0.5, 0.5):
        axes.axvline(half, color=VERMILION, linestyle="--", linewidth=1.2)
    axes.annotate(
        "half a step", (0.5, 0.98), (4, 0), ("data", "axes fraction"), "offset points", color=VERMILION, va="top"
    )
    if error.clipped_share:
        axes.set_xticks([-end, -1, -0.5, 0, 0.5, 1, end], ["beyond", "-1", "-0.5", "0", "0.5", "1", "beyond"])
    unit = "steps" if q.codebook is None else "the widest steps"
    axes.set_xlabel(f"original - quantized, in {unit}")
    clipped = f"{error.clipped_share:.2%} clipped" if error.clipped_share else "none clipped"
    axes.set_title("Errors: none" if error.mse == 0 else f"Errors: SQNR {error.sqnr_db:.1f} dB, {clipped}")


def _draw_shares(axes: "Axes", counts: np.ndarray, edges: np.ndarray) -> None:
    """Bars in percent. One that dwarfs the others, such as the zeros after a relu, is cut off and labelled."""
    shares = 100 * counts / counts.sum()
    axes.stairs(shares, edges, fill=True, color=BLUE)
    axes.set_ylabel("share of the values, %")
    top, (second, first) = int(shares.argmax()), np.sort(shares)[-2:]
    axes.set_ylim(0, 1.15 * first)
    if first > DWARFING * second > 0:
        axes.set_ylim(0, 1.6 * second)
        side = (edges[top + 1], 0.98)
        axes.annotate(f"{first:.0f}%", side, (3, 0), ("data", "axes fraction"), "offset points", color=BLUE, va="top")


def _draw_sqnr(axes: "Axes", report: Report) -> None:
    values = np.array([layer.own_sqnr_db for layer in report.layers])
    finite = values[np.isfinite(values)]
    longest = max([*finite, 1.2 * GOOD_SQNR_DB])
    lengths = np.clip(np.nan_to_num(values, posinf=longest), 0, None)
    rows = np.arange(len(values))
    axes.barh(rows, lengths, height=0.6, color=BLUE)
    for row, value, length in zip(rows, values, lengths, strict=True):
        text = "exact" if value == np.inf else f"{value:.1f}"
        axes.annotate(text, (length, row), (3, 0), textcoords="offset points", va="center")
    axes.axvline(GOOD_SQNR_DB, color=VERMILION, linestyle="--", linewidth=1.2)
    axes.set_xlim(0, 1.15 * longest)
    axes.set_xlabel(f"dB (dashed: from {GOOD_SQNR_DB:g} on there is nothing to repair)")
    axes.set_title("SQNR of each layer by itself", pad=LEGEND_HEIGHT)


def _draw_parts(axes: "Axes", report: Report) -> None:
    parts = np.array([[r.weight_error, r.rounding_error, r.clipping_error] for r in report.layers])
    totals = parts.sum(axis=1, keepdims=True)
    shares = np.divide(parts, totals, out=np.zeros_like(parts), where=totals > 0)
    rows = range(len(shares))
    left = np.zeros(len(shares))
    labels = ("weights", "rounding of inputs", "clipping of inputs")
    for share, label, color, ink in zip(shares.T, labels, (BLUE, SKY, VERMILION), ("w", "k", "k"), strict=True):
        axes.barh(rows, 100 * share, left=left, height=0.6, color=color, label=label, edgecolor="w", linewidth=0.8)
        for row, start, part in zip(rows, left, share, strict=True):
            if part >= LABELLED_SHARE:
                axes.text(start + 50 * part, row, f"{part:.0%}", color=ink, ha="center", va="center")
        left = left + 100 * share
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the layer's own error, %")
    for row, total in enumerate(totals):
        if total == 0:
            axes.text(1, row, "no error", color=GREY, va="center")
    axes.set_title("What the error comes from", pad=LEGEND_HEIGHT)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, handlelength=1, borderpad=0.2)
