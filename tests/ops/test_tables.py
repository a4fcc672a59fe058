"""Tables: equal to the reference on every instruction set, and to LiteRT byte for byte."""

import math

import litert
import numpy as np
import pytest
from reference import activations as reference
from samples import LAYOUTS, LENGTHS, codes, same_bytes

import qlite as ql
from qlite import QParams
from qlite.ops.tables import FUNCTIONS

DTYPES = [np.int8, np.uint8]
NAMES = ["int8", "uint8"]


def grid(scale, zero_point, dtype):
    return QParams(np.float32([scale]), np.array([zero_point]), 8, np.dtype(dtype) == np.int8)


def lowest(dtype):
    return int(np.iinfo(dtype).min)


def all_codes(dtype):
    return np.arange(256, dtype=np.uint8).view(dtype)


@pytest.mark.parametrize("table_dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
def test_apply_table(isa, rng, dtype, table_dtype):
    for n in [*LENGTHS, 255, 256, 257, 70_001]:
        x, table = codes(rng, n, dtype), codes(rng, 256, table_dtype)
        same_bytes(ql.apply_table(x, table), reference.lookup(x, table))
    same_bytes(ql.apply_table(all_codes(dtype), table), table)
    same_bytes(table[x], ql.apply_table(x, table))  # what the docstring says


@pytest.mark.parametrize("layout", LAYOUTS)
def test_apply_table_to_every_layout(isa, rng, layout):
    x, table = codes(rng, (5, 7, 33), np.int8), codes(rng, 256, np.uint8)
    same_bytes(ql.apply_table(LAYOUTS[layout](x), LAYOUTS[layout](table)), reference.lookup(x, table))


def test_apply_table_in_place(isa, rng):
    table = codes(rng, 256, np.int8)
    for n in LENGTHS:
        x = codes(rng, n, np.int8)
        expected = reference.lookup(x, table)
        assert ql.apply_table(x, table, out=x) is x
        same_bytes(x, expected)
    x = codes(rng, 1000, np.int8)
    for out, source in ((x[1:], x[:-1]), (x[:-1], x[1:]), (x[::-1], x)):  # overlapping in other ways
        x[...] = codes(rng, 1000, np.int8)
        expected = reference.lookup(source.copy(), table)
        same_bytes(np.ascontiguousarray(ql.apply_table(source, table, out=out)), expected)
    expected = reference.lookup(table, table)
    same_bytes(ql.apply_table(table.copy(), table, out=table), expected)


def test_apply_table_of_qarrays(isa, rng):
    x, y, narrow = grid(0.1, 3, np.int8), grid(0.2, 7, np.uint8), QParams(np.float32([0.2]), 0, narrow=True)
    q, table = ql.quantize(rng.normal(0, 4, (6, 11)), x), ql.lookup_table("relu", x, y)
    same_bytes(ql.apply_table(q, table, output_qparams=y).codes, table[q.codes.view(np.uint8)])
    assert ql.apply_table(q, table, output_qparams=y) == ql.QArray(ql.apply_table(q.codes, table), y)
    out = np.zeros((6, 11), np.uint8)
    result = ql.apply_table(q, table, output_qparams=y, out=out)
    assert np.shares_memory(result.codes, out) and np.array_equal(out, ql.apply_table(q.codes, table))
    out[...] = 7
    for error, message, args, options in [
        (
            TypeError,
            r"^codes: expected int8 or uint8, got a QArray: give its q\.codes, or output_qparams",
            (q, table),
            {},
        ),
        (ValueError, r"^output_qparams: expected None", (q.codes, table), {"output_qparams": y}),
        (TypeError, r"^output_qparams: expected QParams", (q, table), {"output_qparams": 0.5}),
        (
            ValueError,
            r"^output_qparams: expected a uniform",
            (q, table),
            {"output_qparams": QParams(np.float32([0.1]), 0, 9)},
        ),
        (ValueError, r"^codes: expected a uniform", (ql.quantize(np.ones((6, 11)), 9), table), {"output_qparams": y}),
        (
            ValueError,
            r"^codes: expected a uniform",
            (ql.quantize(np.ones((6, 11)), axis=1), table),
            {"output_qparams": y},
        ),
        (ValueError, r"^table: expected entries of", (q, table), {"output_qparams": x}),
        (ValueError, r"^table: expected entries of", (q, np.full(256, -128, np.int8)), {"output_qparams": narrow}),
        (ValueError, r"^table: expected", (q, table[:5]), {"output_qparams": y}),
    ]:
        with pytest.raises(error, match=message):
            ql.apply_table(*args, **options, out=out)
    assert (out == 7).all()


def test_large_arrays(rng):
    """On as many threads as there are."""
    x, table = codes(rng, 3_000_001, np.int8), codes(rng, 256, np.uint8)
    same_bytes(ql.apply_table(x, table), table[x])


def exactly(name, x):
    """The function in Python's own floating point, one number at a time."""
    exp = math.exp(-x) if x > -700 else math.inf
    return {
        "exp": lambda: math.exp(x),
        "gelu": lambda: 0.5 * x * math.erfc(-x * math.sqrt(0.5)),
        "hard_swish": lambda: x * min(max(x + 3, 0), 6) / 6,
        "elu": lambda: x if x >= 0 else math.expm1(x),
        "hard_sigmoid": lambda: min(max(x + 3, 0), 6) / 6,
        "relu": lambda: max(x, 0),
        "relu6": lambda: min(max(x, 0), 6),
        "sigmoid": lambda: 1 / (1 + exp),
        "silu": lambda: x / (1 + exp),
        "swish": lambda: x / (1 + exp),
        "softplus": lambda: max(x, 0) + math.log1p(math.exp(-abs(x))),
        "tanh": lambda: math.tanh(x),
    }[name]()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lookup_table(rng, name):
    for trial in range(50):
        (x_dtype, y_dtype) = (DTYPES[i] for i in rng.integers(0, 2, 2))
        zx, zy = int(rng.integers(0, 256)) + lowest(x_dtype), int(rng.integers(0, 256)) + lowest(y_dtype)
        sx, sy = np.float32(2.0 ** rng.uniform(-9, 1)), np.float32(2.0 ** rng.uniform(-9, 0))
        table = ql.lookup_table(name, grid(sx, zx, x_dtype), grid(sy, zy, y_dtype))
        assert table.dtype == y_dtype and table.shape == (256,)
        low, high = lowest(y_dtype), lowest(y_dtype) + 255
        for code, got in zip(all_codes(x_dtype).tolist(), table.tolist(), strict=True):
            steps = exactly(name, float(sx) * (code - zx)) / float(sy)
            assert got == min(max(math.floor(abs(steps) + 0.5) * (1 if steps > 0 else -1) + zy, low), high), (
                trial,
                code,
            )


def test_lookup_table_rounds_half_away_and_saturates():
    p = grid(0.5, 0, np.int8)
    table = ql.lookup_table(lambda v: v / 2, p, p)
    assert table[np.array([-3, -1, 1, 3, 5])].tolist() == [-2, -1, 1, 2, 3]
    table = ql.lookup_table(lambda v: np.where(v < 0, -np.inf, np.inf), p, p)
    assert set(table.tolist()) == {-128, 127}
    table = ql.lookup_table(lambda v: 1e300 * v, p, grid(1e-37, 3, np.uint8))
    assert table[:2].tolist() == [3, 255] and table[-1] == 0
    narrow = QParams(np.float32([0.5]), np.array([0]), 8, True, True)
    assert ql.lookup_table("relu", p, narrow).min() == 0 and ql.lookup_table(np.negative, p, narrow).min() == -127
    steps = ql.lookup_table(lambda v: v.astype(np.int64), p, p)  # results may be integers
    assert steps[4] == 4


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_narrow_codes(rng, bits, dtype):
    """Entries are codes of the output; those of input codes that there are not lie beyond its ends."""
    signed = dtype == np.int8
    x = QParams(np.float32([0.5]), 0 if signed else 1, bits, signed)
    y = QParams(np.float32([0.25]), 0, bits, signed)
    table = ql.lookup_table("tanh", x, y)
    codes = np.arange(x.qmin, x.qmax + 1).astype(dtype)
    expected = np.rint(np.tanh(0.5 * (codes.astype(float) - x.zero_point.item())) / 0.25).clip(y.qmin, y.qmax)
    assert np.array_equal(table[codes.view(np.uint8)], expected)
    assert y.qmin <= table.min() and table.max() <= y.qmax
    q = ql.quantize(rng.normal(size=(3, 4)), x)
    assert ql.apply_table(q, table, output_qparams=y).bits == bits


def test_lookup_table_refuses():
    p = grid(0.1, 0, np.int8)
    for error, name, args in [
        (ValueError, "function", ("sigmoids", p, p)),
        (TypeError, "function", (3, p, p)),
        (TypeError, "function", (None, p, p)),
        (ValueError, "function", (lambda v: v[:5], p, p)),
        (ValueError, "function", (lambda v: 1.0, p, p)),
        (ValueError, "function", (lambda v: v * np.nan, p, p)),
        (TypeError, "function", (lambda v: v + 1j, p, p)),
        (TypeError, "function", (lambda v: None, p, p)),
        (TypeError, "input_qparams", ("relu", 0.1, p)),
        (TypeError, "output_qparams", ("relu", p, None)),
        (ValueError, "input_qparams", ("relu", QParams(np.float32([0.1]), 0, 9), p)),
        (ValueError, "output_qparams", ("relu", p, QParams(np.float32([0.1]), 0, 16))),
        (ValueError, "output_qparams", ("relu", p, QParams(np.float32([0.1, 0.2]), 0))),
        (ValueError, "input_qparams", ("relu", ql.QParams.from_range(-1.0, 1.0, grid="nf4", symmetric=True), p)),
    ]:
        with pytest.raises(error, match=f"^{name}: expected"):
            ql.lookup_table(*args)


TFLITE = {
    "sigmoid": ("LOGISTIC", {}, 1 / 256, 0),
    "tanh": ("TANH", {}, 1 / 128, 128),
    "gelu": ("GELU", {"approximate": False}, None, None),
    "exp": ("EXP", {"version": 2}, None, None),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("name", TFLITE)
def test_tables_are_litert_s(rng, name, dtype):
    """Scales that are powers of two make ties in exp and gelu, so that this tells the rounding."""
    op, options, scale, zero = TFLITE[name]
    if name == "exp" and dtype == np.uint8:
        pytest.skip("LiteRT has no EXP of uint8")
    if name in ("sigmoid", "tanh"):
        options = {"version": 2}
    if name == "gelu":
        options = {**options, "version": 2}
    x = all_codes(dtype)[None]
    for trial in range(120):
        power = trial % 2
        zx = int(rng.integers(0, 256)) + lowest(dtype)
        sx = 2.0 ** (rng.integers(-9, 3) if power else rng.uniform(-9, 1))
        sy = scale or 2.0 ** (rng.integers(-8, 5) if power else rng.uniform(-8, 2))
        zy = lowest(dtype) + (zero if zero is not None else int(rng.integers(0, 256)))
        content = litert.model(op, x, x, (np.float32(sx), zx), (np.float32(sy), zy), **options)
        table = ql.lookup_table(name, grid(sx, zx, dtype), grid(sy, zy, dtype))
        same_bytes(ql.apply_table(x, table), litert.run(content, x))


def test_case_h_functions_of_single_numbers():
    x, y = ql.QParams([0.05], 0), ql.QParams([1 / 128], 0)
    same_bytes(ql.lookup_table(math.tanh, x, y), ql.lookup_table("tanh", x, y))
    same_bytes(ql.lookup_table(lambda v: v if v > 0 else 0.0, x, x), ql.lookup_table("relu", x, x))
    with pytest.raises(ValueError, match=r"^function: expected numbers, got ValueError for 0$"):
        ql.lookup_table(math.log, x, y)
    with pytest.raises(TypeError, match=r"^function: expected .* got None"):
        ql.lookup_table(lambda v: None, x, y)
