"""What quantizing a model cost, layer by layer, and why."""

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from qlite import _check, metrics
from qlite._public import public
from qlite.analysis.timing import in_turn, one_thread
from qlite.arrays.error import quantization_error
from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import fake_quantize
from qlite.grids.qparams import QParams
from qlite.nn.fuse import fuse
from qlite.nn.layers.dense import Dense
from qlite.nn.predictor import VALUES
from qlite.nn.program import Buffer
from qlite.nn.qmodel import QModel
from qlite.nn.sequential import Sequential
from qlite.nn.steps import PRODUCTS, DenseF32

#: A layer whose own error is this far below its output needs no repair: top-1 agreement is then over 99.5 %.
GOOD_SQNR_DB = 35.0


@dataclass(frozen=True)
class LayerReport:
    """One layer of a `Report`. Made by `compare`.

    Attributes
    ----------
    name : str
    shape : (int, int)
        Of the weights, (in, out).
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
        Of the weights themselves.
    nbytes, float_nbytes : int
        Of the layer's arrays, quantized and as float32.
    microseconds, float_microseconds : float
        Per sample.
    advice : str
        What would repair most of its error.
    """

    name: str
    shape: tuple[int, int]
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

    def __post_init__(self) -> None:
        _check.string("name", self.name)
        if len(_check.shape("shape", self.shape)) != 2:
            raise ValueError(f"shape: expected (in, out), got {self.shape!r}")
        for field in fields(self)[2:-1]:
            _check.number(field.name, getattr(self, field.name))
        _check.string("advice", self.advice)


@public
@dataclass(frozen=True)
class Report:
    """The comparison of a float model with its quantized form: one row per layer, and the whole. Made by `compare`.

    Attributes
    ----------
    layers : tuple of LayerReport
        In the model's order.
    sqnr_db : float
        Of the raw outputs.
    agreement : float or None
        Share of samples that get the same label from both; None for values.
    samples : int
        How many samples it was measured on.

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

    def __post_init__(self) -> None:
        if not (isinstance(self.layers, tuple) and all(isinstance(layer, LayerReport) for layer in self.layers)):
            raise TypeError(f"layers: expected a tuple of LayerReport, got {self.layers!r:.80}")
        _check.number("sqnr_db", self.sqnr_db)
        if self.agreement is not None:
            _check.number("agreement", self.agreement)
        _check.integer("samples", self.samples)

    def plot(self) -> Any:
        """Draw the layers' errors and what they come from (extra: plot)."""
        from qlite.analysis.plot import plot_report

        return plot_report(self)

    def _table(self) -> tuple[list[str], list[list[str]]]:
        head = ["layer", "in x out", "SQNR dB", "own dB", "weights", "rounding", "clipping", "clipped", "bytes",
                "of float", "us/sample", "float us"]  # fmt: skip
        rows = []
        for r in self.layers:
            errors = np.array([r.weight_error, r.rounding_error, r.clipping_error])
            shares = errors / errors.sum() if errors.sum() > 0 else errors
            rows.append(
                [
                    r.name,
                    f"{r.shape[0]} x {r.shape[1]}",
                    f"{r.sqnr_db:.1f}",
                    f"{r.own_sqnr_db:.1f}",
                    *(f"{share:.0%}" for share in shares),
                    f"{r.clipped_share:.2%}",
                    f"{r.nbytes:,}",
                    f"{r.nbytes / r.float_nbytes:.0%}",
                    f"{r.microseconds:.3f}",
                    f"{r.float_microseconds:.3f}",
                ]
            )
        return head, rows

    def _summary(self) -> str:
        agreement = "" if self.agreement is None else f", top-1 agreement {self.agreement:.2%}"
        return f"output SQNR {self.sqnr_db:.1f} dB{agreement}, on {self.samples} samples"

    def __str__(self) -> str:
        head, rows = self._table()
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
                 for row in [head, *rows]]  # fmt: skip
        return "\n".join([*lines, self._summary(), *(f"{r.name}: {r.advice}" for r in self.layers)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape  # here: it would slow `import qlite` down

        head, rows = self._table()
        cells = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        advice = "".join(f"<li><b>{escape(r.name)}</b>: {r.advice}</li>" for r in self.layers)
        titles = "".join(f"<th>{c}</th>" for c in head)
        return f"<table><tr>{titles}</tr>{cells}</table><p>{self._summary()}</p><ul>{advice}</ul>"


def compare(model: Sequential, quantized: QModel, x: Any) -> Report:
    """Compare a float model with its quantized form on samples, layer by layer.

    A layer's own error is measured on exact inputs and split into what its weights cost, what rounding its input
    activations costs and what clipping them costs. Times are medians per sample at the given number of samples, taken
    in turn; the float layer is plain NumPy. Layers that stayed in float have no row.

    Parameters
    ----------
    model : Sequential
    quantized : QModel
        Made from `model`.
    x : array_like of a real floating dtype, (samples, features)

    Returns
    -------
    Report
        ``print`` it, look at it in a notebook, or ``.plot()`` it.

    Raises
    ------
    TypeError, ValueError
        Something else than the two models; layers that do not match; no samples, or other features.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> rng = np.random.default_rng(0)
    >>> m = ql.from_weights([(rng.normal(size=(8, 16)), None), (rng.normal(size=(16, 3)), None)])
    >>> x = rng.normal(size=(100, 8))
    >>> report = ql.compare(m, ql.quantize_model(m, "w8a8", data=x), x)
    >>> [layer.name for layer in report.layers], report.sqnr_db > 30
    (['dense_1', 'dense_2'], True)
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model: expected a Sequential, got {type(model).__name__}")
    if not isinstance(quantized, QModel):
        raise TypeError(f"quantized: expected a QModel, got {type(quantized).__name__}")
    weights = quantized.weights
    model = fuse(model)
    buffers, steps = quantized.program.buffers, quantized.program.steps
    in_float = {buffers[step.output].layer for step in steps if isinstance(step, DenseF32)}
    named = zip(model.names, model.layers, strict=True)
    dense = {name: layer for name, layer in named if isinstance(layer, Dense) and name not in in_float}
    shapes = {name: layer.weight.shape for name, layer in dense.items()}
    if (got := {name: q.shape for name, q in weights.items()}) != shapes:
        raise ValueError(f"quantized: expected the layers of model, {shapes}, got {got}")
    exact = model.intermediates(x)
    if len(exact["input"]) == 0:
        raise ValueError("x: expected at least one sample, got none")
    computed = quantized.intermediates(x)
    with one_thread():
        layers = tuple(
            _compare_layer(name, dense[name], quantized, weights[name], exact[source], exact[name], computed)
            for (source,), name in zip(model.sources, model.names, strict=True)
            if name in dense
        )
    program = quantized.program
    raw, float_raw = computed[program.buffers[program.outputs[0]].name], exact[model.names[-1]]
    agreement = None
    if model.task not in VALUES:
        agreement = metrics.accuracy(model._decide(float_raw), quantized._decide(raw))
    return Report(layers, float(metrics.sqnr_db(float_raw, raw)), agreement, len(raw))


def _input_errors(buffer: Buffer, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What rounding and what clipping to a buffer's codes takes from exact values, element by element."""
    if buffer.dtype == "float32":
        return np.zeros_like(h), np.zeros_like(h)
    if buffer.scale is None:
        p = QParams.from_range(h.min(axis=1, keepdims=True), h.max(axis=1, keepdims=True), symmetric=False, axis=0)
    else:
        scale, zero_point = buffer.affine
        p = QParams(np.array([scale], np.float32), np.array([zero_point]), buffer.bits, buffer.dtype == "int8")
    error = np.float64(fake_quantize(h, p)) - h
    with np.errstate(over="ignore"):
        codes = np.rint(h / p.scale) + p.zero_point
    is_clipped = (codes < p.qmin) | (codes > p.qmax)
    return np.where(is_clipped, 0, error), np.where(is_clipped, error, 0)


def _compare_layer(
    name: str,
    layer: Dense,
    quantized: QModel,
    q: QArray,
    h: np.ndarray,
    y: np.ndarray,
    computed: dict[str, np.ndarray],
) -> LayerReport:
    program = quantized.program
    numbers = [i for i, step in enumerate(program.steps) if program.buffers[step.output].layer == name]
    steps = [program.steps[i] for i in numbers]
    gemm = next(step for step in steps if isinstance(step, PRODUCTS))
    result = program.buffers[gemm.output]
    given, wanted = steps[0].inputs, (steps[-1].output,)
    arrays = tuple(computed[program.buffers[i].name] for i in given)
    run = partial(quantized.plan.run_steps, numbers[0], numbers[-1] + 1, given, arrays, wanted)

    rounding, clipping = _input_errors(program.buffers[gemm.inputs[0]], h)
    approximate = q.dequantize().astype(np.float64)
    weight_error = h @ (approximate - layer.weight)
    rounding_error, clipping_error = rounding @ approximate, clipping @ approximate
    exact = h.astype(np.float64) @ layer.weight + layer.bias
    own = float(metrics.sqnr_db(exact, exact + weight_error + rounding_error + clipping_error))
    seconds, float_seconds = in_turn([run, lambda: layer.compute(h)])
    parts = [float(np.mean(np.square(e))) for e in (weight_error, rounding_error, clipping_error)]
    return LayerReport(
        name=name,
        shape=layer.weight.shape,
        sqnr_db=float(metrics.sqnr_db(y, program.values(result, computed[result.name], computed))),
        own_sqnr_db=own,
        weight_error=parts[0],
        rounding_error=parts[1],
        clipping_error=parts[2],
        clipped_share=float(np.mean(clipping != 0)),
        weight_sqnr_db=float(quantization_error(layer.weight, q).sqnr_db),
        nbytes=sum(step.nbytes for step in steps),
        float_nbytes=layer.weight.nbytes + layer.bias.nbytes,
        microseconds=1e6 * seconds / len(h),
        float_microseconds=1e6 * float_seconds / len(h),
        advice=_advice(own, q, *parts),
    )


def _advice(own_sqnr_db: float, q: QArray, weight_error: float, rounding_error: float, clipping_error: float) -> str:
    if own_sqnr_db == float("inf"):
        return "exact."
    if own_sqnr_db >= GOOD_SQNR_DB:
        return f"{own_sqnr_db:.1f} dB by itself: nothing to repair."
    worst = max((clipping_error, "clipping"), (rounding_error, "rounding"), (weight_error, "weights"))[1]
    weights = "try weight_method='mse'"
    if q.bits < 8:
        weights = "try more bits" + ("" if q.group_size else f", or a scale for every 32 (w{q.bits}g32)")
    return {
        "clipping": "most of its error comes from clipped inputs: calibrate on data that reaches as far, or minmax.",
        "rounding": "most of its error comes from rounding its inputs: a tighter range (method='mse') or 'dynamic'.",
        "weights": f"most of its error comes from its weights: {weights}.",
    }[worst]
