"""What `networks.py` times: for each contender the call of a whole network, float32 in and out.

The files of the peers come from their own tools: torch.onnx.export and onnxruntime's static quantization (QDQ, weights
per channel, codes of activations unsigned, which are its fast ones on x86), a .tflite and ai-edge-quantizer. All
calibrate on the same images, but where activations are quantized at run time.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

import qlite as ql

from ..litert_file import SIGNATURE
from ..networks.qlite_model import qlite_model
from . import litert_model, litert_network, onnx_model, openvino_model
from .harness import Contender, Work, fastest

CALIBRATION_IMAGES = 8
FLOAT_TOLERANCE = 1e-4  # of the greatest value: what another order of the sums gives
TOLERANCE = 0.3  # the same of codes: random weights give small differences of large sums, on other grids


@dataclass(frozen=True)
class Case:
    """A network and a batch of samples for it, in the order of each contender; `scheme` is qlite's."""

    network: Any
    batch: int
    scheme: str = "w8a8"

    @cached_property
    def x(self):
        return self.network.images(self.batch)

    @cached_property
    def channels_first(self):
        return _channels_first(self.x)

    @cached_property
    def calibration(self):
        return self.network.images(CALIBRATION_IMAGES, seed=1)

    @property
    def calibration_batches(self):
        """One image a batch, of the size that the files are written for."""
        return [np.repeat(self.calibration[i : i + 1], self.batch, axis=0) for i in range(CALIBRATION_IMAGES)]

    @cached_property
    def model(self):
        return qlite_model(self.network)

    def of_model(self, model):
        """The work of a call of qlite's."""

        def result():
            y = model(self.x)
            return _flat(*(y if self.network.ends else [y]))

        return Work(partial(model, self.x), result)

    @cached_property
    def expected(self):
        return self.of_model(self.model).result()

    def checked(self, work):
        """The work of a float contender, which has to be of the same network."""
        work.call()
        off = np.abs(work.result() - self.expected).max() / np.abs(self.expected).max()
        if not off <= FLOAT_TOLERANCE:
            raise RuntimeError(f"it is another network: off by {off:.2g} of the greatest value")
        return work

    @cached_property
    def onnx(self):
        """The bytes of the float file."""
        import torch

        from ..networks.torch_module import TorchNetwork

        with tempfile.TemporaryDirectory() as folder, _quiet():
            path = Path(folder, "float.onnx")
            arguments = (torch.from_numpy(self.channels_first),)
            names = {"input_names": ["x"], "output_names": [f"y{i}" for i, _ in enumerate(self.network.outputs)]}
            torch.onnx.export(TorchNetwork(self.network), arguments, path, **names, external_data=False, verbose=False)
            return path.read_bytes()

    @cached_property
    def quantized_onnx(self):
        from onnxruntime import quantization
        from onnxruntime.quantization.registry import QDQRegistry
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Images(quantization.CalibrationDataReader):
            def __init__(self, batches):
                self.rest = iter(batches)

            def get_next(self):
                return next(({"x": _channels_first(x)} for x in self.rest), None)

        with tempfile.TemporaryDirectory() as folder, _quiet():
            paths = [Path(folder, name) for name in ("float.onnx", "prepared.onnx", "quantized.onnx")]
            paths[0].write_bytes(self.onnx)
            quant_pre_process(paths[0], paths[1])
            if self.scheme == "dynamic":
                quantization.quantize_dynamic(*paths[1:], per_channel=True, weight_type=quantization.QuantType.QInt8)
                return paths[2].read_bytes()
            quantization.quantize_static(
                *paths[1:],
                Images(self.calibration_batches),
                op_types_to_quantize=sorted({*QDQRegistry} - {"PRelu", "Pad"}),  # OpenVINO refuses its slopes as codes
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            return paths[2].read_bytes()

    @cached_property
    def tflite(self):
        return litert_network.model(self.network, self.batch)

    @cached_property
    def quantized_tflite(self):
        from ai_edge_quantizer import qtyping, quantizer, recipe

        if self.scheme == "dynamic":
            with _quiet():
                return bytes(quantizer.Quantizer(self.tflite, recipe.dynamic_wi8_afp32()).quantize().quantized_model)
        with _quiet():
            peer = quantizer.Quantizer(self.tflite, recipe.static_wi8_ai8())
            for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
                peer.update_quantization_recipe(".*", end, algorithm_key="no_quantize")
            images = [{"x": x} for x in self.calibration_batches]
            return bytes(peer.quantize(peer.calibrate({SIGNATURE: images})).quantized_model)


def _channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, 3, 1)) if x.ndim == 4 else x


def _flat(*outputs):
    """All values of several outputs."""
    return np.concatenate([np.ravel(y) for y in outputs])


def _flat_channels_first(*outputs):
    """The same of images with their channels first, in the order of channels last."""
    return _flat(*(np.moveaxis(y, 1, 3) if y.ndim == 4 else y for y in outputs))


@contextlib.contextmanager
def _quiet():
    """Tools report their progress."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    ignored = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with ignored[0], ignored[1], warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable()
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def qlite(case):
    data = None if case.scheme == "dynamic" else case.calibration
    return case.of_model(ql.quantize_model(case.model, case.scheme, data=data))


def qlite_float(case):
    return case.of_model(case.model)


def torch(case):
    """Images with their channels first or last in memory, the faster one."""
    import torch

    from ..networks.torch_module import TorchNetwork

    torch.set_num_threads(1)
    calls = {}
    is_image = case.channels_first.ndim == 4
    for order in (torch.contiguous_format, torch.channels_last) if is_image else (torch.contiguous_format,):
        module = TorchNetwork(case.network).eval().to(memory_format=order)
        x = torch.from_numpy(case.channels_first).contiguous(memory_format=order)
        calls[order] = torch.inference_mode()(partial(module, x))
    call = fastest(calls)

    def result():
        y = call()
        return _flat_channels_first(*(array.numpy() for array in (y if case.network.ends else [y])))

    return case.checked(Work(call, result, partial(torch.set_num_threads, 1)))


def _of_onnxruntime(case, content):
    shapes = {}
    for i, name in enumerate(case.network.outputs):
        *sides, last = case.network.shapes[name]
        shapes[f"y{i}"] = (case.batch, last, *sides) if len(sides) == 2 else (case.batch, *sides, last)
    inputs = {"x": case.channels_first}
    return onnx_model.work_of_bytes(content, inputs, shapes, result_of=_flat_channels_first)


def onnxruntime(case):
    return case.checked(_of_onnxruntime(case, case.onnx))


def onnxruntime_int8(case):
    return _of_onnxruntime(case, case.quantized_onnx)


def openvino(case):
    return case.checked(openvino_model.work_of_onnx(case.onnx, case.channels_first, result_of=_flat_channels_first))


def openvino_int8(case):
    return openvino_model.work_of_onnx(
        case.quantized_onnx, case.channels_first, kernel="Convolution", result_of=_flat_channels_first
    )


def litert(case):
    return case.checked(litert_model.work_of_bytes(case.tflite, case.x, result_of=_flat))


def litert_int8(case):
    return litert_model.work_of_bytes(case.quantized_tflite, case.x, result_of=_flat)


EXPORT = ("torch", "onnx", "onnxscript")
SCHEMA = ("ai_edge_litert", "flatbuffers")
QLITE = Contender("qlite", "QModel(x)", ("qlite",), qlite)
QLITE_FLOAT = Contender("qlite", "Model(x)", ("qlite",), qlite_float)
TORCH = Contender("torch", "eager module, the faster order of memory", ("torch",), torch)
INT8 = (
    Contender("onnxruntime", "static quantization, QDQ, bound", ("onnxruntime", *EXPORT), onnxruntime_int8),
    Contender("OpenVINO", "the file that onnxruntime quantized", ("openvino", "onnxruntime", *EXPORT), openvino_int8),
    Contender("LiteRT", "ai-edge-quantizer: set, invoke, get", (*SCHEMA, "ai_edge_quantizer"), litert_int8),
)
DYNAMIC = (
    Contender("onnxruntime", "dynamic quantization, bound", ("onnxruntime", *EXPORT), onnxruntime_int8),
    Contender("LiteRT", "ai-edge-quantizer, dynamic range", (*SCHEMA, "ai_edge_quantizer"), litert_int8),
)
FLOATS = (
    Contender("ORT f32", "onnxruntime: torch.onnx.export, bound", ("onnxruntime", *EXPORT), onnxruntime),
    Contender("OpenVINO f32", "the same file", ("openvino", *EXPORT), openvino),
    Contender("LiteRT f32", "set, invoke, get", SCHEMA, litert),
)
