"""What quantizing a model cost, layer by layer, as a table."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.ranges import Calibration
from qlite.nn.shown_names import shown_names

#: A layer whose own error is this far below its output needs no repair: top-1 agreement is then over 99.5 %.
GOOD_SQNR_DB = 35.0
#: Samples that reach so many times as far as those of the calibration, or as little, were hardly scaled as these were.
MANY = 8.0


@dataclass(frozen=True)
class LayerReport:
    """One layer of a `Report`. Made by `compare`.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of the weights: (in, out), or (kernel_h, kernel_w, in / groups, out) of a convolution; () of a layer without.
    sqnr_db : float
        Of the layer's output, with the errors of all layers before.
    own_sqnr_db : float
        Of the layer's output, if only this layer were quantized.
    weight_error, rounding_error, clipping_error : float
        What its weights, rounding its inputs and clipping them cost: parts of the output's mean squared error that this
        layer alone makes, on exact inputs.
    clipped_share : float
        How many of its inputs are clipped.
    weight_sqnr_db : float
        Of the weights themselves; infinite where there are none, or in float.
    nbytes, float_nbytes : int
        Of the layer's arrays, quantized and as float32.
    microseconds, float_microseconds : float
        Per sample, as parts of runs of the whole model.
    advice : str
        What would repair most of its error.
    has_wide_activations : bool
        Whether it multiplies codes of 16 bits.
    """

    name: str
    shape: tuple[int, ...]
    sqnr_db: float
    own_sqnr_db: float
    weight_error: float
    rounding_error: float
    clipping_error: float
    clipped_share: float
    weight_sqnr_db: float
    nbytes: int
    float_nbytes: int
    microseconds: float
    float_microseconds: float
    advice: str
    has_wide_activations: bool = False

    def __post_init__(self) -> None:
        _check.string("name", self.name)
        _check.shape("shape", self.shape)
        for field in fields(self)[2:-2]:
            _check.number(field.name, getattr(self, field.name))
        _check.string("advice", self.advice)
        _check.flag("has_wide_activations", self.has_wide_activations)


@public
@dataclass(frozen=True)
class Report:
    """The comparison of a float model with its quantized form: one row per layer, and the whole. Made by `compare`.

    Attributes
    ----------
    layers : tuple of LayerReport
        In the model's order.
    sqnr_db : float
        Of the raw outputs; of several the least.
    agreement : float or None
        Share of samples that get the same label from both; None for values.
    samples : int
        How many samples it was measured on.
    calibration : Calibration or None
        How the grids of activations were found, see `QModel.calibration`.
    reach : float or None
        How far the samples reach as a share of the inputs' calibrated range; of several inputs the share that is
        farthest from 1. None where there is no such range.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> m = ql.from_weights([(np.eye(4), None)])
    >>> report = ql.compare(m, ql.quantize_model(m, data=x), x)
    >>> report.layers[0].weight_error, report.layers[0].advice[-18:]
    (0.0, 'nothing to repair.')
    """

    layers: tuple[LayerReport, ...]
    sqnr_db: float
    agreement: float | None
    samples: int
    calibration: Calibration | None = None
    reach: float | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.layers, tuple) and all(isinstance(layer, LayerReport) for layer in self.layers)):
            raise TypeError(f"layers: expected a tuple of LayerReport, got {self.layers!r:.80}")
        _check.number("sqnr_db", self.sqnr_db)
        if self.agreement is not None:
            _check.number("agreement", self.agreement)
        _check.integer("samples", self.samples)
        if not isinstance(self.calibration, Calibration | None):
            raise TypeError(f"calibration: expected a Calibration or None, got {self.calibration!r:.80}")
        if self.reach is not None:
            _check.number("reach", self.reach)

    def plot(self) -> Any:
        """Draw the layers' errors and what they come from (extra: plot)."""
        from qlite.analysis.plot import plot_report

        return plot_report(self)

    def _shown(self) -> dict[str, str]:
        return shown_names(layer.name for layer in self.layers)

    def _table(self) -> tuple[list[str], list[list[str]]]:
        head = ["layer", "shape", "SQNR dB", "own dB", "weights", "rounding", "clipping", "clipped", "bytes",
                "of float", "us/sample", "float us"]  # fmt: skip
        rows = []
        shown = self._shown()
        for r in self.layers:
            errors = np.array([r.weight_error, r.rounding_error, r.clipping_error])
            shares = errors / errors.sum() if errors.sum() > 0 else errors
            rows.append(
                [
                    shown[r.name],
                    " x ".join(map(str, r.shape)),
                    f"{r.sqnr_db:.1f}",
                    f"{r.own_sqnr_db:.1f}",
                    *(f"{share:.0%}" for share in shares),
                    f"{r.clipped_share:.2%}",
                    f"{r.nbytes:,}" if r.nbytes else "",
                    f"{r.nbytes / r.float_nbytes:.0%}" if r.float_nbytes else "",
                    f"{r.microseconds:.3f}",
                    f"{r.float_microseconds:.3f}",
                ]
            )
        return head, rows

    def _advised(self) -> dict[str, list[str]]:
        """The layers that each advice is for, those first that lose most by themselves."""
        shown, names = self._shown(), dict[str, list[str]]()
        for r in sorted(self.layers, key=lambda r: r.own_sqnr_db):
            is_good = GOOD_SQNR_DB <= r.own_sqnr_db < np.inf
            names.setdefault("nothing to repair." if is_good else r.advice, []).append(shown[r.name])
        return names

    def _summary(self) -> str:
        agreement = "" if self.agreement is None else f", top-1 agreement {self.agreement:.2%}"
        calibration = "" if self.calibration is None else f"; {self.calibration}"
        where = f", on {self.samples} sample{'' if self.samples == 1 else 's'}"
        return f"output SQNR {self.sqnr_db:.1f} dB{agreement}{where}{calibration}{self._doubt()}{self._wide()}"

    def _doubt(self) -> str:
        """What speaks against the samples, where these reach much less far than the calibrated range, or farther."""
        if not self.reach or 1 / MANY < self.reach < MANY:
            return ""
        times = f"1/{1 / self.reach:.0f} of" if self.reach < 1 else f"{self.reach:.0f} times"
        return f"; compared samples reach {times} the calibrated range: were both scaled alike?"

    def _wide(self) -> str:
        """What activations of 16 bits cost, where there are some."""
        wide = [r for r in self.layers if r.has_wide_activations]
        time, whole = (sum(r.microseconds for r in layers) for layers in (wide, self.layers))
        if not (wide and whole):
            return ""
        shown = self._shown()
        names = ", ".join(shown[r.name] for r in wide)
        return f"; activations of 16 bits in {names}: {time:.3f} us/sample, {time / whole:.0%} of the time"

    def __str__(self) -> str:
        from textwrap import fill  # here: it would slow `import qlite` down

        head, rows = self._table()
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
                 for row in [head, *rows]]  # fmt: skip
        advice = (f"{', '.join(names)}: {text}" for text, names in self._advised().items())
        width = max(len(line) for line in lines)
        summary = fill(self._summary(), width, subsequent_indent="  ")
        return "\n".join([*lines, summary, *(fill(line, width, subsequent_indent="  ") for line in advice)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape  # here: it would slow `import qlite` down

        head, rows = self._table()
        cells = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        advice = "".join(
            f"<li><b>{escape(', '.join(names))}</b>: {text}</li>" for text, names in self._advised().items()
        )
        titles = "".join(f"<th>{c}</th>" for c in head)
        return f"<table><tr>{titles}</tr>{cells}</table><p>{escape(self._summary())}</p><ul>{advice}</ul>"
