"""Steps of sequences: products of two values, layer norm, rows of a table. Equal to the reference on every instruction
set, and what they refuse."""

import numpy as np
import pytest
import reference
from samples import codes, same_bytes

from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Embedding, LayerNorm, MatMul

DTYPES = ["int8", "uint8"]
RULES = ["float", "fixed"]
#: Shapes of a and b, transpose_b, heads.
PRODUCTS = [
    ((1, 1), (1, 1), False, 0),
    ((5, 7), (7, 3), False, 0),
    ((5, 7), (3, 7), True, 0),
    ((2, 3, 6, 33), (2, 3, 33, 17), False, 0),
    ((3, 13, 64), (3, 32, 64), True, 0),
    ((12, 30), (19, 30), True, 3),
    ((3, 12, 19), (19, 30), False, 3),
    ((3, 12, 10), (19, 30), True, 3),
    ((12, 57), (19, 30), False, 3),
    ((70, 16), (70, 16), True, 1),
]


def buffer(name, shape, dtype="float32", scale=None, zero_point=None, bits=8):
    return Buffer(name, name, shape, dtype, scale and float(np.float32(scale)), zero_point, bits=bits)


def product(a, b, y, transpose_b, heads, requant="float"):
    """A program of one product, whose result's shape is that of the step."""
    step = MatMul((0, 1), 2, transpose_b, heads, requant)
    shape, _ = step.infer(a, b)
    y = Buffer(**vars(y) | {"shape": shape})
    return Program([a, b, y], [step], (0, 1))


def check(made, *arrays):
    got = Plan(made).run(*arrays)
    same_bytes(got, reference.evaluate(made, *arrays)[made.outputs[0]])
    return got


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
def test_products_of_floats(isa, rng, shapes):
    a, b, transpose_b, heads = shapes
    made = product(buffer("a", a), buffer("b", b), buffer("y", ()), transpose_b, heads)
    for samples in (1, 3):
        check(made, *(rng.normal(size=(samples, *shape)).astype(np.float32) for shape in (a, b)))


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
@pytest.mark.parametrize("requant", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_codes(isa, rng, dtype, requant, shapes):
    """Zero points at both ends, in the middle (where int8 has none to multiply with) and elsewhere."""
    a, b, transpose_b, heads = shapes
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    depth = a[-1] // (heads if heads and len(a) == 2 else 1)
    for zero_points, step in (
        ((low, high, high), 126 * depth),
        ((low + 128, low + 128, low + 128), 70 * depth**0.5),
        ((low + 7, low + 99, low), 26 * depth),
    ):
        grids = zip((0.02, 0.5, 0.02 * 0.5 * step), zero_points, strict=True)
        left, right, y = (buffer(n, s, dtype, *grid) for n, s, grid in zip("aby", (a, b, ()), grids, strict=True))
        made = product(left, right, y, transpose_b, heads, requant)
        got = check(made, *(codes(rng, (2, *shape), np.dtype(dtype)) for shape in (a, b)))
        assert got.size == 2 or len(np.unique(got)) > 1


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_products_of_few_bits(isa, rng, bits):
    for dtype in DTYPES:
        lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
        a, b, y = (buffer(n, s, dtype, 0.3, lowest + 1, bits) for n, s in zip("aby", ((5, 9), (9, 6), ()), strict=True))
        made = product(a, b, y, False, 0)
        arrays = (rng.integers(lowest, lowest + 2**bits, (4, *x.shape)).astype(dtype) for x in (a, b))
        got = check(made, *arrays)
        assert lowest <= got.min() <= got.max() < lowest + 2**bits


def test_a_value_by_itself(isa, rng):
    x, y = buffer("x", (6, 8)), buffer("y", (6, 6))
    check(Program([x, y], [MatMul((0, 0), 1, True)]), rng.normal(size=(3, 6, 8)).astype(np.float32))


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        ((4,), (4,), {}, "inputs: expected matrices with equal leading axes"),
        ((2, 4, 3), (3, 3, 4), {}, "inputs: expected matrices with equal leading axes"),
        ((4, 3), (4, 3), {}, "inputs: expected 3 as the depth of both"),
        ((4, 6), (4, 6), {"transpose_b": True, "heads": 4}, "inputs: expected 4 heads"),
        ((2, 4, 6), (6, 6), {"heads": 3}, "inputs: expected 3 heads"),
        ((4, 6), (5, 9), {"transpose_b": True, "heads": 3}, "inputs: expected one depth"),
        ((4, 6), (6, 4), {"heads": -1}, "heads: expected at least 0"),
        ((4, 6), (6, 4), {"requant": "half"}, "requant: expected one of"),
        ((4, 6), (6, 4), {"transpose_b": 2}, "transpose_b: expected one of"),
    ],
)
def test_products_refuse(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        MatMul((0, 1), 2, **options).infer(buffer("a", a), buffer("b", b))


def test_products_refuse_grids_and_depths():
    a, b = (buffer(n, shape, "int8", 2.0**20, 0) for n, shape in (("a", (2, 3)), ("b", (3, 2))))
    with pytest.raises(ValueError, match=r"inputs: expected scales over the output's below 2\*\*29"):
        Program([a, b, buffer("y", (2, 2), "int8", 1.0, 0)], [MatMul((0, 1), 2)], (0, 1))
    a, b = (buffer(n, shape, "int8", 1.0, 0) for n, shape in (("a", (1, 40000)), ("b", (40000, 1))))
    with pytest.raises(OverflowError, match="expected sums that int32 holds"):
        Program([a, b, buffer("y", (1, 1), "int8", 1.0, 0)], [MatMul((0, 1), 2)], (0, 1))


# ---- layer norm -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 8), (5, 9), (2, 3, 64), (40, 129), (384,)], ids=str)
def test_layer_norm(isa, rng, shape):
    gamma, beta = rng.normal(size=(2, shape[-1])).astype(np.float32)
    made = Program([buffer("x", shape), buffer("y", shape)], [LayerNorm((0,), 1, gamma, beta, 1e-5)])
    check(made, rng.normal(3, 4, (3, *shape)).astype(np.float32))
    check(made, np.full((2, *shape), 1e30, np.float32))
    check(made, np.full((2, *shape), -1e-40, np.float32))


def test_layer_norm_refuses():
    one, nan = np.ones(3, np.float32), np.full(3, np.nan, np.float32)
    for fields, name in (((nan, one, 1e-5), "gamma"), ((one, one[:2], 1e-5), "beta"), ((one, one, 0.0), "epsilon")):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            LayerNorm((0,), 1, *fields).infer(buffer("x", (2, 3)))


# ---- tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", *DTYPES])
def test_embedding(isa, rng, dtype):
    n, entries, fields = 19, 23, {}
    table = rng.normal(size=(entries, n)).astype(np.float32)
    if dtype != "float32":
        table = codes(rng, (entries, n), np.dtype(dtype))
        fields = {"weight_scale": rng.uniform(0.1, 1, entries).astype(np.float32)}
    for _ in range(2):
        made = Program([buffer("x", (4, 5), "int32"), buffer("y", (4, 5, n))], [Embedding((0,), 1, table, **fields)])
        check(made, rng.integers(0, entries, (3, 4, 5)).astype(np.int32))
        check(made, rng.integers(-(2**31), 2**31 - 1, (3, 4, 5)).astype(np.int32))
        if fields:
            fields["weight_zero_point"] = rng.integers(3, 9, entries).astype(np.int32)


def test_embedding_refuses():
    x, table = buffer("x", (4,), "int32"), np.ones((3, 2), np.float32)
    scale = np.ones(3, np.float32)
    for fields, name in (
        ({"weight": table[0]}, "weight"),
        ({"weight": table * np.inf}, "weight"),
        ({"weight": table, "weight_scale": scale}, "weight_scale"),
        ({"weight": table.astype(np.int8), "weight_scale": scale[:2]}, "weight_scale"),
        ({"weight": table.astype(np.int8)}, "weight_scale"),
        ({"weight": table.astype(np.int8) * 9, "weight_scale": scale, "weight_bits": 4}, "weight"),
    ):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            Embedding((0,), 1, **fields).infer(x)
    with pytest.raises(ValueError, match="inputs: expected int32"):
        Embedding((0,), 1, table).infer(buffer("x", (4,)))
