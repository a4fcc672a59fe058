"""What `int4.py` times: for each contender the work of a layer with float32 activations and grouped 4-bit weights."""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

import qlite as ql

from . import openvino_model
from .harness import Contender, Work, fastest
from .onnx_model import one_node

TOLERANCE = 0.02  # of the greatest value: 8 bits for the activations, in groups or rows, or bfloat16


@dataclass(frozen=True)
class Grouped:
    """y = x @ w from Gaussian values; the weights are 4-bit codes, with a scale for each `group` of a column."""

    x: np.ndarray
    real: np.ndarray
    group: int
    threads: int = 1

    @classmethod
    def random(cls, m, k, n, group, threads=1):
        rng = np.random.default_rng((m, k, n))
        x, weights = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
        return cls(x, weights, group, threads)

    @property
    def shape(self):
        return self.x.shape[0], self.real.shape[1]

    @cached_property
    def w(self):
        return ql.quantize(self.real, 4, axis=1, group_size=self.group)

    @cached_property
    def codes(self):
        """(out, groups, group), int8."""
        columns = np.ascontiguousarray(np.asarray(self.w.codes).T)
        return columns.reshape(columns.shape[0], -1, self.group)

    @cached_property
    def scale(self):
        """(out, groups)."""
        return np.ascontiguousarray(self.w.scale.T)


def qlite(case, **grid):
    packed = ql.pack(ql.quantize(case.real, 4, axis=1, group_size=case.group, **grid) if grid else case.w)
    out = np.empty(case.shape, np.float32)
    return Work(partial(ql.linear, case.x, packed, out=out), lambda: out)


def codebook(case):
    return Work(qlite(case, grid="nf4").call)  # other weights: there is nothing to compare


def numpy_float32(case):
    out = np.empty(case.shape, np.float32)
    return Work(partial(np.matmul, case.x, np.asarray(case.w.dequantize()), out=out), lambda: out)


def onnxruntime(case):
    codes = (case.codes + 8).astype(np.uint8)
    packed = codes[..., ::2] | codes[..., 1::2] << 4
    n, groups, group = codes.shape
    sizes = {"K": groups * group, "N": n, "bits": 4, "block_size": group, "accuracy_level": 4}
    constants = [packed, case.scale]
    return one_node(
        "MatMulNBits",
        case.x,
        constants,
        case.shape,
        "FLOAT",
        opset=13,
        domain="com.microsoft",
        threads=case.threads,
        **sizes,
    )


def torch(case):
    """Its 4-bit product takes bfloat16 for the activations, which it does not quantize, and for the scales."""
    import torch

    torch.set_num_threads(case.threads)
    n, groups, group = case.codes.shape
    codes = torch.from_numpy((case.codes + 8).astype(np.int32).reshape(n, groups * group))
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
    scale = torch.from_numpy(np.ascontiguousarray(case.scale.T))
    grid = torch.stack([scale, torch.zeros_like(scale)], dim=2).bfloat16().contiguous()
    x = torch.from_numpy(case.x).bfloat16()
    call = partial(torch.ops.aten._weight_int4pack_mm_for_cpu, x, packed, group, grid)
    return Work(call, lambda: call().float().numpy(), partial(torch.set_num_threads, case.threads))


def openvino(case):
    """4-bit weights and float activations, quantized in groups as long as the weights', or not at all."""
    import openvino as ov
    from openvino import opset13 as op

    n, groups, group = case.codes.shape

    def of_group(size):
        x = op.parameter(case.x.shape, np.float32)
        weights = op.convert(op.constant(case.codes, dtype=ov.Type.i4), "f32")
        weights = op.reshape(op.multiply(weights, case.scale[..., None]), [n, groups * group], False)
        y = op.matmul(x, weights, False, True)
        return openvino_model.work(x, y, case.x, case.threads, DYNAMIC_QUANTIZATION_GROUP_SIZE=size)

    works = {size: of_group(size) for size in (0, group)}
    call = fastest({size: work.call for size, work in works.items()})
    return next(work for work in works.values() if work.call == call)


OURS = Contender("qlite", "linear, w packed, out=", ("qlite",), qlite)
CODEBOOK = Contender("qlite", 'linear, w of grid="nf4" packed, out=', ("qlite",), codebook)
PLAIN = Contender("plain int4", "the same of 16 even steps", ("qlite",), qlite)
NUMPY = Contender("NumPy float32", "matmul of dequantized weights, out=", ("numpy",), numpy_float32)
ONNXRUNTIME = Contender("onnxruntime", "MatMulNBits, accuracy level 4", ("onnxruntime", "onnx"), onnxruntime)
TORCH = Contender("torch", "_weight_int4pack_mm of bfloat16", ("torch",), torch)
OPENVINO = Contender("OpenVINO", "MatMul of i4 in groups", ("openvino",), openvino)
PEERS = (NUMPY, ONNXRUNTIME, TORCH, OPENVINO)
