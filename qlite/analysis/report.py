"""What quantizing a model cost, layer by layer, and why."""

import time
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from qlite import _check, metrics
from qlite._public import public
from qlite.analysis.timing import one_thread
from qlite.arrays.error import quantization_error
from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import fake_quantize
from qlite.grids.qparams import QParams
from qlite.nn.byte_samples import as_bytes, as_floats
from qlite.nn.fuse import fuse
from qlite.nn.layers.weighted import Weighted
from qlite.nn.model import Model
from qlite.nn.predictor import VALUES
from qlite.nn.program import Buffer
from qlite.nn.qmodel import QModel
from qlite.nn.steps import PRODUCTS, Conv

#: A layer whose own error is this far below its output needs no repair: top-1 agreement is then over 99.5 %.
GOOD_SQNR_DB = 35.0
#: Runs that times are medians of: as many as fit into so many seconds, between these numbers.
FEWEST_RUNS, RUNS, RUN_SECONDS = 5, 101, 1.0


@dataclass(frozen=True)
class LayerReport:
    """One layer of a `Report`. Made by `compare`.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of the weights: (in, out), or (kernel_h, kernel_w, in / groups, out) of a convolution.
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
        Per sample, as parts of runs of the whole model.
    advice : str
        What would repair most of its error.
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

    def __post_init__(self) -> None:
        _check.string("name", self.name)
        if not _check.shape("shape", self.shape):
            raise ValueError(f"shape: expected that of weights, got {self.shape!r}")
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
        head = ["layer", "weights", "SQNR dB", "own dB", "weights", "rounding", "clipping", "clipped", "bytes",
                "of float", "us/sample", "float us"]  # fmt: skip
        rows = []
        for r in self.layers:
            errors = np.array([r.weight_error, r.rounding_error, r.clipping_error])
            shares = errors / errors.sum() if errors.sum() > 0 else errors
            rows.append(
                [
                    r.name,
                    " x ".join(map(str, r.shape)),
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

    def _advised(self) -> dict[str, list[str]]:
        """The layers that each advice is for, those first that lose most by themselves."""
        names: dict[str, list[str]] = {}
        for r in sorted(self.layers, key=lambda r: r.own_sqnr_db):
            is_good = GOOD_SQNR_DB <= r.own_sqnr_db < np.inf
            names.setdefault("nothing to repair." if is_good else r.advice, []).append(r.name)
        return names

    def _summary(self) -> str:
        agreement = "" if self.agreement is None else f", top-1 agreement {self.agreement:.2%}"
        return f"output SQNR {self.sqnr_db:.1f} dB{agreement}, on {self.samples} samples"

    def __str__(self) -> str:
        from textwrap import fill  # here: it would slow `import qlite` down

        head, rows = self._table()
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
                 for row in [head, *rows]]  # fmt: skip
        advice = (f"{', '.join(names)}: {text}" for text, names in self._advised().items())
        width = max(len(line) for line in lines)
        return "\n".join([*lines, self._summary(), *(fill(line, width, subsequent_indent="  ") for line in advice)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape  # here: it would slow `import qlite` down

        head, rows = self._table()
        cells = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        advice = "".join(
            f"<li><b>{escape(', '.join(names))}</b>: {text}</li>" for text, names in self._advised().items()
        )
        titles = "".join(f"<th>{c}</th>" for c in head)
        return f"<table><tr>{titles}</tr>{cells}</table><p>{self._summary()}</p><ul>{advice}</ul>"


def compare(model: Model, quantized: QModel, x: Any) -> Report:
    """Compare a float model with its quantized form on samples, layer by layer.

    A layer's own error is measured on exact inputs and split into what its weights cost, what rounding its input
    activations costs and what clipping them costs. Times are medians per sample at the given number of samples, taken
    in turn, each of its part in a run of the whole model; the float layer is plain NumPy. Layers without weights, and
    those that stayed in float, have no row. What hurts most comes first among the advice.

    Parameters
    ----------
    model : Model
        With one output.
    quantized : QModel
        Made from `model`.
    x : array_like of a real floating dtype, (samples, ...)
        Of several inputs a tuple, or a dict by name. Bytes for a quantized model that takes them.

    Returns
    -------
    Report
        ``print`` it, look at it in a notebook, or ``.plot()`` it.

    Raises
    ------
    TypeError, ValueError
        Something else than the two models; layers that do not match; several outputs; no samples, or of other shapes.

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
    if not isinstance(model, Model):
        raise TypeError(f"model: expected a Model, such as a Sequential, got {type(model).__name__}")
    if not isinstance(quantized, QModel):
        raise TypeError(f"quantized: expected a QModel, got {type(quantized).__name__}")
    model._only("output", model.outputs)
    fused = fuse(model)
    weights = quantized.weights
    quantized_layers = {
        name: (layer, read[0])
        for name, layer, read in zip(fused.names, fused.layers, fused.sources, strict=True)
        if isinstance(layer, Weighted) and name in weights
    }
    expected = {name: layer.kernel_shape for name, layer in zip(fused.names, fused.layers, strict=True)
                if isinstance(layer, Weighted) and not _is_float(quantized, name)}  # fmt: skip
    if (got := {name: q.shape for name, q in weights.items()}) != expected:
        raise ValueError(f"quantized: expected the layers of model, {expected}, got {got}")
    is_bytes = quantized.input_dtype == "uint8"
    samples = fused.samples("x", as_floats(x) if is_bytes else x)
    if len(next(iter(samples.values()))) == 0:
        raise ValueError("x: expected at least one sample, got none")
    exact = fused.intermediates(samples)
    given = {name: as_bytes("x", values) for name, values in samples.items()} if is_bytes else samples
    computed = quantized.intermediates(given)
    with one_thread():
        seconds = _seconds(fused, quantized, samples, given)
    rows = [
        _compare_layer(name, layer, quantized, weights[name], exact[source], exact, computed, seconds)
        for name, (layer, source) in quantized_layers.items()
    ]
    program = quantized.program
    raw, float_raw = computed[program.buffers[program.outputs[0]].name], exact[fused.outputs[0]]
    agreement = None
    if model.task not in VALUES:
        agreement = metrics.accuracy(model._decide(float_raw), quantized._decide(raw))
    return Report(tuple(rows), float(metrics.sqnr_db(float_raw, raw)), agreement, len(raw))


def _is_float(quantized: QModel, name: str) -> bool:
    """Whether a layer stayed in float."""
    program = quantized.program
    own = (getattr(step, "weight", None) for step in program.steps if program.buffers[step.output].layer == name)
    return any(weight is not None and weight.dtype.kind == "f" for weight in own)


def _seconds(
    model: Model, quantized: QModel, samples: dict[str, np.ndarray], given: dict[str, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """What each layer takes in the quantized model, of what it is given, and in the float model: medians over runs that
    take turns."""
    steps = [quantized.program.buffers[step.output].layer for step in quantized.program.steps]
    layers: list[dict[str, tuple[float, float]]] = []
    began = time.perf_counter()
    while len(layers) < FEWEST_RUNS or (len(layers) < RUNS and time.perf_counter() - began < RUN_SECONDS):
        _, ours = quantized.plan.timed(*given.values())
        integer = dict.fromkeys(model.names, 0.0)
        for name, seconds in zip(steps, ours, strict=True):
            integer[name] = integer.get(name, 0.0) + seconds
        theirs = _float_seconds(model, samples)
        layers.append({name: (integer[name], theirs[name]) for name in model.names})
    return {name: tuple(np.median([run[name] for run in layers], axis=0)) for name in model.names}


def _float_seconds(model: Model, samples: dict[str, np.ndarray]) -> dict[str, float]:
    values, count, taken = model.given(samples), len(next(iter(samples.values()))), {}
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        start = time.perf_counter()
        values[name] = layer.compute_for(count, *(values[source] for source in read))
        taken[name] = time.perf_counter() - start
    return taken


def _input_errors(buffer: Buffer, h: np.ndarray, per_sample: bool) -> tuple[np.ndarray, np.ndarray]:
    """What rounding and what clipping to a buffer's codes takes from exact values, element by element."""
    if buffer.dtype == "float32":
        return np.zeros_like(h), np.zeros_like(h)
    rows = h.reshape(len(h), -1) if per_sample else h.reshape(-1, h.shape[-1])
    if buffer.scale is None:
        low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
        p = QParams.from_range(low, high, symmetric=False, axis=0)
    else:
        scale, zero_point = buffer.affine
        p = QParams(np.array([scale], np.float32), np.array([zero_point]), buffer.bits, buffer.dtype == "int8")
    error = (np.float64(fake_quantize(rows, p)) - rows).reshape(h.shape)
    with np.errstate(over="ignore"):
        codes = (np.rint(rows / p.scale) + p.zero_point).reshape(h.shape)
    is_clipped = (codes < p.qmin) | (codes > p.qmax)
    return np.where(is_clipped, 0, error), np.where(is_clipped, error, 0)


def _compare_layer(
    name: str,
    layer: Weighted,
    quantized: QModel,
    q: QArray,
    h: np.ndarray,
    floats: dict[str, np.ndarray],
    computed: dict[str, np.ndarray],
    seconds: dict[str, tuple[float, float]],
) -> LayerReport:
    program = quantized.program
    steps = [step for step in program.steps if program.buffers[step.output].layer == name]
    product = next(step for step in steps if isinstance(step, PRODUCTS))
    result = program.buffers[product.output]

    def multiply(inputs: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return layer.multiply(inputs.astype(np.float32), weight.astype(np.float32)).astype(np.float64)

    rounding, clipping = _input_errors(program.buffers[product.inputs[0]], h, isinstance(product, Conv))
    approximate = q.dequantize().reshape(layer.weight.shape)
    weight_error = multiply(h, approximate.astype(np.float64) - layer.weight)
    rounding_error, clipping_error = multiply(rounding, approximate), multiply(clipping, approximate)
    exact = multiply(h, layer.weight) + layer.bias
    own = float(metrics.sqnr_db(exact, exact + weight_error + rounding_error + clipping_error))
    parts = [float(np.mean(np.square(e))) for e in (weight_error, rounding_error, clipping_error)]
    ours, theirs = seconds[name]
    return LayerReport(
        name=name,
        shape=layer.weight.shape,
        sqnr_db=float(
            metrics.sqnr_db(
                floats.get(result.name, floats[name]), program.values(result, computed[result.name], computed)
            )
        ),
        own_sqnr_db=own,
        weight_error=parts[0],
        rounding_error=parts[1],
        clipping_error=parts[2],
        clipped_share=float(np.mean(clipping != 0)),
        weight_sqnr_db=float(quantization_error(layer.weight.reshape(q.shape), q).sqnr_db),
        nbytes=sum(step.nbytes for step in steps),
        float_nbytes=layer.weight.nbytes + layer.bias.nbytes,
        microseconds=1e6 * ours / len(h),
        float_microseconds=1e6 * theirs / len(h),
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
        weights = "try more bits" + ("" if q.group_size or q.ndim > 2 else f", or a scale for every 32 (w{q.bits}g32)")
    return {
        "clipping": "most of its error comes from clipped inputs: calibrate on data that reaches as far, or minmax.",
        "rounding": "most of its error comes from rounding its inputs: a tighter range (method='mse') or 'dynamic'.",
        "weights": f"most of its error comes from its weights: {weights}.",
    }[worst]
