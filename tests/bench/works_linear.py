"""What `linear.py` times: for each contender the work of a layer, float32 in and out, 8-bit weights inside."""

import warnings
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

import qlite as ql

from ..litert_file import Operator, Tensor
from . import litert_model, openvino_model
from .harness import Contender, Work, fastest
from .onnx_model import one_node

TOLERANCE = 0.02  # of the greatest value: 8 bits for the activations, another grid in each library


@dataclass(frozen=True)
class Dynamic:
    """y = x @ w from Gaussian values; the weights are int8 codes with a scale per column."""

    x: np.ndarray
    w: ql.QArray
    threads: int = 1

    @classmethod
    def random(cls, m, k, n, threads=1):
        rng = np.random.default_rng((m, k, n))
        weights = rng.standard_normal((k, n), np.float32)
        return cls(rng.standard_normal((m, k), np.float32), ql.quantize(weights, axis=1), threads)

    @property
    def shape(self):
        return self.x.shape[0], self.w.shape[1]

    @cached_property
    def codes(self):
        return np.array(self.w.codes)

    @cached_property
    def scale(self):
        return self.w.scale.ravel().copy()

    @cached_property
    def real(self):
        return np.array(self.w.dequantize())


def qlite(case):
    packed, out = ql.pack(case.w), np.empty(case.shape, np.float32)
    return Work(partial(ql.linear, case.x, packed, out=out), lambda: out)


def numpy_float32(case):
    out = np.empty(case.shape, np.float32)
    return Work(partial(np.matmul, case.x, case.real, out=out), lambda: out)


def onnxruntime(case):
    """The operator that it fuses DynamicQuantizeLinear, MatMulInteger and what follows to."""
    zero_point = np.zeros(case.scale.shape, np.int8)
    constants = [case.codes, case.scale, zero_point]
    return one_node(
        "DynamicQuantizeMatMul",
        case.x,
        constants,
        case.shape,
        "FLOAT",
        opset=13,
        domain="com.microsoft",
        threads=case.threads,
    )


def torch(case):
    import torch

    torch.set_num_threads(case.threads)
    warnings.filterwarnings("ignore", "torch.quantize_per_", UserWarning)  # deprecated, and still what there is
    columns = len(case.scale)
    quantized = torch._make_per_channel_quantized_tensor(
        torch.from_numpy(np.ascontiguousarray(case.codes.T)),
        torch.from_numpy(case.scale).double(),
        torch.zeros(columns, dtype=torch.int64),
        0,
    )
    x, calls, engine = torch.from_numpy(case.x), {}, torch.backends.quantized.engine
    for name in ("fbgemm", "onednn"):
        torch.backends.quantized.engine = name
        packed = torch.ops.quantized.linear_prepack(quantized, None)
        calls[name] = partial(torch.ops.quantized.linear_dynamic, x, packed)
    torch.backends.quantized.engine = engine
    call = fastest(calls)
    return Work(call, lambda: call().numpy(), partial(torch.set_num_threads, case.threads))


def openvino(case):
    """8-bit weights and float activations, which it quantizes in groups of the size that it is given."""
    from openvino import opset13 as op

    def of_group(size):
        x = op.parameter(case.x.shape, np.float32)
        y = op.matmul(x, openvino_model.weights(case.codes, case.scale[None]), False, False)
        return openvino_model.work(x, y, case.x, case.threads, DYNAMIC_QUANTIZATION_GROUP_SIZE=size)

    works = {size: of_group(size) for size in (32, 128, 2**32)}
    call = fastest({size: work.call for size, work in works.items()})
    return next(work for work in works.values() if work.call == call)


def litert(case):
    """A fully connected layer with float ends and int8 weights: the dynamic-range kernels."""
    x, y = Tensor(case.x.shape, np.float32), Tensor(case.shape, np.float32)
    weight = Tensor.constant(np.ascontiguousarray(case.codes.T), case.scale)
    options = {"asymmetricQuantizeInputs": True}
    return litert_model.work([Operator("FULLY_CONNECTED", [x, weight], y, options, version=9)], case.x, case.threads)


OURS = Contender("qlite", "linear, w packed, out=", ("qlite",), qlite)
NUMPY = Contender("NumPy float32", "matmul, out=", ("numpy",), numpy_float32)
ONNXRUNTIME = Contender("onnxruntime", "DynamicQuantizeMatMul, bound output", ("onnxruntime", "onnx"), onnxruntime)
TORCH = Contender("torch", "linear_dynamic of fbgemm or oneDNN", ("torch",), torch)
OPENVINO = Contender("OpenVINO", "MatMul, dynamic quantization", ("openvino",), openvino)
LITERT = Contender("LiteRT", "dynamic-range layer: set, invoke, get", ("ai_edge_litert", "flatbuffers"), litert)
PEERS = (NUMPY, ONNXRUNTIME, TORCH, OPENVINO, LITERT)
