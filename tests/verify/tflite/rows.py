"""TensorFlow Lite files as they are published: what qlite makes of them, next to the runtime.

Each file of floats is quantized (w8a8, target "tflite"), calibrated on crops of scikit-learn's two pictures, or on
random numbers where its input is no picture, and written. Rows tell how many bytes of the written file's outputs LiteRT
gives otherwise (0 is promised), the median SQNR of each output against the float model, and milliseconds of a sample on
one thread, the least of several runs in turn: qlite's int8 (retargeted to numpy), LiteRT's of the written file,
LiteRT's of the float one, and OpenVINO's of the float one where it is installed. A file of integers is compared with
LiteRT byte by byte.
"""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import qlite as ql
from qlite.cli import median_sqnr

CALIBRATION, EVALUATION, ROUNDS = 32, 12, 15


def samples(shape, count, rng):
    """Crops of pictures from -1 to 1, or numbers of the normal distribution."""
    if len(shape) != 3 or shape[-1] not in (1, 3):
        return rng.normal(size=(count, *shape)).astype(np.float32)
    from sklearn.datasets import load_sample_images

    pictures = load_sample_images().images
    return np.stack([crop(pictures[i % 2], shape, rng) for i in range(count)])


def crop(picture, shape, rng):
    height, width, channels = shape
    side = int(rng.integers(150, min(picture.shape[:2])))
    top, left = (int(rng.integers(n - side + 1)) for n in picture.shape[:2])
    rows, columns = (start + np.arange(n) * side // n for start, n in ((top, height), (left, width)))
    part = picture[rows[:, None], columns, :channels].astype(np.float32)
    return (part / 127.5 - 1).astype(np.float32)


def outputs_of(values):
    return values if isinstance(values, tuple) else (values,)


def interpreter_of(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def invoke(interpreter, arrays):
    for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


def openvino_of(path):
    """A function of a file's inputs, or None without the package or an operator."""
    try:
        import openvino
    except ModuleNotFoundError:
        return None
    try:
        compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": 1})
    except RuntimeError:
        return None
    return lambda arrays: compiled(list(arrays))


def times(functions):
    """Least milliseconds of each, run in turn; None where there is none."""
    least = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for i, function in enumerate(functions):
            if function is not None:
                start = time.perf_counter()
                function()
                least[i] = min(least[i], 1000 * (time.perf_counter() - start))
    return [f"{ms:8.3f}" if ms < float("inf") else "       -" for ms in least]


def verify_floats(checks, path, model, folder):
    rng = np.random.default_rng(0)
    shapes = [model.input_shape] if len(model.inputs) == 1 else [model.shapes[name] for name in model.inputs]
    x, held = ([samples(shape, n, rng) for shape in shapes] for n in (CALIBRATION, EVALUATION))
    one = (lambda arrays: arrays[0]) if len(shapes) == 1 else tuple
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samples that stand out
        quantized = ql.quantize_model(model, "w8a8", one(x), target="tflite")
    codes, floats = folder / "codes.tflite", folder / "floats.tflite"
    quantized.to_tflite(codes)
    quantized.to_tflite(floats, dtype="float32")
    found = quantized.verify(codes, one(held))
    pairs = zip(outputs_of(model(one(held))), outputs_of(quantized(one(held))), strict=True)
    sqnr = "/".join(f"{median_sqnr(*pair):.0f}" for pair in pairs)
    first = [array[:1] for array in held]
    int8, exact, openvino = interpreter_of(floats), interpreter_of(path), openvino_of(path)
    fast = quantized.retarget("numpy")
    ms = times(
        [
            lambda: fast(one(first)),
            lambda: invoke(int8, first),
            lambda: invoke(exact, first),
            None if openvino is None else lambda: openvino(first),
        ]
    )
    ends = f"{len(shapes)} in, {len(model.outputs)} out"
    text = f"{path.stem:36}{ends:14}{found.mismatches:6} of {found.bytes:9,}  {sqnr:>14} dB {' '.join(ms)}"
    checks.line(text, found.mismatches == 0)


def verify_codes(checks, path, model):
    interpreter, rng = interpreter_of(path), np.random.default_rng(0)
    program, different, count = model.program, 0, 0
    for _ in range(EVALUATION):
        details = interpreter.get_input_details()
        codes = [rng.integers(-128, 128, d["shape"]).astype(d["dtype"]) for d in details]
        pairs = zip(codes, (d["quantization"] for d in details), strict=True)
        x = [((c.astype(np.int32) - zero) * np.float32(scale)).astype(np.float32) for c, (scale, zero) in pairs]
        values = model.intermediates(x[0] if len(x) == 1 else tuple(x))
        writers = {step.output: step for step in program.steps}
        ours = [values[program.buffers[writers[i].inputs[0]].name] for i in program.outputs]
        for a, b in zip(invoke(interpreter, codes), ours, strict=True):
            different, count = different + int((a != b).sum()), count + a.size
    checks.line(f"{path.stem:36}{'integers':14}{different:6} of {count:9,}", different == 0)


def verify(checks, models=None):
    """Print a row for each file of the folders."""
    heads = ("file", "ends", "bytes that differ", "SQNR", "qlite", "int8 file", "float", "OpenVINO, ms")
    print("{:36}{:14}{:19}{:>17} {:>8} {:>8} {:>8} {:>8}".format(*heads))
    ql.set_num_threads(1)
    for path in sorted(path for folder in models or () for path in Path(folder).glob("*.tflite")):
        try:
            model = ql.from_tflite(path)
        except ValueError as error:
            print(f"{path.stem:36}refused: {str(error)[:150]}")
            continue
        if isinstance(model, ql.QModel):
            verify_codes(checks, path, model)
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                verify_floats(checks, path, model, Path(folder))
            except ValueError as error:
                checks.line(f"{path.stem:36}{str(error)[:150]}", False)
