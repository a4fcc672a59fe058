"""Steps that join buffers and pixels: pools, concatenation, padding, tables between grids. Equal to the
reference on every instruction set where random graphs seldom come, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from samples import codes, same_bytes

from qlite import _core
from qlite.nn.activation_tables import activation_table
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Add, AveragePool, Concatenate, Lookup, MaxPool, Pad

DTYPES = ["int8", "uint8"]
RULES = ["float", "fixed"]


def buffer(name, shape, dtype="float32", scale=None, zero_point=None, bits=8):
    return Buffer(name, name, shape, dtype, scale and float(np.float32(scale)), zero_point, bits=bits)


def program(step, inputs, output):
    """One step from these buffers to that one."""
    numbers = tuple(range(len(inputs)))
    return Program([*inputs, output], [step(numbers, len(inputs))], numbers)


def check(made, rng, *arrays, rows=3):
    """A program's output is the reference's."""
    if not arrays:
        arrays = [samples(rng, made.buffers[i], rows) for i in made.inputs]
    got = Plan(made).run(*arrays)
    same_bytes(got, reference.evaluate(made, *arrays)[made.outputs[0]])
    return got


def samples(rng, b, rows):
    shape = (rows, *b.shape)
    return rng.normal(size=shape).astype(np.float32) if b.dtype == "float32" else codes(rng, shape, np.dtype(b.dtype))


def middle(dtype):
    return 0 if dtype == "int8" else 128


# ---- pools ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (9, 5), (7, 6, 19)], ids=str)
@pytest.mark.parametrize("kind", [MaxPool, AveragePool])
@pytest.mark.parametrize("dtype", [*DTYPES, "float32"])
def test_pools_of_images_of_every_rank(isa, rng, dtype, kind, shape):
    grid = () if dtype == "float32" else (0.1, middle(dtype) + 3)
    image = (1,) * (3 - len(shape)) + shape
    for trial in range(20):
        size = tuple(int(rng.integers(1, n + 1)) for n in image[:2])
        stride = tuple(int(n) for n in rng.integers(1, 4, 2))
        before, after = (
            [int(rng.integers(0, k)) if n > 1 else 0 for n, k in zip(image, size, strict=False)] for _ in "ba"
        )
        padding = (before[0], after[0], before[1], after[1])
        out = [(image[i] + before[i] + after[i] - size[i]) // stride[i] + 1 for i in (0, 1)]
        x, y = (buffer(n, s, dtype, *grid) for n, s in (("x", shape), ("y", (*out[3 - len(shape) :], shape[-1]))))
        made = program(lambda i, o: kind(i, o, size, stride, padding), (x,), y)  # noqa: B023
        check(made, rng, rows=1 + trial % 3)


def test_pools_of_what_is_not_a_number(isa):
    """The greatest of what holds NaN is NaN, wherever in the window."""
    x = np.float32([[1, 2], [3, 9], [np.inf, 1], [-np.inf, np.inf]])
    a = buffer("a", (4, 2))
    sums = [
        Add((0, 1), 2),
        MaxPool((2,), 3, (1, 2), (1, 2), (0, 0, 0, 0)),
        AveragePool((2,), 4, (1, 2), (1, 2), (0, 0, 0, 0)),
    ]
    made = Program(
        [a, buffer("b", (4, 2)), buffer("s", (4, 2)), buffer("m", (2, 2)), buffer("n", (2, 2))], sums, (0, 1), (3, 4)
    )
    great = np.float32(3e38)
    left, right = np.clip(x, -great, great)[None], np.clip(x, -great, great)[None]
    for got, expected in zip(Plan(made).run(left, right), reference.evaluate(made, left, right)[3:], strict=True):
        same_bytes(got, expected)


POOLS = {
    "no windows": ({"size": (0, 1)}, r"size: expected 2 integers of at least 1"),
    "one length": ({"size": (2,)}, r"size: expected 2 integers"),
    "floats": ({"stride": (1.0, 1)}, r"stride: expected 2 integers"),
    "no stride": ({"stride": (0, 1)}, r"stride: expected 2 integers of at least 1"),
    "negative padding": ({"padding": (0, 0, -1, 0)}, r"padding: expected 4 integers of at least 0"),
    "as much padding as window": ({"padding": (0, 2, 0, 0)}, r"padding: expected less than size \(2, 2\)"),
    "windows too large": ({"size": (2, 9)}, r"size: expected at most 5, the padded image, got 9"),
}


@pytest.mark.parametrize("name", POOLS)
def test_what_pools_refuse(name):
    changes, message = POOLS[name]
    fields = {"size": (2, 2), "stride": (1, 1), "padding": (0, 0, 0, 0)} | changes
    x, y = buffer("x", (4, 5, 3), "uint8", 0.1, 3), buffer("y", (3, 4, 3), "uint8", 0.1, 3)
    for kind in (MaxPool, AveragePool):
        with pytest.raises(ValueError, match=message):
            program(lambda i, o: kind(i, o, **fields), (x,), y)  # noqa: B023
        core = _core.Plan([("uint8", b.shape, 0.1, 3, -1, -1, 8) for b in (x, y)], (0,), (1,))
        with pytest.raises((ValueError, TypeError), match=f"^({kind.kind}|size|stride|padding): "):
            core.add(kind.kind, {"inputs": (0,), "output": 1, **fields})


def test_grids_and_ranks_that_pools_refuse():
    def made(x, y, size=(2, 2)):
        return program(lambda i, o: MaxPool(i, o, size, (1, 1), (0, 0, 0, 0)), (x,), y)

    x, y = buffer("x", (4, 5, 3), "uint8", 0.1, 3), buffer("y", (3, 4, 3), "uint8", 0.1, 3)
    made(x, y)
    for wrong in (replace(y, scale=0.2), replace(y, zero_point=4), replace(y, bits=4)):
        with pytest.raises(ValueError, match=r"output: expected scale, zero point and bits .* as 'x', got"):
            made(x, wrong)
    with pytest.raises(ValueError, match=r"output: expected shape \(3, 4, 3\) and uint8"):
        made(x, replace(y, dtype="int8"))
    with pytest.raises(ValueError, match=r"inputs: expected an image of up to three axes"):
        made(replace(x, shape=(1, 4, 5, 3)), y)
    with pytest.raises(ValueError, match=r"size, stride, padding: expected one window along what an image of \(5, 3\)"):
        program(lambda i, o: MaxPool(i, o, (2, 2), (1, 1), (1, 1, 0, 0)), (replace(x, shape=(5, 3)),), y)
    wide = replace(x, shape=(2**12, 2**11, 1))
    with pytest.raises(ValueError, match=r"size: expected windows of fewer than 8388608 codes, got 8388608"):
        program(lambda i, o: AveragePool(i, o, (2**12, 2**11), (1, 1), (0,) * 4), (wide,), replace(y, shape=(1, 1, 1)))


# ---- concatenation and padding ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("dtype", [*DTYPES, "float32"])
def test_concatenation(isa, rng, dtype, count):
    grid = () if dtype == "float32" else (0.1, 3)
    for shape in ((4,), (3, 5), (2, 3, 17), (5, 2, 33), (2, 2, 3, 200)):
        for axis in range(len(shape)):
            lengths = [int(n) for n in rng.integers(1, 2 * shape[axis], count)]
            inputs = [
                buffer(f"x{i}", (*shape[:axis], n, *shape[axis + 1 :]), dtype, *grid) for i, n in enumerate(lengths)
            ]
            output = buffer("y", (*shape[:axis], sum(lengths), *shape[axis + 1 :]), dtype, *grid)
            check(program(lambda i, o: Concatenate(i, o, axis), inputs, output), rng)  # noqa: B023


def test_what_concatenation_refuses():
    def made(inputs, axis=1, shape=(2, 8), **changes):
        output = replace(buffer("y", shape, "uint8", 0.1, 3), **changes)
        return program(lambda i, o: Concatenate(i, o, axis), inputs, output)

    a, b = (buffer(n, (2, 4), "uint8", 0.1, 3) for n in "ab")
    made((a, b))
    for axis in (-1, 2, None, True):
        with pytest.raises(ValueError, match=r"axis: expected one of 2 of the sample"):
            made((a, b), axis)
    with pytest.raises(ValueError, match=r"inputs: expected shapes as \(2, 4\) but for axis 1, got \(3, 4\)"):
        made((a, replace(b, shape=(3, 4))))
    with pytest.raises(ValueError, match=r"inputs: expected uint8 as 'a', got 'b' of int8"):
        made((a, replace(b, dtype="int8")))
    with pytest.raises(ValueError, match=r"inputs: expected 1 to 8, got 9"):
        made([replace(a, name=f"a{i}") for i in range(9)], shape=(2, 36))
    with pytest.raises(ValueError, match=r"output: expected scale, zero point and bits .* as 'b', got"):
        made((a, replace(b, zero_point=4)))
    core = _core.Plan([("uint8", (2, n), 0.1, 3, -1, -1, 8) for n in (4, 8, 9)], (0,), (1, 2))
    for output, axis in ((2, 1), (1, 0), (1, -1), (1, 2), (1, 2**40)):
        with pytest.raises(ValueError, match=r"^concatenate: "):
            core.add("concatenate", {"inputs": (0, 0), "output": output, "axis": axis})


@pytest.mark.parametrize("dtype", [*DTYPES, "float32"])
def test_padding(isa, rng, dtype):
    grid = () if dtype == "float32" else (0.1, middle(dtype) + 5)
    for shape in ((), (4,), (3, 5), (2, 3, 4), (2, 1, 3, 2)):
        for trial in range(8):
            padding = rng.integers(0, 3, 2 * len(shape)) * (rng.random(2 * len(shape)) < trial / 7)
            padding = tuple(int(n) for n in padding)
            out = tuple(n + b + a for n, b, a in zip(shape, padding[::2], padding[1::2], strict=True))
            x, y = buffer("x", shape, dtype, *grid), buffer("y", out, dtype, *grid)
            check(program(lambda i, o: Pad(i, o, padding), (x,), y), rng)  # noqa: B023


def test_what_padding_refuses():
    x, y = buffer("x", (4, 5), "uint8", 0.1, 3), buffer("y", (6, 5), "uint8", 0.1, 3)
    for padding in ((1, 1), (1, 1, 0, 0, 0, 0), (1, 1, -1, 1), (1, 1.0, 0, 0), [1, 1, 0, 0], (2**40, 0, 0, 0)):
        with pytest.raises(ValueError, match=r"padding: expected 4 integers of at least 0"):
            program(lambda i, o: Pad(i, o, padding), (x,), y)  # noqa: B023
    with pytest.raises(ValueError, match=r"output: expected shape \(5, 5\)"):
        program(lambda i, o: Pad(i, o, (1, 0, 0, 0)), (x,), y)
    with pytest.raises(ValueError, match=r"output: expected scale, zero point and bits"):
        program(lambda i, o: Pad(i, o, (1, 1, 0, 0)), (x,), replace(y, zero_point=4))
    core = _core.Plan([("uint8", b.shape, 0.1, 3, -1, -1, 8) for b in (x, y)], (0,), (1,))
    for padding in ((1, 0, 0, 0), (1, 1), (3, -1, 0, 0), (2**63 - 1, 3 - 2**63, 0, 0)):
        with pytest.raises(ValueError, match=r"^pad: "):
            core.add("pad", {"inputs": (0,), "output": 1, "padding": padding})


# ---- from one grid to another -----------------------------------------------------------------------


@pytest.mark.parametrize("target_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tables_between_grids(isa, rng, dtype, target_dtype):
    """Half to even, in float32; scales whose ratio is beyond float32 saturate, and the zero point stays it."""
    for trial in range(40):
        ends = [(1e-30, 1e30), (1e30, 1e-30)][trial % 2] if trial < 2 else 2.0 ** rng.uniform(-6, 2, 2)
        bits = int(rng.integers(1, 9))
        lowest = -(2 ** (bits - 1)) if target_dtype == "int8" else 0
        x = buffer("x", (256,), dtype, ends[0] if trial % 3 else 0.5, middle(dtype) - int(rng.integers(0, 128)))
        y = buffer("y", (256,), target_dtype, ends[1], int(rng.integers(lowest, lowest + 2**bits)), bits)
        table = activation_table("identity", 0.01, x, y)
        all_codes = np.arange(256, dtype=np.uint8).view(dtype)
        with np.errstate(over="ignore"):
            ratio = np.float32(x.scale) / np.float32(y.scale)
            steps = np.rint((all_codes.astype(np.float32) - np.float32(x.zero_point)) * min(ratio, np.float32(3e38)))
        expected = np.clip(steps.astype(np.float64) + y.zero_point, *y.code_range).astype(target_dtype)
        same_bytes(table, expected)
        made = program(lambda i, o: Lookup(i, o, table, "identity", 0.01), (x,), y)  # noqa: B023
        same_bytes(Plan(made).run(all_codes[None])[0], expected)
    half = activation_table("identity", 0.01, buffer("x", (1,), "int8", 1.0, 0), buffer("y", (1,), "int8", 2.0, 0))
    assert half[[1, 3, 5, 255, 253]].tolist() == [0, 2, 2, 0, -2]
