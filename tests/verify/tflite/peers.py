"""What other tools make of the same network and the same calibration inputs, and runtimes beside qlite's.

Each gives a function from a list of arrays, one sample each, to a list of outputs in float32, or raises `Missing`
without its package and `RuntimeError` for a network that it does not take.
"""

import contextlib
import importlib
import io
import logging

import numpy as np


class Missing(Exception):
    """A package is not installed."""


def package(name):
    """Import a package of the extra "bench"."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise Missing(f"{error.name} (extra: bench)") from None


class LiteRT:
    """A file on one thread."""

    def __init__(self, path):
        interpreter = package("ai_edge_litert.interpreter").Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        self.interpreter = interpreter
        self.inputs, self.outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def raw(self, arrays):
        """The outputs as the file has them, of inputs as it has them."""
        for details, array in zip(self.inputs, arrays, strict=True):
            self.interpreter.set_tensor(details["index"], array)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(details["index"]) for details in self.outputs]

    def __call__(self, arrays):
        given = [_given(details, array) for details, array in zip(self.inputs, arrays, strict=True)]
        return [_taken(details, values) for details, values in zip(self.outputs, self.raw(given), strict=True)]


def _given(details, array):
    """What an input takes for values in float32."""
    scale, zero_point = details["quantization"]
    if details["dtype"] != np.int8:
        return array
    return np.clip(np.rint(array / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)


def _taken(details, values):
    """What an output stands for, in float32."""
    scale, zero_point = details["quantization"]
    return values if values.dtype != np.int8 else ((values.astype(np.int32) - zero_point) * np.float32(scale))


def openvino(model):
    """OpenVINO on one thread of the CPU, of a file or of a model of its own."""
    ov = package("openvino")
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
    count = len(request.model_outputs)

    def run(arrays):
        request.infer(dict(enumerate(arrays)), share_inputs=True)
        return [request.get_output_tensor(i).data.copy() for i in range(count)]

    return run


def ai_edge(path, inputs, folder):
    """ai-edge-quantizer's w8a8 of a float file, by the least and the greatest values, in LiteRT.

    The package's own way is a moving average of the extremes of samples, which loses a network that sees few of what it
    looks for.
    """
    quantizer, recipe = package("ai_edge_quantizer.quantizer"), package("ai_edge_quantizer.recipe")
    calibrator, updates = package("ai_edge_quantizer.calibrator"), package("ai_edge_quantizer.utils.qsv_utils")
    interpreter = package("ai_edge_litert.interpreter").Interpreter(model_path=str(path))
    ((key, ends),) = interpreter.get_signature_list().items()
    samples = [
        dict(zip(ends["inputs"], (array[i : i + 1] for array in inputs), strict=True)) for i in range(len(inputs[0]))
    ]
    with quiet():
        tool = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
        seen = calibrator.Calibrator(path.read_bytes(), num_threads=1, qsv_update_func=updates.min_max_update)
        seen.calibrate({key: samples}, tool._recipe_manager)
        written = folder / "ai_edge.tflite"
        tool.quantize(seen.get_model_qsvs()).export_model(str(written), overwrite=True)
    return LiteRT(written)


def nncf(path, inputs):
    """NNCF's post-training int8 of a float file, in OpenVINO."""
    ov, tool = package("openvino"), package("nncf")
    samples = [{i: array[k : k + 1] for i, array in enumerate(inputs)} for k in range(len(inputs[0]))]
    with quiet():
        model = tool.quantize(ov.Core().read_model(str(path)), tool.Dataset(samples), subset_size=len(samples))
    return openvino(model)


def of_all(run, arrays):
    """The outputs of a runtime for many samples, one array for each."""
    rows = [run([array[i : i + 1] for array in arrays]) for i in range(len(arrays[0]))]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


@contextlib.contextmanager
def quiet():
    """Silence what tools tell of their progress."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(level)
