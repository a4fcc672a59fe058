"""Sizes that no data stands behind: refused by what the machine has, not by what the system promises.

A system that promises more memory than there is kills the process that writes to it. Each case runs in a process of its
own that is given little, so that a case that is not refused ends as another MemoryError.
"""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "sysconf"), reason="needs the size of the memory")

PRELUDE = """
import os
import resource
import numpy as np
import qlite as ql
from qlite import _check
rows = 2 * _check._memory_bytes() // 64  # twice the memory, in rows of 64 bytes
grid = ql.QParams(np.float32([0.1]), 3, signed=False)
codes, floats = np.broadcast_to(np.uint8(1), (rows, 64)), np.broadcast_to(np.float32(1), (rows, 64))
weights, filters = ql.quantize(np.ones((64, 4)), axis=1), ql.quantize(np.ones((3, 3, 64, 4)), axis=3)
images = np.broadcast_to(np.uint8(1), (rows, 4, 4, 64))
if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # a sanitizer takes terabytes of addresses
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
try:
    {call}
except MemoryError as error:
    print(error)
"""

CALLS = {
    "ql.QArray(codes, grid)": "codes",
    "ql.QArray.from_codes(codes, 0.1)": "codes",
    "ql.quantize(floats, grid)": "w",
    "ql.quantize(np.broadcast_to(np.float64(1), (rows, 64)), grid)": "w",
    "ql.quantize(floats, axis=0)": "w",
    "ql.fake_quantize(floats, grid)": "x",
    "ql.requantize(np.broadcast_to(np.int32(1), (rows, 64)), 0.5)": "acc",
    "ql.linear(floats, weights)": "x",
    "ql.linear(np.broadcast_to(np.float64(1), (rows, 64)), weights)": "x",
    "floats @ weights": "x",
    "ql.matmul_integer(codes, weights)": "a",
    "ql.matmul_integer(np.zeros((rows, 0), np.uint8), np.zeros((0, 64), np.int8))": "out",
    "ql.pack(codes)": "codes",
    "ql.conv2d_integer(images, filters)": "x",
    "ql.conv2d(np.broadcast_to(np.float32(1), images.shape), filters)": "x",
    "ql.conv2d(np.ones((1, 4, 4, 64)), filters, padding=2**30)": "padding",
    "ql.conv2d_integer(np.ones((1, 4, 4, 64), np.uint8), filters, padding=2**30)": "padding",
    "ql.conv2d(np.ones((1, 4, 4, 64)), filters, padding=((0, 0), (2**31 - 1, 0)), stride=2**31 - 1)": "padding",
    "ql.max_pool2d(images, 2)": "x",
}


def output_of(call):
    program = PRELUDE.replace("{call}", call)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("call", CALLS)
def test_case_m_more_than_the_machine_has(call):
    assert output_of(call).startswith(f"{CALLS[call]}: expected what ")


def test_case_m_repeated_values_that_fit_are_taken():
    assert not output_of("assert ql.quantize(floats[:9], grid) == ql.quantize(np.ones((9, 64), np.float32), grid)")
