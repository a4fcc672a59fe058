"""Arrays with groups and codebooks as right operands: linear, pack and x @ q."""

import numpy as np
import pytest
from reference import grouped as reference
from samples import same_bytes

import qlite as ql
from qlite import _core

#: A float32 sum of a few hundred terms in another order than NumPy's.
ORDER_TOLERANCE = 1e-5


def weight(rng, k=100, n=24):
    return rng.normal(size=(k, n)).astype(np.float32)


def rows(rng, m, k=100):
    return rng.normal(size=(m, k)).astype(np.float32)


KINDS = {
    "int4": {"bits": 4, "group_size": 32},
    "uint4": {"bits": 4, "group_size": 32, "symmetric": False},
    "int2": {"bits": 2, "group_size": 16},
    "int3": {"bits": 3, "group_size": 8},
    "int5": {"bits": 5, "group_size": 40, "symmetric": False},
    "int8": {"bits": 8, "group_size": 32},
    "one group": {"bits": 4, "group_size": 1000},
    "float16": {"bits": 4, "group_size": 32, "scale_dtype": "float16"},
    "two levels": {"bits": 4, "group_size": 32, "scale_dtype": "uint8"},
    "nf4": {"grid": "nf4", "group_size": 32},
    "nf4 per column": {"grid": "nf4"},
    "nf4 per tensor": {"grid": "nf4", "axis": None},
    "fp4": {"grid": "fp4", "group_size": 16, "scale_dtype": "fp8_e4m3"},
    "mxfp4": {"grid": "mxfp4"},
    "mxint8": {"grid": "mxint8"},
    "kmeans": {"bits": 4, "grid": "kmeans", "axis": None},
    "kmeans per column": {"bits": 3, "grid": "kmeans"},
    "own codebook": {"grid": [-1.0, -0.3, 0.0, 0.5, 1.0], "group_size": 32},
}


def quantized(rng, kind, k=100, n=24):
    return ql.quantize(weight(rng, k, n), **{"axis": 1, **KINDS[kind]})


def spread_over(q):
    """Scale, zero point and codebook of q for every group, and the group."""
    group = q.group_size or q.shape[0]
    shape = (-(-q.shape[0] // group), q.shape[1])
    scale, zero_point = (np.broadcast_to(p, shape).copy() for p in (q.scale, q.zero_point))
    book = q.codebook
    if book is not None and book.ndim > 1:
        book = np.broadcast_to(book, (*shape, book.shape[-1]))
        book = book[0, 0] if q.codebook.size == q.codebook.shape[-1] else book
    return scale, zero_point, group, book


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 9])
def test_linear(isa, rng, kind, m):
    q, x, bias = quantized(rng, kind), rows(rng, m), rng.normal(size=24).astype(np.float32)
    scale, zero_point, group, book = spread_over(q)
    for activation, low, high in ((None, -np.inf, np.inf), ("relu", 0, np.inf)):
        expected = reference.linear_grouped(x, q.codes, scale, zero_point, group, bias, low, high, book)
        same_bytes(ql.linear(x, q, bias, activation=activation), expected)
        same_bytes(ql.linear(x, ql.pack(q), bias, activation=activation), expected)
        out = np.empty_like(expected)
        assert ql.linear(x, q, bias, activation=activation, out=out) is out
        same_bytes(out, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_linear_is_within_its_budget(rng, kind):
    """Half a step of each row, and what a codebook's 8-bit table adds, which the docstring says."""
    q, x = quantized(rng, kind), rows(rng, 9)
    w, size = q.dequantize().astype(np.float64), np.abs(x).astype(np.float64)
    scale, _, group, book = spread_over(q)
    budget = np.abs(x).max(1, keepdims=True) / 254 * np.abs(w).sum(0)
    if book is not None:
        step = np.repeat(scale * np.abs(book).max(-1), group, 0)[: len(w)] / 127
        budget = budget + (size + np.abs(x).max(1, keepdims=True) / 254) @ (step / 2)
    assert np.all(np.abs(ql.linear(x, q) - x.astype(np.float64) @ w) <= budget * (1 + ORDER_TOLERANCE) + 1e-5)


def test_exact_tables_add_no_error(rng):
    """fp4's entries are multiples of a half."""
    q, x = quantized(rng, "mxfp4"), rows(rng, 9)
    a, s = reference.quantize_rows_symmetric(x)
    exact = (a.astype(np.float64) @ q.dequantize()) * s
    np.testing.assert_allclose(ql.linear(x, q), exact, rtol=ORDER_TOLERANCE, atol=ORDER_TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 9])
def test_weight_only(isa, rng, kind, m):
    q, x = quantized(rng, kind), rows(rng, m)
    expected = reference.matmul_grouped(x, q.dequantize())
    same_bytes(x @ q, expected)
    same_bytes(x[0] @ q, expected[0])
    same_bytes(x.reshape(m, 1, 100) @ q, expected.reshape(m, 1, 24))


@pytest.mark.parametrize("grid", ["fp8_e4m3", "mxfp8_e5m2", "kmeans"])
def test_large_codebooks_are_weight_only(rng, grid):
    q, x = ql.quantize(weight(rng), 8, grid=grid, axis=1), rows(rng, 3)
    same_bytes(x @ q, reference.matmul_grouped(x, q.dequantize()))
    for call in (ql.pack, lambda w: ql.linear(x, w)):
        with pytest.raises(ValueError, match=r"codebook of up to 16 entries"):
            call(q)


def test_rows_are_those_of_quantize(rng):
    x = rows(rng, 9)
    codes, scale = reference.quantize_rows_symmetric(x)
    q = ql.quantize(x, axis=0)
    same_bytes(q.codes, codes)
    same_bytes(q.scale, scale)


def test_packed_form_takes_half_a_byte(rng):
    q = ql.quantize(weight(rng, 1024, 1024), 4, axis=1, group_size=32)
    assert ql.pack(q).nbytes <= 1024 * 1024 * (1 / 2 + 4 / 32) + 1024
    assert "with scales" in repr(ql.pack(q))


@pytest.mark.parametrize("options", [{"group_size": 12}, {"group_size": 4}, {"axis": 0, "group_size": 8}])
def test_groups_that_no_kernel_takes(rng, options):
    q = ql.quantize(weight(rng), 4, **{"axis": 1, **options})
    for call in (ql.pack, lambda w: ql.linear(rows(rng, 3), w), lambda w: rows(rng, 3) @ w):
        with pytest.raises(ValueError, match=r"^[bwq]: expected .*group"):
            call(q)


def test_other_arguments(rng):
    q, x = quantized(rng, "int4"), rows(rng, 3)
    with pytest.raises(ValueError, match=r"^b: expected one scale or one per column"):
        ql.matmul_integer(np.ones((3, 100), np.int8), q)
    with pytest.raises(ValueError, match=r"^b: expected one scale or one per column"):
        ql.matmul_integer(np.ones((3, 100), np.int8), ql.pack(q))
    with pytest.raises(ValueError, match=r"^x: expected shape"):
        ql.linear(x[:, :50], q)
    with pytest.raises(ValueError, match=r"^bias: expected shape"):
        ql.linear(x, q, np.ones(23))
    with pytest.raises(ValueError, match=r"up to 8 bits"):
        ql.pack(ql.quantize(weight(rng), 10, axis=1, group_size=32))
    with pytest.raises(ValueError, match=r"2 dimensions"):
        ql.pack(ql.quantize(np.ones((2, 32, 4)), 4, axis=2, group_size=32, group_axis=1))
    with pytest.raises(ValueError, match=r"^activation_bits: "):
        ql.pack(q, activation_bits=7)
    with pytest.raises(ValueError, match=r"^x: expected floats"):
        ql.linear(ql.quantize(x), q)
    with pytest.raises(ValueError, match=r"^per: "):
        ql.linear(x, q, per="tensor")
    with pytest.raises(ValueError, match=r"^activation: "):
        ql.linear(x, q, activation="tanh")
    with pytest.raises(ValueError, match=r"^bias: expected finite"):
        ql.linear(x, q, np.full(24, np.inf))
    x[1, 7] = np.nan
    with pytest.raises(ValueError, match=r"^x: expected finite"):
        ql.linear(x, q)


def test_leading_shape(rng):
    q, x = quantized(rng, "uint4"), rows(rng, 6)
    for shape in ((100,), (2, 3, 100), (0, 100)):
        some = np.resize(x, shape)
        expected = ql.linear(some.reshape(-1, 100), q).reshape(*shape[:-1], 24)
        same_bytes(ql.linear(some, q), expected)


def test_threads_change_nothing(isa, rng):
    q, x, before = quantized(rng, "int4", 512, 700), rows(rng, 200, 512), ql.get_num_threads()
    expected = ql.linear(x, q), x @ q
    try:
        for n in (1, 2, 3):
            ql.set_num_threads(n)
            same_bytes(ql.linear(x, q), expected[0])
            same_bytes(x @ q, expected[1])
    finally:
        ql.set_num_threads(before)


def test_arguments_of_the_core():
    codes, scale = np.ones((32, 2), np.int8), np.ones((4, 2), np.float32)
    _core.Packed.grouped(codes, scale, None, None, 4, 8, "integer")
    book = np.ones(16, np.float32)
    together = "codes, scale, zero_point, codebook or purpose"
    for name, bad in (
        ("scale", (codes, scale[:3], None, None, 4, 8, "integer")),
        ("zero_point", (codes, scale, np.ones((4, 1), np.int32), None, 4, 8, "integer")),
        (together, (codes, scale, np.full((4, 2), 8, np.int32), None, 4, 8, "integer")),
        (together, (codes * 8, scale, None, None, 4, 8, "integer")),
        (together, (codes, scale * np.nan, None, None, 4, 8, "integer")),
        (together, (codes, scale * 0, None, None, 4, 8, "integer")),
        (together, (codes, scale, None, None, 9, 8, "integer")),
        ("group_size", (codes, scale, None, None, 4, 12, "integer")),
        ("group_size", (codes, scale, None, None, 4, 0, "integer")),
        ("purpose", (codes, scale, None, None, 4, 8, "other")),
        (together, (codes, scale, None, book, 4, 8, "integer")),
        (together, (codes.astype(np.uint8), scale, None, book[:1], 4, 8, "integer")),
        (together, (codes.astype(np.uint8), scale * 1e38, None, book * 1e38, 4, 8, "integer")),
        (together, (codes.astype(np.uint8), scale, None, np.ones(17, np.float32), 8, 8, "integer")),
        ("codebook", (codes.astype(np.uint8), scale, None, np.ones((4, 3, 16), np.float32), 4, 8, "integer")),
        ("codebook", (codes.astype(np.uint8), scale, None, np.float32(1), 4, 8, "integer")),
        ("codes", (codes[0], scale, None, None, 4, 8, "integer")),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: "):
            _core.Packed.grouped(*bad)
    packed, x = _core.Packed.grouped(codes, scale, None, None, 4, 8, "float"), np.ones((1, 32), np.float32)
    with pytest.raises(ValueError, match=r"^w: "):
        _core.linear_grouped(x, packed, None, None, None)
    with pytest.raises(TypeError, match=r"^w: "):
        _core.matmul_grouped(x, codes, None)


def test_depth_limit(isa):
    """One group of bytes, as deep as int32 holds its sums, and one step more."""
    limit = (2**31 - 1) // (127 * 255)
    for k in (limit, limit + 1):
        codes, x = np.full((k, 1), -128, np.int8), np.full((1, k), 1, np.float32)
        x[0, 0] = 0.5
        scale, zero_point = np.ones((1, 1), np.float32), np.full((1, 1), 127, np.int32)
        packed = _core.Packed.grouped(codes, scale, zero_point, None, 8, k, "integer")
        if k == limit:
            expected = reference.linear_grouped(x, codes, scale, 127, k)
            same_bytes(_core.linear_grouped(x, packed, None, None, None), expected)
            continue
        out = np.full((1, 1), 7, np.float32)
        with pytest.raises(OverflowError, match=r"^w: "):
            _core.linear_grouped(x, packed, None, None, out)
        assert out == 7
