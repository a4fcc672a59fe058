"""What `networks.py` times: for each contender the call of a whole network, float32 in and out.

The files of the peers come from their own tools: torch.onnx.export and onnxruntime's static quantization (QDQ, weights
per channel, codes of activations unsigned, which are its fast ones on x86), a .tflite and ai-edge-quantizer. All
calibrate on the same images.
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

from ..networks.qlite_model import qlite_model
from . import litert_model, litert_network, onnx_model, openvino_model
from .harness import Contender, Work, fastest

CALIBRATION_IMAGES = 8
FLOAT_TOLERANCE = 1e-4  # of the greatest value: what another order of the sums gives
TOLERANCE = 0.3  # the same of codes: random weights give small differences of large sums, on other grids


@dataclass(frozen=True)
class Case:
    """A network and a batch of images for it, in the order of each contender."""

    network: Any
    batch: int

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

    @cached_property
    def expected(self):
        return self.model(self.x)

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
            names = {"input_names": ["x"], "output_names": ["y"]}
            torch.onnx.export(TorchNetwork(self.network), arguments, path, **names, external_data=False, verbose=False)
            return path.read_bytes()

    @cached_property
    def quantized_onnx(self):
        from onnxruntime import quantization
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
            quantization.quantize_static(
                *paths[1:],
                Images(self.calibration_batches),
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

        with _quiet():
            peer = quantizer.Quantizer(self.tflite, recipe.static_wi8_ai8())
            for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
                peer.update_quantization_recipe(".*", end, algorithm_key="no_quantize")
            images = [{"x": x} for x in self.calibration_batches]
            return bytes(peer.quantize(peer.calibrate({litert_model.SIGNATURE: images})).quantized_model)


def _channels_first(x):
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


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
    network = ql.quantize_model(case.model, "w8a8", data=case.calibration)
    return Work(partial(network, case.x), partial(network, case.x))


def qlite_float(case):
    return Work(partial(case.model, case.x), lambda: case.expected)


def torch(case):
    """Images with their channels first or last in memory, the faster one."""
    import torch

    from ..networks.torch_module import TorchNetwork

    torch.set_num_threads(1)
    calls = {}
    for order in (torch.contiguous_format, torch.channels_last):
        module = TorchNetwork(case.network).eval().to(memory_format=order)
        x = torch.from_numpy(case.channels_first).contiguous(memory_format=order)
        calls[order] = torch.inference_mode()(partial(module, x))
    call = fastest(calls)
    return case.checked(Work(call, lambda: call().numpy(), partial(torch.set_num_threads, 1)))


def _shape(case):
    return (case.batch, *case.network.shapes[case.network.last])


def onnxruntime(case):
    return case.checked(onnx_model.work_of_bytes(case.onnx, {"x": case.channels_first}, _shape(case)))


def onnxruntime_int8(case):
    return onnx_model.work_of_bytes(case.quantized_onnx, {"x": case.channels_first}, _shape(case))


def openvino(case):
    return case.checked(openvino_model.work_of_onnx(case.onnx, case.channels_first))


def openvino_int8(case):
    return openvino_model.work_of_onnx(case.quantized_onnx, case.channels_first, kernel="Convolution")


def litert(case):
    return case.checked(litert_model.work_of_bytes(case.tflite, case.x))


def litert_int8(case):
    return litert_model.work_of_bytes(case.quantized_tflite, case.x)


EXPORT = ("torch", "onnx", "onnxscript")
SCHEMA = ("ai_edge_litert", "flatbuffers")
QLITE = Contender("qlite", "QModel(x), w8a8", ("qlite",), qlite)
QLITE_FLOAT = Contender("qlite", "Model(x)", ("qlite",), qlite_float)
TORCH = Contender("torch", "eager module, the faster order of memory", ("torch",), torch)
INT8 = (
    Contender("onnxruntime", "static quantization, QDQ, bound", ("onnxruntime", *EXPORT), onnxruntime_int8),
    Contender("OpenVINO", "the file that onnxruntime quantized", ("openvino", "onnxruntime", *EXPORT), openvino_int8),
    Contender("LiteRT", "ai-edge-quantizer: set, invoke, get", (*SCHEMA, "ai_edge_quantizer"), litert_int8),
)
FLOATS = (
    Contender("ORT f32", "onnxruntime: torch.onnx.export, bound", ("onnxruntime", *EXPORT), onnxruntime),
    Contender("OpenVINO f32", "the same file", ("openvino", *EXPORT), openvino),
    Contender("LiteRT f32", "set, invoke, get", SCHEMA, litert),
)
