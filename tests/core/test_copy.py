"""Copies of arrays of any strides equal NumPy's, on every instruction set, and touch nothing else."""

import itertools

import numpy as np
import pytest
from guard import SIDES, Guard, Slot
from samples import same_bytes

from qlite import _core

DTYPES = [np.uint8, np.int16, np.float32, np.float64]  # elements of every size


def numbers(rng, shape, dtype):
    return rng.integers(-100, 100, shape).astype(dtype)


def views(x):
    """Every order of the axes, each as it is, backwards along one axis, and with every second element of one."""
    for axes in itertools.permutations(range(x.ndim)):
        y = x.transpose(axes)
        yield y
        for axis in range(x.ndim):
            for step in (-1, 2, -3):
                yield y[(slice(None),) * axis + (slice(None, None, step),)]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (16, 16), (17, 64), (65, 130), (3, 17, 5), (2, 3, 8, 9)], ids=str)
def test_any_strides(isa, rng, shape, dtype):
    for view in views(numbers(rng, shape, dtype)):
        same_bytes(_core.contiguous(view), np.ascontiguousarray(view))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_every_edge(isa, rng, dtype):
    """All pairs of lengths around the squares that kernels turn in registers."""
    for rows, cols in itertools.product([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33], repeat=2):
        x = numbers(rng, (rows, cols), dtype)
        same_bytes(_core.contiguous(x.T), np.ascontiguousarray(x.T))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("side", SIDES)
def test_guard_pages(isa, rng, side, dtype):
    for rows, cols in ((1, 17), (9, 33), (40, 24), (65, 16)):
        x = Guard(side)(numbers(rng, (rows, cols), dtype))
        out = Slot(x.nbytes).empty((cols, rows), dtype, side)
        expected = np.ascontiguousarray(x.T)
        same_bytes(_core.contiguous(x.T), expected)
        if dtype is np.float32:  # a copy into given memory
            _core.fake_quantize(x.T, np.ones(1, np.float32), np.zeros(1, np.int32), -128, 127, True, out)
            same_bytes(out, expected)


def test_repeated_elements(isa):
    x = np.broadcast_to(np.arange(5, dtype=np.int16), (3, 5))
    same_bytes(_core.contiguous(x), np.ascontiguousarray(x))
    same_bytes(_core.contiguous(x.T), np.ascontiguousarray(x.T))


def test_empty(isa):
    assert _core.contiguous(np.zeros((3, 0, 2), np.float32).T).shape == (2, 0, 3)


def test_what_needs_no_copy_is_the_array_itself(isa):
    x = np.zeros((3, 4), np.float32)
    assert _core.contiguous(x) is x


def test_no_numbers(isa):
    with pytest.raises(TypeError, match="array: expected numbers"):
        _core.contiguous(np.array(["a"]))
