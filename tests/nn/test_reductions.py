"""Steps that make one of all elements along axes, and vectors of length 1: equal to the reference on every instruction
set, and what they refuse."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import reference
from samples import codes, same_bytes

from qlite import _core
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Add, L2Normalize, Mean, ReduceMax, ReduceMin, Sum

DTYPES = ["int8", "uint8"]
RULES = ["float", "fixed"]
SUMS, EXTREMES = (Mean, Sum), (ReduceMax, ReduceMin)
#: Every rank; lengths of 1; channels around the blocks of kernels, few in long rows, and one.
SHAPES = [(1,), (17,), (300,), (3, 64), (5, 7, 8), (7, 7, 130), (4, 1, 9), (2, 3, 4, 5), (3, 2, 40, 2), (2, 1, 3, 700)]


def middle(dtype):
    return 0 if dtype == "int8" else 128


def left(shape, axes, keepdims):
    return tuple(1 if i in axes else n for i, n in enumerate(shape) if keepdims or i not in axes)


def made(kind, shape, axes, dtype, grid=(), grid_y=(), keepdims=False, bits=(8, 8), **fields):
    x = Buffer("x", "x", shape, dtype, *grid, bits=bits[0])
    y = Buffer("y", "y", left(shape, axes, keepdims), dtype, *grid_y, bits=bits[1])
    return Program([x, y], [kind((0,), 1, axes, keepdims, **fields)])


def check(program, x):
    got = Plan(program).run(x)
    same_bytes(got, reference.evaluate(program, x)[1])
    return got


def every_axes(shape):
    return [axes for n in range(len(shape) + 1) for axes in combinations(range(len(shape)), n)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("requant", RULES)
@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_codes(isa, rng, dtype, kind, requant, shape):
    for i, axes in enumerate(every_axes(shape)):
        grid, grid_y = (0.5, middle(dtype) - 5), (float(np.float32(0.7)) * (1 + 9 * (kind is Sum)), middle(dtype) + 9)
        program = made(kind, shape, axes, dtype, grid, grid_y, bool(i % 2), requant=requant)
        for rows, fill in ((3, "random"), (1, "lowest"), (2, "highest")):
            check(program, codes(rng, (rows, *shape), np.dtype(dtype), fill))


@pytest.mark.parametrize("requant", RULES)
@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_on_grids_far_apart_and_of_few_bits(isa, rng, dtype, kind, requant):
    """Ties, ratios at the limit, results that saturate."""
    below = float(np.nextafter(np.float32(2**20), np.float32(0)))
    for scale, scale_y, bits in ((1.0, 2.0, 8), (1.0, 0.5, 8), (below, 1.0, 8), (1e-30, 1.0, 8), (0.3, 0.2, 4)):
        lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
        for zero_point in (lowest, lowest + 2**bits - 1, lowest + 3):
            grids = (float(np.float32(scale)), zero_point), (float(np.float32(scale_y)), lowest + 2)
            program = made(kind, (4, 2, 33), (0, 1), dtype, *grids, bits=(bits, bits), requant=requant)
            x = rng.integers(lowest, lowest + 2**bits, (20, 4, 2, 33)).astype(dtype)
            got = check(program, x)
            assert lowest <= got.min() <= got.max() < lowest + 2**bits


@pytest.mark.parametrize("kind", SUMS)
def test_sums_of_more_codes_than_16_bits_hold(isa, rng, kind):
    for shape, axes in (((300, 300, 3), (0, 1)), ((70000, 1), (0,)), ((3, 40000), (1,)), ((600, 100), (0,))):
        for fill in ("highest", "random"):
            grids = (1.0, 7), (1.0 if kind is Mean else 70000.0, 3)
            program = made(kind, shape, axes, "uint8", *grids, requant="float")
            check(program, codes(rng, (1, *shape), np.dtype("uint8"), fill))


@pytest.mark.parametrize("shape", [(3,), (4, 70), (5, 6, 3), (2, 3, 4, 5), (30, 9)], ids=str)
@pytest.mark.parametrize("kind", SUMS)
def test_sums_of_floats(isa, rng, kind, shape):
    """In float64: great values that cancel leave the small ones."""
    x = rng.normal(size=(4, *shape)).astype(np.float32)
    if len(shape) > 1:
        x[0, 0], x[0, 1] = 3e38, -3e38
    for i, axes in enumerate(every_axes(shape)):
        got = check(made(kind, shape, axes, "float32", keepdims=bool(i % 2), requant="float"), x)
        function = np.mean if kind is Mean else np.sum
        expected = function(x[1:], tuple(a + 1 for a in axes), np.float64, keepdims=bool(i % 2))
        np.testing.assert_allclose(got[1:], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", EXTREMES)
@pytest.mark.parametrize("dtype", [*DTYPES, "float32"])
def test_extremes(isa, rng, dtype, kind, shape):
    grid = () if dtype == "float32" else (0.1, 3)
    for i, axes in enumerate(every_axes(shape)):
        program = made(kind, shape, axes, dtype, grid, grid, bool(i % 2))
        x = codes(rng, (3, *shape), np.dtype("int8" if dtype == "float32" else dtype)).astype(dtype)
        got = check(program, x)
        function = np.max if kind is ReduceMax else np.min
        assert (got == function(x, tuple(a + 1 for a in axes), keepdims=bool(i % 2))).all()


def test_extremes_of_few_channels_in_rows_of_every_length(isa, rng):
    for n in (1, 7, 8, 15, 16, 17, 31, 63, 64, 65, 127, 128, 129, 200):
        for channels in range(1, 9):
            x = rng.integers(0, 256, (2, n, channels)).astype(np.uint8)
            for kind in EXTREMES:
                check(made(kind, (n, channels), (0,), "uint8", (0.1, 3), (0.1, 3)), x)
            check(made(Sum, (n, channels), (0,), "uint8", (0.1, 3), (1.0, 3), requant="float"), x)


@pytest.mark.parametrize("kind", EXTREMES)
def test_extremes_of_infinities_and_of_what_is_no_number(isa, kind):
    """NaN comes before all, wherever it is. Sums make what plans refuse as inputs."""
    great = np.float32(3e38)
    a = np.float32([[[1, great, -great, 0], [great, -great, -great, -0.0], [5, great, -great, 7]]])
    b = np.float32([[[2, great, -great, -3], [great, great, -great, -0.0], [-great, -great, -great, great]]])
    names = ("a", "b", "twice_a", "twice_b", "sum")
    buffers = [Buffer(n, n, (3, 4), "float32") for n in names] + [Buffer("y", "y", (4,), "float32")]
    steps = [Add((0, 0), 2), Add((1, 1), 3), Add((2, 3), 4), kind((4,), 5, (0,), False)]
    program = Program(buffers, steps, (0, 1))
    got = Plan(program).run(a, b)
    same_bytes(got, reference.evaluate(program, a, b)[5])
    assert np.isnan(got).any() and not np.isnan(got).all()


@pytest.mark.parametrize("shape", [(1,), (3,), (64,), (65,), (2, 3, 130), (2, 2, 2, 17), (MOST := 33025,)], ids=str)
@pytest.mark.parametrize("dtype", [*DTYPES, "float32"])
def test_vectors_of_length_1(isa, rng, dtype, shape):
    on_grid = () if dtype == "float32" else (1 / 128, middle(dtype))
    for zero_point in (0, 255, 128, 77):
        grid = () if dtype == "float32" else (0.1, middle(dtype) - 128 + zero_point)
        x = Buffer("x", "x", shape, dtype, *grid)
        program = Program([x, Buffer("y", "y", shape, dtype, *on_grid)], [L2Normalize((0,), 1)])
        if dtype == "float32":
            samples = rng.normal(size=(4, *shape)).astype(np.float32)
            samples[1], samples[2], samples[3] = 0, samples[2] * 1e-20, samples[3] * np.float32(1e30)
            got = check(program, samples)
            assert (got[1] == 0).all()
            np.testing.assert_allclose((got[3].astype(float) ** 2).sum(axis=-1), 1, rtol=1e-5)
            break
        for fill in ("random", "lowest", "highest"):
            check(program, codes(rng, (2, *shape), np.dtype(dtype), fill))
        near = np.clip(x.zero_point + rng.integers(-1, 2, (9, *shape)), *x.code_range).astype(dtype)
        check(program, near)


def test_vectors_of_every_small_sum_of_squares(isa):
    """One code in a row of two, the other at the zero point: sums of 0 to 255**2."""
    x = np.stack([np.arange(256), np.zeros(256)], axis=1).astype(np.uint8)
    buffers = [Buffer("x", "x", (2,), "uint8", 0.1, 0), Buffer("y", "y", (2,), "uint8", 1 / 128, 128)]
    got = check(Program(buffers, [L2Normalize((0,), 1)]), x)
    assert got[0].tolist() == [128, 128] and (got[1:] == [255, 128]).all()


# ---- what they refuse -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", (*SUMS, *EXTREMES))
def test_axes_that_steps_refuse(kind):
    grid = (0.1, 3)
    fields = {"requant": "float"} if kind in SUMS else {}
    for axes in ((3,), (-1,), (1, 0), (0, 0), (0.0,), [0], None, (True,)):
        with pytest.raises(ValueError, match=r"axes: expected ascending ones out of the sample's 3, got"):
            x, y = (Buffer(n, n, (2, 3, 4), "uint8", *grid) for n in "xy")
            Program([x, y], [kind((0,), 1, axes, False, **fields)])
    with pytest.raises(ValueError, match=r"keepdims: expected one of False, True, got 2"):
        made(kind, (2, 3), (0,), "uint8", grid, grid, 2, **fields)
    core = _core.Plan([("uint8", s, 0.1, 3, -1, -1, 8) for s in ((2, 3, 4), (3, 4), (1, 3, 4))], (0,), (1,))
    for axes, keepdims, output in (((0,), 1, 1), ((0,), 0, 2), ((1,), 0, 1), ((0, 0), 0, 1), ((-3,), 0, 1)):
        given = {"inputs": (0,), "output": output, "axes": axes, "keepdims": keepdims}
        with pytest.raises(ValueError, match=f"^{kind.kind}: "):
            core.add(kind.kind, given | fields)
    for axes, keepdims in (((3,), 0), ((0,), 2), ((2**40,), 0)):
        given = {"inputs": (0,), "output": 1, "axes": axes, "keepdims": keepdims}
        with pytest.raises(ValueError, match=f"^{kind.kind}: "):
            core.add(kind.kind, given | fields)


def test_grids_that_steps_refuse():
    for kind in SUMS:
        with pytest.raises(ValueError, match=r"expected scale / output scale below 2\*\*20, got 1048576.0 for 'x'"):
            made(kind, (3,), (0,), "int8", (1.0, 0), (2.0**-20, 0), requant="float")
        with pytest.raises(ValueError, match=r"inputs: expected fewer than 8388608 codes along the axes, got 8388608"):
            made(kind, (2**12, 2**11, 1), (0, 1), "uint8", (1.0, 0), (1.0, 0), requant="float")
        with pytest.raises(ValueError, match=r"requant: expected one of 'float', 'fixed', got 'half'"):
            made(kind, (3,), (0,), "int8", (1.0, 0), (1.0, 0), requant="half")
    for kind in EXTREMES:
        with pytest.raises(ValueError, match=r"output: expected scale, zero point and bits .* as 'x', got"):
            made(kind, (3, 4), (0,), "int8", (1.0, 0), (1.0, 1))
    x, y = Buffer("x", "x", (4,), "uint8", 0.1, 3), Buffer("y", "y", (4,), "uint8", 1 / 128, 128)
    Program([x, y], [L2Normalize((0,), 1)])
    for wrong in (replace(y, scale=1 / 64), replace(y, zero_point=127), replace(y, bits=4, zero_point=8)):
        with pytest.raises(ValueError, match=r"output: expected scale, zero point and bits \(0.0078125, 128, 8\), got"):
            Program([x, wrong], [L2Normalize((0,), 1)])
        core = _core.Plan([("uint8", (4,), b.scale, b.zero_point, -1, -1, b.bits) for b in (x, wrong)], (0,), (1,))
        with pytest.raises(ValueError, match=r"^l2_normalize: "):
            core.add("l2_normalize", {"inputs": (0,), "output": 1})
    with pytest.raises(ValueError, match=r"inputs: expected rows of at most 33025 codes, got 33026"):
        Program([replace(b, shape=(MOST + 1,)) for b in (x, y)], [L2Normalize((0,), 1)])
