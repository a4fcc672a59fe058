"""What `gemm.py` times: for each contender the work of a product of codes."""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

import qlite as ql
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Gemm

from . import onnx_model, openvino_model
from .harness import Contender, Work, fastest
from .onnx_model import one_node


@dataclass(frozen=True)
class Product:
    """c = a @ b, with random codes over their whole range."""

    a: np.ndarray
    b: np.ndarray
    threads: int = 1

    @classmethod
    def random(cls, m, k, n, threads=1):
        rng = np.random.default_rng((m, k, n))
        return cls(rng.integers(0, 256, (m, k), np.uint8), rng.integers(-128, 128, (k, n), np.int8), threads)

    @property
    def shape(self):
        return self.a.shape[0], self.b.shape[1]

    @cached_property
    def exact(self):
        return (self.a.astype(np.float64) @ self.b).astype(np.int32)  # every sum is below 2^53

    @property
    def a_signed(self):
        """a - 128, for those who take s8 x s8 only; their result needs `shift` added."""
        return (self.a ^ np.uint8(128)).view(np.int8)

    @cached_property
    def shift(self):
        return 128 * self.b.sum(axis=0, dtype=np.int32)


A_SCALE, A_ZERO_POINT, Y_ZERO_POINT = 0.02, 113, 128


@dataclass(frozen=True)
class Requantized(Product):
    """The same, to uint8 codes: a is on a grid, the weights have a scale per column."""

    @property
    def b_scale(self):
        return np.linspace(0.01, 0.02, self.b.shape[1], dtype=np.float32)

    @property
    def y_scale(self):
        """Such that a code of 40 beside zero is a usual sum's: uniform codes have squares of 5,500 in the mean."""
        return A_SCALE * 0.015 * len(self.b) ** 0.5 * 5_500 / 40


def qlite(case):
    packed, out = ql.pack(case.b), np.empty(case.shape, np.int32)
    call = partial(ql.matmul_integer, case.a, packed, out=out)
    call()
    if not np.array_equal(out, case.exact):
        raise SystemExit(f"qlite.matmul_integer is wrong for {case.a.shape} x {case.b.shape}")
    return Work(call, lambda: out)


def qlite_unpacked(case, by_columns=False):
    """b as an array of codes, whose rows or whose columns lie in one piece each."""
    b, out = np.asfortranarray(case.b) if by_columns else case.b, np.empty(case.shape, np.int32)
    return Work(partial(ql.matmul_integer, case.a, b, out=out), lambda: out)


def qlite_requantized(case, requant):
    a = ql.QArray.from_codes(case.a, A_SCALE, A_ZERO_POINT)
    b = ql.pack(ql.QArray.from_codes(case.b, case.b_scale[None]))
    grid, out = ql.QParams(np.float32(case.y_scale), Y_ZERO_POINT, signed=False), np.empty(case.shape, np.uint8)
    return Work(partial(ql.linear, a, b, output_qparams=grid, requant=requant, out=out), lambda: out)


def qlite_program(case, requant):
    """The same as the step of a program, which has its parameters ready."""
    source = Buffer("a", "a", (case.b.shape[0],), "uint8", A_SCALE, A_ZERO_POINT)
    target = Buffer("y", "y", (case.b.shape[1],), "uint8", float(case.y_scale), Y_ZERO_POINT)
    step = Gemm((0,), 1, case.b, case.b_scale, None, None, activation=None, requant=requant)
    call = partial(Plan(Program([source, target], [step])).run, case.a)
    return Work(call, call)


def qlite_int32(case):
    out = np.empty(case.shape, np.int32)
    return Work(partial(ql.matmul_integer, case.a, ql.pack(case.b), A_ZERO_POINT, out=out))


def numpy_float32(case):
    out = np.empty(case.shape, np.float32)
    return Work(partial(np.matmul, case.a.astype(np.float32), case.b.astype(np.float32), out=out), lambda: out)


def onnxruntime(case):
    return one_node("MatMulInteger", case.a, [case.b], case.shape, "INT32", opset=10, threads=case.threads)


def onnxruntime_unpacked(case):
    nodes = [("MatMulInteger", ["x", "b"], ["y"], "", {})]
    return onnx_model.work(nodes, case.a, {}, case.shape, "INT32", 10, case.threads, inputs={"b": case.b})


def onnxruntime_requantized(case):
    constants = [np.float32(A_SCALE), np.uint8(A_ZERO_POINT), case.b, case.b_scale, np.zeros(case.b.shape[1], np.int8)]
    constants += [np.float32(case.y_scale), np.uint8(Y_ZERO_POINT)]
    return one_node("QLinearMatMul", case.a, constants, case.shape, "UINT8", opset=10, threads=case.threads)


def torch(case):
    import torch

    torch.set_num_threads(case.threads)
    b, out = torch.from_numpy(case.b), torch.empty(case.shape, dtype=torch.int32)
    a, shift = torch.from_numpy(case.a), 0
    try:
        torch._int_mm(a, b)
    except RuntimeError:
        a, shift = torch.from_numpy(case.a_signed), case.shift
    layouts = {"rows": b, "columns": b.T.contiguous().T}
    call = fastest({name: partial(torch._int_mm, a, layout, out=out) for name, layout in layouts.items()})
    return Work(call, lambda: out.numpy() + shift, partial(torch.set_num_threads, case.threads))


def openvino(case):
    from openvino import opset13 as op

    x = op.parameter(case.a.shape, np.uint8)
    codes = openvino_model.as_codes(op.convert(x, "f32"), 1, 0, 0, 255)
    product = op.matmul(codes, openvino_model.weights(case.b), False, False)
    return openvino_model.work(x, product, case.a, case.threads, kernel="FullyConnected")


def openvino_requantized(case):
    from openvino import opset13 as op

    x = op.parameter(case.a.shape, np.uint8)
    codes = openvino_model.as_codes(op.convert(x, "f32"), A_SCALE, A_ZERO_POINT, 0, 255, before=(1, 0))
    product = op.matmul(codes, openvino_model.weights(case.b, case.b_scale[None]), False, False)
    codes = openvino_model.as_codes(product, case.y_scale, Y_ZERO_POINT, 0, 255, after=(1, 0))
    return openvino_model.work(x, op.convert(codes, "u8"), case.a, case.threads, kernel="FullyConnected")


def numkong(case):
    import numkong

    packed = numkong.dots_pack(np.ascontiguousarray(case.b.T))
    out = numkong.zeros(case.shape, dtype="int32")
    call = partial(numkong.dots_packed, case.a_signed, packed, out=out)
    return Work(call, lambda: np.asarray(out) + case.shift)


OURS = Contender("qlite", "matmul_integer, b packed, out=", ("qlite",), qlite)
NUMPY = Contender("NumPy float32", "matmul, out=", ("numpy",), numpy_float32)
ONNXRUNTIME = Contender(
    "onnxruntime", "MatMulInteger, b a constant, bound output", ("onnxruntime", "onnx"), onnxruntime
)
TORCH = Contender("torch", "_int_mm, b by rows or columns; packs b in each call", ("torch",), torch)
OPENVINO = Contender("OpenVINO", "MatMul of FakeQuantize, to float32", ("openvino",), openvino)
NUMKONG = Contender("NumKong", "dots_packed of s8 x s8: it has no u8 x s8", ("numkong",), numkong)
PEERS = (NUMPY, ONNXRUNTIME, TORCH, OPENVINO, NUMKONG)


def requantizing(requant):
    """By rule A, "float", or B, "fixed": the call of arrays, and the step of a program."""
    return (
        Contender("qlite", "linear of codes, out=", ("qlite",), partial(qlite_requantized, requant=requant)),
        Contender("a step", "of a program: parameters are ready", ("qlite",), partial(qlite_program, requant=requant)),
    )


INT32_STORE = Contender("int32 store", "matmul_integer, b packed, out=", ("qlite",), qlite_int32)
REQUANTIZING_PEERS = (
    Contender("onnxruntime", "QLinearMatMul, bound output", ("onnxruntime", "onnx"), onnxruntime_requantized),
    Contender("OpenVINO", "MatMul of and to FakeQuantize", ("openvino",), openvino_requantized),
)

UNPACKED = {
    "by rows": Contender("qlite", "matmul_integer, b by rows, out=", ("qlite",), qlite_unpacked),
    "by columns": Contender(
        "qlite", "matmul_integer, b by columns, out=", ("qlite",), partial(qlite_unpacked, by_columns=True)
    ),
}
UNPACKED_PEERS = (
    Contender("onnxruntime", "MatMulInteger, b by rows at run time", ("onnxruntime", "onnx"), onnxruntime_unpacked),
)
PACKED = Contender("packed", "matmul_integer, b packed, out=", ("qlite",), qlite)
