"""The comparison of a float model with its quantized form, part by part of the samples."""

import time
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from qlite.analysis.advice import advice
from qlite.analysis.report import LayerReport, Report
from qlite.analysis.timing import one_thread
from qlite.arrays.error import quantization_error
from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import fake_quantize
from qlite.grids.qparams import QParams
from qlite.metrics.signal import decibels
from qlite.nn.byte_samples import as_bytes, as_floats
from qlite.nn.fuse import fuse
from qlite.nn.layers.layer import Layer
from qlite.nn.layers.weighted import Weighted
from qlite.nn.model import Model
from qlite.nn.predictor import VALUES
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.program_summary import is_wide
from qlite.nn.qmodel import QModel
from qlite.nn.steps import PRODUCTS, Constant, Dequantize, JoinDigits, Quantize, QuantizeDigits, Reshape

#: Runs that times are medians of: as many as fit into so many seconds, between these numbers.
FEWEST_RUNS, RUNS, RUN_SECONDS = 5, 101, 1.0
#: Values of all layers together that are held at once: bounds the memory, not the result; and how many samples times
#: are taken of.
VALUES_AT_ONCE = 1 << 22

Arrays = dict[str, np.ndarray]


def compare(model: Model, quantized: QModel, x: Any) -> Report:
    """Compare a float model with its quantized form on samples, layer by layer.

    A layer's own error is measured on exact inputs and split into what its weights cost, what rounding its input
    activations costs and what clipping them costs. Times are medians per sample, of as many samples as fit 16 MiB of
    values, taken in turn, each of its part in a run of the whole model; the float layer is plain NumPy. Layers that
    only reshape have no row, nor has what became part of another layer's step. What hurts most comes first among the
    advice.

    Samples are taken in parts that bound the memory.

    Parameters
    ----------
    model : Model
    quantized : QModel
        Made from `model`, or read from an 8-bit file of the same network, such as one that is published beside a file
        of floats: layers go by their names, which both files give them.
    x : array_like of a real floating dtype, (samples, ...)
        Of several inputs a tuple, or a dict by name. Bytes for a quantized model that takes them.

    Returns
    -------
    Report
        ``print`` it, look at it in a notebook, or ``.plot()`` it.

    Raises
    ------
    TypeError, ValueError
        Something else than the two models; layers that do not match; no samples, or of other shapes.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> rng = np.random.default_rng(0)
    >>> m = ql.from_weights([(rng.normal(size=(8, 16)), None), (rng.normal(size=(16, 3)), None)])
    >>> x = rng.normal(size=(100, 8))
    >>> report = ql.compare(m, ql.quantize_model(m, "w8a8", data=x), x)
    >>> [layer.name for layer in report.layers], report.sqnr_db > 30
    (['dense_1', 'dense_2'], True)

    Of two files of one network, of floats and of integers, whoever wrote them:

    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     floats, codes = (os.path.join(folder, name) for name in ("floats.tflite", "codes.tflite"))
    ...     m.to_tflite(floats)
    ...     ql.quantize_model(m, "w8a8", data=x, target="tflite").to_tflite(codes)
    ...     report = ql.compare(ql.from_tflite(floats), ql.from_tflite(codes), x)
    >>> report.sqnr_db > 30
    True
    """
    if not isinstance(model, Model):
        raise TypeError(f"model: expected a Model, such as a Sequential, got {type(model).__name__}")
    if not isinstance(quantized, QModel):
        raise TypeError(f"quantized: expected a QModel, got {type(quantized).__name__}")
    fused = fuse(model)
    rows = _rows(fused, quantized)
    is_bytes = quantized.input_dtype == "uint8"
    samples = fused.samples("x", as_floats(x) if is_bytes else x)
    count = len(next(iter(samples.values())))
    if count == 0:
        raise ValueError("x: expected at least one sample, got none")
    given = {name: as_bytes("x", values) for name, values in samples.items()} if is_bytes else samples
    at_once = max(1, VALUES_AT_ONCE // sum(prod(shape) for shape in fused.shapes.values()))
    with one_thread():
        seconds = _seconds(fused, quantized, _part(samples, 0, at_once), _part(given, 0, at_once))
    ends = {row.result if row.result in fused.names else name: row for name, row in rows.items()}
    outputs = [_Noise() for _ in fused.outputs]
    reaches = {step: 0.0 for step in quantized.program.steps if _is_of_input(quantized, step)}
    same, has_labels = 0, model.task not in VALUES
    for first in range(0, count, at_once):
        part, given_part = _part(samples, first, at_once), _part(given, first, at_once)
        computed = quantized.intermediates(given_part)
        for step, most in reaches.items():
            reaches[step] = max(most, _reach(quantized.program, step, computed))
        results: Arrays = {}
        for name, _, inputs, y, _ in _walk(fused, part):
            if name in rows:
                rows[name].add(inputs, y)
            if name in ends:
                ends[name].add_result(y, computed)
            if name in fused.outputs:
                results[name] = y
        raw = [computed[quantized.program.buffers[i].name] for i in quantized.program.outputs]
        for noise, name, values in zip(outputs, fused.outputs, raw, strict=True):
            noise.add(results[name], values)
        if has_labels:
            same += int(np.sum(model._decide(results[fused.outputs[0]]) == quantized._decide(raw[0])))
    reports = tuple(row.report(name, *seconds[name]) for name, row in rows.items())
    agreement = same / count if has_labels else None
    reach = max(reaches.values(), key=lambda share: max(share, 1 / share) if share else 0.0, default=None)
    return Report(reports, min(noise.db for noise in outputs), agreement, count, quantized.calibration, reach)


def _is_of_input(quantized: QModel, step: Step) -> bool:
    """Whether a step makes codes on one grid of what an input gives."""
    return isinstance(step, Quantize) and quantized.program.buffers[step.output].layer in quantized.inputs


def _reach(program: Program, step: Step, computed: Arrays) -> float:
    """How far samples reach from 0 as a share of how far the codes do that a step makes of them."""
    source, codes = program.buffers[step.inputs[0]], program.buffers[step.output]
    scale, zero_point = codes.affine
    lowest, highest = codes.code_range
    return float(np.abs(computed[source.name]).max()) / (scale * max(zero_point - lowest, highest - zero_point))


def _part(arrays: Arrays, first: int, rows: int) -> Arrays:
    return {name: values[first : first + rows] for name, values in arrays.items()}


def _walk(model: Model, samples: Arrays) -> Iterator[tuple[str, Layer, list[np.ndarray], np.ndarray, float]]:
    """Yield each layer with its name, what it reads, what it gives and the seconds that it took; values are forgotten
    behind their last reader."""
    values, count = model.given(samples), len(next(iter(samples.values())))
    last = {source: i for i, read in enumerate(model.sources) for source in read}
    for i, (name, layer, read) in enumerate(zip(model.names, model.layers, model.sources, strict=True)):
        inputs = [values[source] for source in read]
        start = time.perf_counter()
        values[name] = layer.compute_for(count, *inputs)
        seconds = time.perf_counter() - start
        for source in read:
            if last[source] == i:
                values.pop(source, None)
        yield name, layer, inputs, values[name], seconds


def _seconds(model: Model, quantized: QModel, samples: Arrays, given: Arrays) -> dict[str, tuple[float, float]]:
    """What each layer takes per sample in the quantized model, of what it is given, and in the float model: medians of
    runs that take turns."""
    steps = [quantized.program.buffers[step.output].layer for step in quantized.program.steps]
    count = len(next(iter(samples.values())))
    runs: list[list[tuple[float, float]]] = []
    began = time.perf_counter()
    while len(runs) < FEWEST_RUNS or (len(runs) < RUNS and time.perf_counter() - began < RUN_SECONDS):
        _, ours = quantized.plan.timed(*given.values())
        integer = dict.fromkeys(model.names, 0.0)
        for name, seconds in zip(steps, ours, strict=True):
            integer[name] = integer.get(name, 0.0) + seconds
        runs.append([(integer[name], seconds) for name, _, _, _, seconds in _walk(model, samples)])
    medians = np.median(runs, axis=0) / count
    return {name: (float(ours), float(theirs)) for name, (ours, theirs) in zip(model.names, medians, strict=True)}


# ---- rows


class _Noise:
    """Sums of squares of exact values and of errors, as samples come."""

    def __init__(self) -> None:
        self.signal, self.noise = 0.0, 0.0

    def add(self, exact: np.ndarray, approximate: np.ndarray) -> None:
        exact = exact.astype(np.float64)
        self.signal += float(np.sum(np.square(exact)))
        self.noise += float(np.sum(np.square(approximate - exact)))

    @property
    def db(self) -> float:
        """The signal to quantization noise."""
        return float(decibels(np.float64(self.signal), np.float64(self.noise)))


class _Row:
    """What a layer loses, added up part by part of the samples.

    Attributes
    ----------
    layer : Layer
        Of the fused float model.
    steps : list of Step
        Of the program, of this layer.
    """

    def __init__(self, quantized: QModel, layer: Layer, steps: Sequence[Step], count: int, q: QArray | None) -> None:
        self.quantized, self.layer, self.steps, self.q = quantized, layer, steps, q
        buffers = quantized.program.buffers
        product = next((step for step in steps if isinstance(step, PRODUCTS)), None)
        self._per_sample = product is not None and product.scale_per == "sample"
        read = _read_by(steps[-1], steps) if product is None else list(product.inputs[:count])
        #: The buffers of what the layer reads; none where a step reads more or less than the layer.
        self._inputs: list[Buffer | None] = [buffers[i] for i in read] if len(read) == count else [None] * count
        last = steps[-1] if product is None else product
        if joined := next((step for step in steps if isinstance(step, JoinDigits)), None):
            self._inputs, last = [_of_digits(buffers[i]) for i in read], joined
        self._result = buffers[last.output]
        self._after, self._alone = _Noise(), _Noise()
        self._errors, self._sizes = np.zeros(3), np.zeros(3)
        self._clipped = self._read = 0

    @property
    def result(self) -> str:
        """The name of what its steps give: that of a layer behind it where they do the work of that one too."""
        return self._result.name

    def add_result(self, y: np.ndarray, computed: Arrays) -> None:
        """Take in exact results of the layer of that name, and all values of the program, for some samples."""
        self._after.add(y, self.quantized.program.values(self._result, computed[self._result.name], computed))

    def add(self, inputs: list[np.ndarray], y: np.ndarray) -> None:
        """Take in exact inputs and results for some samples."""
        pairs = [_input_errors(b, h, self._per_sample) for b, h in zip(self._inputs, inputs, strict=True)]
        rounding, clipping = [a for a, _ in pairs], [b for _, b in pairs]
        self._clipped += sum(int(np.count_nonzero(error)) for error in clipping)
        self._read += sum(error.size for error in clipping)
        exact, errors = self._parts(inputs, y, rounding, clipping)
        self._alone.add(exact, exact + sum(errors))
        for i, error in enumerate(errors):
            self._errors[i] += np.sum(np.square(error, dtype=np.float64))
            self._sizes[i] += error.size

    def _parts(
        self, inputs: list[np.ndarray], y: np.ndarray, rounding: list[np.ndarray], clipping: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """The exact result before an activation, and what weights, rounding and clipping add to it."""
        layer = self.layer
        if isinstance(layer, Weighted):
            (h,), (rounded,), (clipped,) = inputs, rounding, clipping
            weight = layer.weight if self.q is None else self.q.dequantize().reshape(layer.weight.shape)
            error = weight.astype(np.float64) - layer.weight
            products = [(h, layer.weight), (h, error), (rounded, weight), (clipped, weight)]
            exact, *errors = (
                layer.multiply(a.astype(np.float32), b.astype(np.float32)).astype(np.float64) for a, b in products
            )
            return exact + layer.bias, errors
        seen = [h + error for h, error in zip(inputs, rounding, strict=True)]
        exact, rounded = y.astype(np.float64), _computed(layer, seen) if any(map(np.any, rounding)) else y
        ended = rounded
        if any(map(np.any, clipping)):
            ended = _computed(layer, [h + error for h, error in zip(seen, clipping, strict=True)])
        return exact, [np.zeros_like(exact), rounded - exact, ended.astype(np.float64) - rounded]

    def report(self, name: str, seconds: float, float_seconds: float) -> LayerReport:
        """The row of what was taken in."""
        layer, q, own = self.layer, self.q, self._alone.db
        weight, rounding, clipping = (self._errors / np.maximum(self._sizes, 1)).tolist()
        weight_db = float("inf")
        if isinstance(layer, Weighted) and q is not None:
            weight_db = float(quantization_error(layer.weight.reshape(q.shape), q).sqnr_db)
        return LayerReport(
            name=name,
            shape=layer.weight.shape if isinstance(layer, Weighted) else (),
            sqnr_db=self._after.db,
            own_sqnr_db=own,
            weight_error=weight,
            rounding_error=rounding,
            clipping_error=clipping,
            clipped_share=self._clipped / max(self._read, 1),
            weight_sqnr_db=weight_db,
            nbytes=sum(step.nbytes for step in self.steps),
            float_nbytes=sum(array.nbytes for array in (layer.parameters | layer.statistics).values()),
            microseconds=1e6 * seconds,
            float_microseconds=1e6 * float_seconds,
            advice=advice(self.quantized, self._inputs[0], q, own, (weight, rounding, clipping)),
            has_wide_activations=is_wide([step.kind for step in self.steps]),
        )


def _computed(layer: Layer, inputs: list[np.ndarray]) -> np.ndarray:
    return layer.compute(*(h.astype(np.float32) for h in inputs))


def _rows(model: Model, quantized: QModel) -> dict[str, _Row]:
    """The rows of the layers that compute or move, by their names; a ValueError for layers that are not those of the
    model."""
    program, weights = quantized.program, quantized.weights
    steps: dict[str, list[Step]] = {}
    for step in program.steps:
        if not isinstance(step, (Quantize, QuantizeDigits, Dequantize, Reshape, Constant)):
            steps.setdefault(program.buffers[step.output].layer, []).append(step)
    expected = {
        name: layer.kernel_shape
        for name, layer in zip(model.names, model.layers, strict=True)
        if isinstance(layer, Weighted) and not _is_float(steps.get(name, ()))
    }
    if (got := {name: q.shape for name, q in weights.items()}) != expected:
        raise ValueError(f"quantized: expected the layers of model, {expected}, got {got}")
    return {
        name: _Row(quantized, layer, steps[name], len(read), weights.get(name))
        for name, layer, read in zip(model.names, model.layers, model.sources, strict=True)
        if name in steps
    }


def _of_digits(buffer: Buffer) -> Buffer:
    """The 16-bit codes of a buffer of digits."""
    return Buffer(buffer.name, buffer.layer, buffer.shape[1:], "int16", buffer.affine[0], 0)


def _read_by(last: Step, steps: Sequence[Step]) -> list[int]:
    """The buffers that a step reads, in order, those that others of its layer write replaced by what these read."""
    writers = {step.output: step for step in steps}
    return [j for i in last.inputs for j in (_read_by(writers[i], steps) if i in writers else [i])]


def _is_float(steps: Sequence[Step]) -> bool:
    """Whether a layer's weights stayed in float."""
    weights = (getattr(step, "weight", None) for step in steps)
    return any(weight is not None and weight.dtype.kind == "f" for weight in weights)


def _input_errors(buffer: Buffer | None, h: np.ndarray, per_sample: bool) -> tuple[np.ndarray, np.ndarray]:
    """What rounding and what clipping to a buffer's codes takes from exact values, element by element."""
    if buffer is None or not buffer.is_codes:
        return np.zeros_like(h), np.zeros_like(h)
    rows = h.reshape(len(h), -1) if per_sample else h.reshape(-1, h.shape[-1])
    if buffer.scale is None:
        low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
        p = QParams.from_range(low, high, symmetric=False, axis=0)
    else:
        scale, zero_point = buffer.affine
        bits, is_signed = (16, True) if buffer.dtype == "int16" else (buffer.bits, buffer.dtype == "int8")
        p = QParams(np.array([scale], np.float32), np.array([zero_point]), bits, is_signed)
    error = (np.float64(fake_quantize(rows, p)) - rows).reshape(h.shape)
    with np.errstate(over="ignore"):
        codes = (np.rint(rows / p.scale) + p.zero_point).reshape(h.shape)
    is_clipped = (codes < p.qmin) | (codes > p.qmax)
    return np.where(is_clipped, 0, error), np.where(is_clipped, error, 0)
