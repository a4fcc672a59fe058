"""What bounds a task: the speed of the instruction that products are made of, and that of memory."""

from functools import partial

import numpy as np

import qlite as ql
from qlite import _core

from . import harness
from .harness import Work
from .tasks import Limit

ISA = ql.show_config("dict")["kernels"]["gemm_u8s8s32"]  # of the kernel of products, which targets depend on
ROUNDS = 64_000  # some 30 us on tiles, 200 on AVX512-VNNI: what the call itself costs is 0.5 % of it


OPERATIONS = 2 * ROUNDS * _core.peak(1, 1, 1)[0]  # of one such call


def kernel_time(operations, times):
    """The microseconds that the operations of a product take at the peak, given all times of a task that has it."""
    return operations / OPERATIONS * times["peak"].min


def peak(operations, call=None, least=None):
    """`operations`: a product's multiplications and additions. `call`: makes our function's shortest call."""

    def make():
        return Work(partial(_core.peak, ROUNDS, 1, 1)), OPERATIONS

    return Limit("peak", "multiply-adds of the active instruction set in registers", make, operations, "", call, least)


def memory(kind, size, least=None, call=None):
    """`kind`: "read" or "copy"; `size`: bytes that go through memory once."""
    what = f"this machine's fastest {kind} of as many bytes"
    return Limit(kind, what, partial(_memory, kind, size // 4), 4 * (size // 4), "GB/s", call, least)


def _memory(kind, values):
    """A call that goes once over this many float32 values, the fastest that we know, and how many bytes that is.

    Reading ends in memchr (a byte that is not there), in a dot product, or in a comparison; copying is memcpy, called
    in two ways.
    """
    source, target = np.ones(values, np.float32), np.empty(values, np.float32)
    haystack, bits = bytearray(source.tobytes()), source.view(np.uint32)
    calls = {
        "read": {
            "find": partial(haystack.find, 255),
            "dot": partial(np.dot, source, source),
            "max": partial(np.max, source),
            "or": partial(np.bitwise_or.reduce, bits),
        },
        "copy": {
            "copyto": partial(np.copyto, target, source),
            "slice": partial(memoryview(target).__setitem__, slice(None), memoryview(source)),
        },
    }
    return Work(harness.fastest(calls[kind], 0.2)), source.nbytes
