"""u8 x s8 matrices into exact int32, weights prepared beforehand.

The shapes are those of single rows, batches and wide batches through layers of usual size, a few ragged ones and one
narrow one (an output layer). Every contender gets the form that it is fastest with: B packed or laid out before the
clock runs, results written into memory that is already there.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

import qlite as ql

from .harness import Contender, Work, fastest
from .onnx_node import one_node
from .report import Bench

SHAPES = [
    (1, 768, 768),
    (1, 4096, 4096),
    *[(m, 1024, 1024) for m in (8, 64, 256, 1024)],
    *[(m, 784, 128) for m in (32, 128)],
    (127, 333, 77),
    (33, 1001, 45),
    (128, 784, 10),
]


@dataclass(frozen=True)
class Product:
    """c = a @ b, with random codes over their whole range."""

    a: np.ndarray
    b: np.ndarray

    @classmethod
    def random(cls, m, k, n):
        rng = np.random.default_rng((m, k, n))
        return cls(rng.integers(0, 256, (m, k), np.uint8), rng.integers(-128, 128, (k, n), np.int8))

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


def qlite(case):
    packed, out = ql.pack(case.b), np.empty(case.shape, np.int32)
    call = partial(ql.matmul_integer, case.a, packed, out=out)
    call()
    if not np.array_equal(out, case.exact):
        raise SystemExit(f"qlite.matmul_integer is wrong for {case.a.shape} x {case.b.shape}")
    return Work(call, lambda: out)


def numpy_float32(case):
    out = np.empty(case.shape, np.float32)
    return Work(partial(np.matmul, case.a.astype(np.float32), case.b.astype(np.float32), out=out), lambda: out)


def onnxruntime(case):
    return one_node("MatMulInteger", case.a, [case.b], case.shape, "INT32", opset=10)


def torch(case):
    import torch

    torch.set_num_threads(1)
    b, out = torch.from_numpy(case.b), torch.empty(case.shape, dtype=torch.int32)
    a, shift = torch.from_numpy(case.a), 0
    try:
        torch._int_mm(a, b)
    except RuntimeError:
        a, shift = torch.from_numpy(case.a_signed), case.shift
    layouts = {"rows": b, "columns": b.T.contiguous().T}
    call = fastest({name: partial(torch._int_mm, a, layout, out=out) for name, layout in layouts.items()})
    return Work(call, lambda: out.numpy() + shift)


def numkong(case):
    import numkong

    packed = numkong.dots_pack(np.ascontiguousarray(case.b.T))
    out = numkong.zeros(case.shape, dtype="int32")
    call = partial(numkong.dots_packed, case.a_signed, packed, out=out)
    return Work(call, lambda: np.asarray(out) + case.shift)


BENCH = Bench(
    title="u8 x s8 -> s32, M x K x N",
    cases=((f"{m}x{k}x{n}", Product.random(m, k, n)) for m, k, n in SHAPES),
    ours=Contender("qlite", "matmul_integer, b packed, out=", ("qlite",), qlite),
    peers=(
        Contender("NumPy float32", "matmul, out=", ("numpy",), numpy_float32),
        Contender("onnxruntime", "MatMulInteger, b a constant, bound output", ("onnxruntime", "onnx"), onnxruntime),
        Contender("torch", "_int_mm, b by rows or columns, the faster one; packs b in each call", ("torch",), torch),
        Contender("NumKong", "dots_packed of s8 x s8: it has no u8 x s8", ("numkong",), numkong),
    ),
)
