"""Objects of other kinds than plain arrays, as people give them: each with the plain array that it stands for, or what
a message about it has to say."""

import array
import decimal
import fractions
import pathlib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from models import extra

ml_dtypes, pandas = extra("ml_dtypes"), extra("pandas")


class Tensor:
    """The protocol of torch.Tensor, and its refusals."""

    def __init__(self, values, dtype=None, requires_grad=False, device="cpu"):
        self.values, self.requires_grad, self.device = np.array(values), requires_grad, device
        self.dtype = f"torch.{self.values.dtype}" if dtype is None else dtype
        self.shape, self.ndim = self.values.shape, self.values.ndim

    def detach(self):
        return Tensor(self.values, self.dtype, device=self.device)

    def float(self):
        return Tensor(np.float32(self.values), requires_grad=self.requires_grad, device=self.device)

    def numpy(self):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.device != "cpu":
            raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy.")
        if self.dtype != f"torch.{self.values.dtype}":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values

    def __array__(self, dtype=None):
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self.values)

    def __iter__(self):
        return (Tensor(v, self.dtype, self.requires_grad, self.device) for v in self.values)

    def __getitem__(self, index):
        return Tensor(self.values[index], self.dtype, self.requires_grad, self.device)


class Sparse:
    """The protocol of scipy's sparse matrices: no values but by `toarray`."""

    def __init__(self, values):
        self.shape, self.dtype = np.shape(values), np.float32

    def toarray(self):
        raise AssertionError("nobody asked for it")


@dataclass
class Exporter:
    """An array by DLPack alone."""

    values: np.ndarray

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


class FailingExporter(Exporter):
    def __dlpack__(self, **options):
        raise BufferError("Unsupported device in DLTensor")


class Interface:
    """An array by `__array_interface__` alone."""

    def __init__(self, values):
        self.keep, self.__array_interface__ = values, values.__array_interface__


@dataclass
class Giver:
    """An object whose `__array__` gives or raises what it is told to, whatever it says of itself."""

    gift: Any
    shape: tuple = (7, 7)
    dtype: type = complex

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.gift, Exception):
            raise self.gift
        return self.gift


class Subclass(np.ndarray):
    pass


def narrow(name):
    dtype = np.dtype(getattr(ml_dtypes, name))
    return lambda p: (p.astype(dtype), p.astype(dtype).astype(np.float32))


def nibbles(p):
    if p.dtype.kind not in "iu" or p.max(initial=0) > 7 or p.min(initial=0) < -8:
        return None
    return p.astype(ml_dtypes.int4), p.astype(np.int8)


def tensor(p):
    return (Tensor(p, requires_grad=True), p) if p.dtype.kind == "f" else (Tensor(p), p)


NULLABLE = {"float32": "Float32", "int8": "Int8", "uint8": "UInt8", "int32": "Int32", "int64": "Int64"}


def of_rank(ndim, make):
    return lambda p: (make(p), p) if p.ndim == ndim else None


def typed(p):
    kind = {"float32": "f", "int8": "b", "uint8": "B", "int32": "i", "int64": "q"}.get(p.dtype.name)
    return (array.array(kind, p.tolist()), p) if p.ndim == 1 and kind else None


def nested(p, deepest=lambda v: v):
    return [nested(part, deepest) for part in p] if p.ndim else deepest(p[()])


#: What stands for a plain array: functions of it that return the object, and the array whose outcome it has to share.
SAME = {
    "tensor": lambda p: (Tensor(p), p),
    "parameter": tensor,
    "bfloat16 tensor": lambda p: (Tensor(p, "torch.bfloat16", True), p.astype(np.float32)),
    "float8 tensor": lambda p: (Tensor(p, "torch.float8_e4m3fn"), p.astype(np.float32)),
    "list of tensors": lambda p: (
        ([Tensor(part, requires_grad=p.dtype.kind == "f") for part in p], p) if p.ndim else None
    ),
    "bfloat16": narrow("bfloat16"),
    "float8_e4m3fn": narrow("float8_e4m3fn"),
    "float8_e5m2": narrow("float8_e5m2"),
    "list of bfloat16": lambda p: (nested(p.astype(ml_dtypes.bfloat16)), p.astype(np.float32)) if p.size else None,
    "int4": nibbles,
    "Series": of_rank(1, pandas.Series),
    "DataFrame": of_rank(2, pandas.DataFrame),
    "Index": of_rank(1, pandas.Index),
    "nullable Series": of_rank(1, lambda p: pandas.Series(p, dtype=NULLABLE[p.dtype.name])),
    "no mask": lambda p: (np.ma.masked_array(p), p),
    "mask of nothing": lambda p: (np.ma.masked_array(p, np.zeros(p.shape, bool)), p),
    "DLPack": lambda p: (Exporter(p), p),
    "array interface": lambda p: (Interface(p), p),
    "memoryview": lambda p: (memoryview(p), p),
    "array.array": typed,
    "__array__": lambda p: (Giver(p), p),
    "__array__ of a matrix": of_rank(2, lambda p: Giver(np.matrix(p))),
    "list": lambda p: (p.tolist(), np.asarray(p.tolist())),
    "tuple of arrays": lambda p: (tuple(p), p) if p.ndim > 1 else None,
    "matrix": of_rank(2, np.matrix),
    "subclass": lambda p: (p.view(Subclass), p),
    "memmap": lambda p: (p.view(np.memmap), p),
    "big-endian": lambda p: (p.astype(p.dtype.newbyteorder(">")), p),
    "Fortran order": lambda p: (np.asfortranarray(p), p) if p.ndim else None,
    "float64": lambda p: (Tensor(p.astype(np.float64)), p.astype(np.float64)),
    "int64": lambda p: (Tensor(p.astype(np.int64)), p.astype(np.int64)),
    "bool": lambda p: (Tensor(p > 0), p > 0),
    "0-d": lambda p: (Tensor(p.flat[0]), np.array(p.flat[0])),
    "empty": lambda p: (Tensor(p[:0]), p[:0]) if p.ndim else None,
}


def deep(depth):
    result: Any = 1.0
    for _ in range(depth):
        result = [result]
    return result


def endless():
    result: list = []
    result.append(result)
    return result


#: What no argument for arrays takes, and a part of what the message says to call or that came.
REFUSED = {
    "masked": (lambda p: np.ma.masked_array(p, np.ones(p.shape, bool)), ".filled("),
    "list with a masked part": (lambda p: [np.ma.masked_array([1.0, 2.0], [True, False])], ".filled("),
    "__array__ of a masked": (lambda p: Giver(np.ma.masked_array(p, np.ones(p.shape, bool))), ".filled("),
    "tensor elsewhere": (lambda p: Tensor(p, device="cuda:0"), ".detach().cpu()"),
    "list of tensors elsewhere": (lambda p: [Tensor(p, device="cuda:0")], ".detach().cpu()"),
    "sparse": (Sparse, ".toarray()"),
    "DLPack elsewhere": (FailingExporter, "FailingExporter"),
    "NA": (lambda p: pandas.array([True, None]), ""),
    "objects": (lambda p: np.array([None, {}]), ".astype("),
    "frame of objects": (lambda p: pandas.DataFrame({"a": [1.0], "b": [{}]}), ".to_numpy("),
    "structured": (lambda p: np.zeros(3, [("a", "f4"), ("b", "f4")]), "'a'"),
    "complex": (lambda p: p * 1j, "complex"),
    "dates": (lambda p: np.array(["2026-01-01"], "datetime64[D]"), "datetime64"),
    "ragged": (lambda p: [[1.0], [1.0, 2.0]], "differ in shape"),
    "ragged tensors": (lambda p: [Tensor([1.0]), Tensor([1.0, 2.0])], "differ in shape"),
    "deep": (lambda p: deep(70), "64 dimensions"),
    "endless": (lambda p: endless(), "64 dimensions"),
    "string": (lambda p: "weights.npy", "weights.npy"),
    "bytes": (lambda p: b"abc", "abc"),
    "path": (lambda p: pathlib.Path("weights.npy"), "numpy.load"),
    "fractions": (lambda p: [fractions.Fraction(1, 3)], "float()"),
    "decimals": (lambda p: [decimal.Decimal(1)], "float()"),
    "huge": (lambda p: [10**400, 1.5], "greater"),
    "raises": (lambda p: Giver(KeyError("no such thing")), "Giver"),
    "recursion": (lambda p: Giver(RecursionError("too deep")), "Giver"),
    "no array": (lambda p: Giver([1, 2]), "Giver"),
    "set": (lambda p: {1.0, 2.0}, "list()"),
    "dict": (lambda p: {"a": p}, "a"),
    "generator": (lambda p: (v for v in p.ravel()), "list()"),
    "None in a list": (lambda p: [None, 1.0], "None"),
    "function": (lambda p: len, "builtin_function"),
    "object": (lambda p: object(), "object"),
}

if find_spec("torch"):  # the peer of `Tensor`, which is too large for the extra
    import torch

    SAME |= {
        "torch": lambda p: (torch.tensor(p), p),
        "torch parameter": lambda p: (torch.tensor(p, requires_grad=p.dtype.kind == "f"), p),
        "torch transposed": of_rank(2, lambda p: torch.tensor(p.T.copy()).T),
        "torch bfloat16": lambda p: (torch.tensor(p).bfloat16(), p.astype(np.float32)),
        "torch float8_e4m3fn": lambda p: (
            torch.tensor(p).to(torch.float8_e4m3fn),
            p.astype(ml_dtypes.float8_e4m3fn).astype(np.float32),
        ),
        "torch float8_e5m2": lambda p: (
            torch.tensor(p).to(torch.float8_e5m2),
            p.astype(ml_dtypes.float8_e5m2).astype(np.float32),
        ),
        "list of torch": lambda p: ([torch.tensor(part) for part in p], p) if p.ndim else None,
    }
    REFUSED |= {
        "torch elsewhere": (lambda p: torch.tensor(p, device="meta"), ".detach().cpu()"),
        "torch sparse": (lambda p: torch.tensor(p).to_sparse(), ".to_dense()"),
        "torch CSR": (lambda p: torch.ones(2, 2).to_sparse_csr(), ".to_dense()"),
        "torch quantized": (lambda p: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), ".dequantize()"),
        "torch complex": (lambda p: torch.tensor(p * 1j), "complex"),
    }
