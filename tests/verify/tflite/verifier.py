"""The rows of `python -m tests.verify tflite`."""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import qlite as ql
from qlite.cli import median_sqnr

from . import peers
from .inputs import inputs_of
from .tasks import figure_of

ROUNDS, SECONDS = 200, 2.0
#: What a median of so few samples, or the least of so many runs, may be off by.
NOISE_DB, NOISE_TIME = 0.5, 1.05
#: An output of 8 bits is hardly closer than this, but by chance a score near 1 that is the same for all samples.
BEST_DB = 50.0


def verify(checks, models=None):
    """Print the rows of each file of the folders."""
    ql.set_num_threads(1)
    for path in sorted(path for folder in models or () for path in Path(folder).glob("*.tflite")):
        try:
            model = ql.from_tflite(path)
        except ValueError as error:
            print(f"\n{path.stem}: refused: {str(error)[:150]}")
            continue
        if isinstance(model, ql.QModel):
            _verify_codes(checks, path, model)
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                _verify_floats(checks, path, model, Path(folder))
            except (RuntimeError, ValueError) as error:
                checks.line(f"{path.stem}: {str(error)[:150]}", False)


def _verify_floats(checks, path, model, folder):
    shapes = [model.shapes[name] for name in model.inputs] if len(model.inputs) > 1 else [model.input_shape]
    x, held = inputs_of(path, shapes)
    one = (lambda arrays: arrays[0]) if len(shapes) == 1 else tuple
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samples that stand out
        quantized = ql.quantize_model(model, "w8a8", one(x), target="tflite")
    codes, floats, plain = folder / "codes.tflite", folder / "floats.tflite", folder / "plain.tflite"
    quantized.to_tflite(codes)
    quantized.to_tflite(floats, dtype="float32")
    model.to_tflite(plain)  # as all tools take it: signature, float32 weights, operators of today
    exact = _tuple(model(one(held)))
    print(f"\n{path.stem}: {len(x[0])} inputs to calibrate with, {len(held[0])} to compare on; {quantized.calibration}")
    found = quantized.verify(codes, one(held))
    text = f"  LiteRT of qlite's file: {found.mismatches} of {found.bytes:,} bytes differ"
    checks.line(text, found.mismatches == 0)

    nncf = _made(lambda: peers.nncf(plain, x))
    others = {"ai-edge-quantizer": _made(lambda: peers.ai_edge(plain, x, folder)), "NNCF": nncf}
    rows = {name: _quality(path.stem, exact, peers.of_all(run, held), held) for name, run in _there(others)}
    own = _quality(path.stem, exact, _tuple(quantized(one(held))), held)
    checks.line(_row("qlite", own), all(_is_as_good(own, row) for row in rows.values()))
    for name, run in others.items():
        print(_row(name, rows[name]) if name in rows else f"  {name:18} - {run}")

    fast, first = quantized.retarget("numpy"), [array[:1] for array in held]
    runs = {
        "LiteRT of the file": _made(lambda: peers.LiteRT(floats)),
        "LiteRT float": _made(lambda: peers.LiteRT(path)),
        "OpenVINO int8": nncf,
        "OpenVINO float": _made(lambda: peers.openvino(str(plain))),
    }
    there = dict(_there(runs))
    own, *least = _times([lambda: fast(one(first)), *(lambda run=run: run(first) for run in there.values())])
    shown = dict(zip(there, least, strict=True))
    text = ", ".join(f"{name} {shown[name]:.3f}" if name in shown else f"{name} -" for name in runs)
    checks.line(f"  ms: qlite {own:.3f}, {text}", own <= NOISE_TIME * min(least, default=own))


def _tuple(values):
    return values if isinstance(values, tuple) else (values,)


def _made(make):
    """What a peer gives, or why there is none."""
    try:
        return make()
    except (peers.Missing, RuntimeError, ValueError) as error:
        return str(error).splitlines()[0][:100]


def _there(runs):
    return [(name, run) for name, run in runs.items() if callable(run)]


def _quality(name, exact, found, held):
    """The median SQNR of each output, and the figure of the network's task."""
    found = [values.reshape(real.shape) for values, real in zip(found, exact, strict=True)]
    sqnr = [median_sqnr(*pair) for pair in zip(exact, found, strict=True)]
    return sqnr, figure_of(name, exact, found, held[0])


def _is_as_good(own, other):
    pairs = zip(own[0], other[0], strict=True)
    return own[1].error <= other[1].error and all(a >= min(b, BEST_DB) - NOISE_DB for a, b in pairs)


def _row(name, quality):
    sqnr, figure = quality
    return f"  {name:18}{'/'.join(f'{db:.1f}' for db in sqnr):>26} dB  {figure.text}"


def _times(functions):
    """Least milliseconds of each, run in turn."""
    least, end = [float("inf")] * len(functions), time.perf_counter() + SECONDS * len(functions)
    for i in range(ROUNDS):
        if i > 5 and time.perf_counter() > end:
            break
        for j, function in enumerate(functions):
            start = time.perf_counter()
            function()
            least[j] = min(least[j], 1000 * (time.perf_counter() - start))
    return least


def _verify_codes(checks, path, model):
    """Of random codes, which files of floats at their ends take and give as floats."""
    runtime, rng = peers.LiteRT(path), np.random.default_rng(0)
    program, different, count = model.program, 0, 0
    readers = {i: program.buffers[step.output] for step in program.steps for i in step.inputs if i in program.inputs}
    writers = {step.output: step.inputs[0] for step in program.steps}
    for _ in range(12):
        given, x = [], []
        for i, d in zip(program.inputs, runtime.inputs, strict=True):
            is_float = d["dtype"] == np.float32
            codes = rng.integers(-128, 128, d["shape"]).astype(np.int8 if is_float else d["dtype"])
            scale, zero_point = readers[i].affine if is_float else d["quantization"]
            x.append(((codes.astype(np.int32) - zero_point) * np.float32(scale)).astype(np.float32))
            given.append(x[-1] if is_float else codes)
        values = model.intermediates(x[0] if len(x) == 1 else tuple(x))
        for i, theirs in zip(program.outputs, runtime.raw(given), strict=True):
            ours = values[program.buffers[i if theirs.dtype == np.float32 else writers[i]].name]
            different, count = different + int((theirs != ours).sum()), count + theirs.size
    checks.line(f"\n{path.stem}: of integers; {different} of {count:,} values differ", different == 0)
