"""Products with grouped weights equal the reference, bit for bit, on every instruction set."""

import numpy as np
import pytest
from reference import CLAMPS, dequantize, dequantize_codebook, spread
from reference import grouped as reference
from samples import LAYOUTS, same_bytes

from qlite import _core

pytestmark = pytest.mark.products

#: (rows, depth, columns, group): tiles and panels, whole and ragged; groups that do not divide the depth; one group.
SHAPES = [(m, 64, 40, 32) for m in (1, 2, 3, 4, 5, 6, 7, 13)]
SHAPES += [(1, 1, 1, 8), (3, 7, 5, 8), (2, 100, 33, 32), (5, 131, 70, 24), (7, 96, 32, 96), (4, 50, 3, 64)]
SHAPES += [(2, 520, 17, 128), (1, 2056, 31, 2056), (400, 40, 9, 16), (3, 300, 300, 40)]
SHAPES += [(17, 200, 70, 64), (33, 96, 31, 32), (16, 168, 64, 96), (48, 72, 9, 72), (390, 64, 40, 32)]
#: The same, with more depth and more rows than stay near at a time.
DEEP_SHAPES = [(150, 2120, 40, 64), (260, 1100, 33, 128), (33, 2056, 31, 32), (32, 2120, 35, 96)]
DEEP_SHAPES += [(34, 2120, 32, 1024), (17, 1032, 33, 1032), (5, 1000, 3, 1000), (140, 2600, 33, 1056)]
FEW_SHAPES = [(1, 40, 33, 32), (5, 131, 70, 24), (50, 17, 16, 8), (3, 300, 3, 304)]
EMPTY = [(0, 16, 4, 8), (3, 0, 4, 8), (3, 16, 0, 8)]


def group_count(k, group):
    return -(-k // group)


def scales(rng, k, n, group):
    return rng.uniform(0.001, 0.1, (group_count(k, group), n)).astype(np.float32)


def random_codes(rng, k, n, bits, signed):
    low = -(1 << (bits - 1)) if signed else 0
    return rng.integers(low, low + (1 << bits), (k, n)).astype(np.int8 if signed else np.uint8)


def random_zero_points(rng, scale, bits, signed):
    low = -(1 << (bits - 1)) if signed else 0
    return rng.integers(low, low + (1 << bits), scale.shape).astype(np.int32)


def rows(rng, m, k):
    return rng.normal(rng.normal(), 2.0 ** rng.integers(-20, 20), (m, k)).astype(np.float32)


def linear(x, packed, bias=None, activation=None, out=None):
    return _core.linear_grouped(x, packed, bias, activation, out)


def check(x, codes, scale, zero_point, bits, group, bias=None, activation=None, codebook=None):
    """Both products of the same weights."""
    z, offset = 0 if zero_point is None else zero_point, 0 if bias is None else bias
    packed = _core.Packed.grouped(codes, scale, zero_point, codebook, bits, group, "integer")
    expected = reference.linear_grouped(x, codes, scale, z, group, offset, *CLAMPS[activation], codebook)
    same_bytes(linear(x, packed, bias, activation), expected)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8])
def test_uniform(isa, rng, bits, signed):
    for m, k, n, group in SHAPES + EMPTY:
        x, codes, scale = rows(rng, m, k), random_codes(rng, k, n, bits, signed), scales(rng, k, n, group)
        bias = rng.normal(size=n).astype(np.float32)
        check(x, codes, scale, None, bits, group)
        check(x, codes, scale, random_zero_points(rng, scale, bits, signed), bits, group, bias, "relu6")
        one = np.full(scale.shape, -1 if signed else 1, np.int32)
        check(x, codes, scale, one, bits, group, bias)


@pytest.mark.parametrize("m, k, n, group", DEEP_SHAPES)
def test_deep(isa, rng, m, k, n, group):
    x, scale, bias = rows(rng, m, k), scales(rng, k, n, group), rng.normal(size=n).astype(np.float32)
    codes = random_codes(rng, k, n, 4, True)
    check(x, codes, scale, random_zero_points(rng, scale, 4, True), 4, group, bias, "relu")
    check(x, random_codes(rng, k, n, 8, True), scale, None, 8, group)
    check(x, (codes + 8).astype(np.uint8), scale, None, 4, group, bias, codebook=rng.normal(size=16).astype(np.float32))


@pytest.mark.parametrize("bits, fill", [(4, 15), (4, 0), (8, 255), (8, 0)])
def test_extremes(isa, bits, fill):
    """All products as great as they can be, of one sign: what a sum of 16 bits would not hold."""
    for k, group in ((32, 32), (64, 16), (1000, 1000), (2048, 256)):
        scale = np.ones((group_count(k, group), 20), np.float32)
        for x in (np.ones((7, k), np.float32), -np.ones((7, k), np.float32)):
            x[:, 0] *= 127  # codes 1, under a scale of 1 ...
            x[1:, ::2] = 127  # ... and half of them 127
            x[2:] = np.where(x[2:] > 0, 127, -127)
            x[:, 1] = 0  # not constant
            codes = np.full((k, 20), fill, np.uint8)
            for z in (0, (1 << bits) - 1):
                check(x, codes, scale, np.full(scale.shape, z, np.int32), bits, group)
            check(x, (codes ^ (1 << (bits - 1))).astype(np.int8) if bits == 8 else codes, scale, None, bits, group)


@pytest.mark.parametrize("entries", [2, 3, 8, 16])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_codebooks(isa, rng, entries, own):
    for m, k, n, group in SHAPES + EMPTY:
        x, scale = rows(rng, m, k), scales(rng, k, n, group)
        codes = rng.integers(0, entries, (k, n)).astype(np.uint8)
        book = np.sort(rng.normal(size=((*scale.shape, entries) if own else entries)).astype(np.float32))
        check(x, codes, scale, None, 4, group, codebook=book)
        bias = rng.normal(size=n).astype(np.float32)
        for other in (np.rint(book * 4) / 2 + 8, book * np.float32(1e-44), np.where(book > 0.5, np.nan, book)):
            check(x, codes, scale, None, 4, group, bias, "relu", other)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [1, 2, 4, 7, 8])
def test_weight_only(isa, rng, bits, signed):
    for m, k, n, group in [*FEW_SHAPES, *EMPTY]:
        x, codes, scale = rows(rng, m, k), random_codes(rng, k, n, bits, signed), scales(rng, k, n, group)
        for zero_point in (None, random_zero_points(rng, scale, bits, signed)):
            packed = _core.Packed.grouped(codes, scale, zero_point, None, bits, group, "float")
            z = 0 if zero_point is None else zero_point
            expected = reference.matmul_grouped(x, dequantize(codes, scale, z, group_size=group, group_axis=0))
            same_bytes(_core.matmul_grouped(x, packed, None), expected)


@pytest.mark.parametrize("entries", [2, 16, 100, 256])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_weight_only_with_codebooks(isa, rng, entries, own):
    for m, k, n, group in [*FEW_SHAPES, *EMPTY]:
        x, scale = rows(rng, m, k), scales(rng, k, n, group)
        codes = rng.integers(0, entries, (k, n)).astype(np.uint8)
        book = rng.normal(size=((*scale.shape, entries) if own else entries)).astype(np.float32)
        packed = _core.Packed.grouped(codes, scale, None, book, 4 if entries <= 16 else 8, group, "float")
        books = np.repeat(book, group, axis=0)[:k] if own else book
        w = dequantize_codebook(codes, spread(scale, codes.shape, group_size=group, group_axis=0), books)
        same_bytes(_core.matmul_grouped(x, packed, None), reference.matmul_grouped(x, w))


def test_codebook_s8(rng):
    fp4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
    table, step = reference.codebook_s8(fp4)
    assert step == 0.5 and np.array_equal(table * step, fp4)
    book = rng.normal(size=16).astype(np.float32)
    table, step = reference.codebook_s8(book)
    assert np.abs(table).max() == 127
    assert np.all(np.abs(table * np.float64(step) - book) <= np.float64(step) * 0.5001)
    tiny = np.array([np.nan, np.inf, 3e-45, -300 * 1.4e-45], np.float32)
    assert reference.codebook_s8(tiny)[0].tolist() == [0, 0, 1, -127]


def special_rows(k):
    """Rows whose range is zero, one-sided, tiny or huge."""
    ramp = np.linspace(-1, 1, k, dtype=np.float32)
    made = [ramp, 0 * ramp, -0.0 * ramp, 5 + ramp, -5 + ramp, np.abs(ramp) * 3.4e38]
    made += [ramp * size for size in (1e-44, 1e-38, 1e-30, 3.4e38)]
    made += [np.full(k, value) for value in (3.0, -3.0, 1e-45, np.finfo(np.float32).max)]
    return np.array(made, np.float32)


def test_special_rows(isa, rng):
    x, codes, scale = special_rows(80), random_codes(rng, 80, 19, 4, True), scales(rng, 80, 19, 32)
    check(x, codes, scale, None, 4, 32)
    packed = _core.Packed.grouped(codes, scale, None, None, 4, 32, "integer")
    together = linear(x, packed)
    for row in range(len(x)):
        same_bytes(linear(x[row : row + 1], packed), together[row : row + 1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_inputs_are_refused(isa, rng, bad):
    packed = _core.Packed.grouped(np.ones((24, 3), np.int8), np.ones((3, 3), np.float32), None, None, 4, 8, "integer")
    for position in (0, 7, 23):
        x, out = np.ones((900, 24), np.float32), np.full((900, 3), 77, np.float32)
        x[-1, position] = bad
        with pytest.raises(ValueError, match=r"^x: "):
            linear(x, packed, out=out)
        assert (out == 77).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(isa, rng, layout):
    plain, codes, scale = rows(rng, 9, 40), random_codes(rng, 40, 11, 4, True), scales(rng, 40, 11, 16)
    lay = LAYOUTS[layout]
    zero_point = random_zero_points(rng, scale, 4, True)
    packed = _core.Packed.grouped(lay(codes), lay(scale), lay(zero_point), None, 4, 16, "integer")
    expected = reference.linear_grouped(plain, codes, scale, zero_point, 16)
    same_bytes(linear(lay(plain), packed), expected)
    if layout != "read_only":
        out = lay(np.zeros(expected.shape, np.float32))
        assert linear(plain, packed, out=out) is out
        np.testing.assert_array_equal(out, expected)
