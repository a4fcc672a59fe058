"""The exact integer product equals the reference for every shape, sign, zero point and instruction set."""

import itertools

import numpy as np
import pytest
import reference
from samples import LAYOUTS, codes, one, same_bytes, zero_points

from qlite import _core

pytestmark = pytest.mark.products

EDGES = [*range(1, 18), 31, 32, 33, 63, 64, 65]  # around every tile height and width
DEPTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 130]
SIGNS = list(itertools.product([np.int8, np.uint8], repeat=2))
SIGN_IDS = ["s8s8", "s8u8", "u8s8", "u8u8"]
FILLS = ["random", "extreme", "lowest", "highest"]
# The deepest exact product of each pair of signs with no zero points: floor(2**31 / greatest |a b|), one less where
# the product is positive.
DEPTH_LIMITS = {("int8", "int8"): 131071, ("uint8", "int8"): 65793, ("int8", "uint8"): 65793, ("uint8", "uint8"): 33025}


def product(a, b, za=None, zb=None, out=None):
    za = np.zeros(1, np.int32) if za is None else za
    return _core.matmul_integer(a, _core.Packed.matrix(b, zb, "integer"), za, out)


def expected_product(a, b, za=None, zb=None):
    return reference.matmul_integer(a, b, 0 if za is None else za.reshape(-1, 1), 0 if zb is None else zb)


@pytest.mark.parametrize("a_dtype, b_dtype", SIGNS, ids=SIGN_IDS)
def test_every_edge(isa, rng, a_dtype, b_dtype):
    """All pairs of M and N; the depth, fill and zero points walk through their lists with strides that share no
    factor, so that every pair of properties meets somewhere."""
    for i, (m, n) in enumerate(itertools.product(EDGES, EDGES)):
        k = DEPTHS[i % len(DEPTHS)]
        fill = FILLS[i // 3 % len(FILLS)]
        a, b = codes(rng, (m, k), a_dtype, fill), codes(rng, (k, n), b_dtype, fill)
        za = [None, zero_points(rng, 1, a_dtype), zero_points(rng, m, a_dtype)][i % 3]
        zb = [None, zero_points(rng, n, b_dtype)][i // 2 % 2]
        same_bytes(product(a, b, za, zb), expected_product(a, b, za, zb))


@pytest.mark.parametrize("a_dtype, b_dtype", SIGNS, ids=SIGN_IDS)
@pytest.mark.parametrize(
    "m, k, n",
    [(1, 1000, 1), (3, 2000, 3), (1, 7, 1000), (1000, 1, 1), (300, 3, 5), (2, 0, 3), (0, 5, 3), (2, 5, 0), (0, 0, 0),
     (129, 257, 130)],
)  # fmt: skip
def test_awkward_shapes(isa, rng, m, k, n, a_dtype, b_dtype):
    a, b = codes(rng, (m, k), a_dtype), codes(rng, (k, n), b_dtype)
    za, zb = zero_points(rng, m, a_dtype), zero_points(rng, n, b_dtype)
    same_bytes(product(a, b), expected_product(a, b))
    same_bytes(product(a, b, za, zb), expected_product(a, b, za, zb))


def by_columns(b):
    """The same codes, each column in one piece."""
    return np.ascontiguousarray(b.T).T


@pytest.mark.parametrize("a_dtype, b_dtype", SIGNS, ids=SIGN_IDS)
def test_packing_by_columns(isa, rng, a_dtype, b_dtype):
    for i, (k, n) in enumerate(itertools.product([*DEPTHS, 255, 256, 257, 513], [1, 2, 15, 16, 17, 33, 64, 65, 130])):
        a, b = codes(rng, (3, k), a_dtype), codes(rng, (k, n), b_dtype)
        zb = [None, zero_points(rng, n, b_dtype)][i % 2]
        same_bytes(product(a, by_columns(b), None, zb), expected_product(a, b, None, zb))


@pytest.mark.parametrize("a_dtype, b_dtype", SIGNS, ids=SIGN_IDS)
def test_unpacked(isa, rng, a_dtype, b_dtype):
    """Few rows, which are multiplied as they are, and more of them; codes by rows and by columns."""
    for i, (m, n) in enumerate(itertools.product([1, 2, 3, 4, 5, 9], [1, 2, 15, 16, 17, 31, 32, 33, 47, 64, 130])):
        k = DEPTHS[i % len(DEPTHS)]
        a, b = codes(rng, (m, k), a_dtype, FILLS[i % 4]), codes(rng, (k, n), b_dtype, FILLS[i // 4 % 4])
        za = zero_points(rng, m, a_dtype) if i % 3 else np.zeros(1, np.int32)
        zb = zero_points(rng, n, b_dtype) if i % 2 else np.zeros(n, np.int32)
        for layout in (b, by_columns(b)):
            same_bytes(_core.matmul_unpacked(a, layout, za, zb, None), expected_product(a, b, za, zb))


@pytest.mark.parametrize("m, k, n", [(0, 5, 3), (2, 0, 3), (2, 5, 0), (1, 70, 1100), (3, 33026, 2), (4, 97, 2500)])
def test_unpacked_shapes(isa, rng, m, k, n):
    a, b = codes(rng, (m, k), np.int8), codes(rng, (k, n), np.int8)
    same_bytes(
        _core.matmul_unpacked(a, b, one(3, np.int32), np.zeros(n, np.int32), None), expected_product(a, b, one(3))
    )


@pytest.mark.parametrize("m", [1, 5])
def test_unpacked_errors(isa, m):
    a, b = np.zeros((m, 3), np.int8), np.zeros((3, 20), np.int8)
    zero, zeros = np.zeros(1, np.int32), np.zeros(20, np.int32)
    for za, zb, name in ((one(128, np.int32), zeros, "a_zero_point"), (zero, zeros - 129, "b_zero_point")):
        out = np.ones((m, 20), np.int32)
        with pytest.raises(ValueError, match=name):
            _core.matmul_unpacked(a, b, za, zb, out)
        assert (out == 1).all()
    deep = np.full((m, 40000), -128, np.int8)
    with pytest.raises(OverflowError, match="a, b"):
        _core.matmul_unpacked(deep, np.full((40000, 20), -128, np.int8), one(127, np.int32), zeros + 127, None)


@pytest.mark.parametrize("a_dtype, b_dtype", SIGNS, ids=SIGN_IDS)
def test_every_pair_of_codes(isa, a_dtype, b_dtype):
    """All 65,536 products, at every place of a group of 16 along k."""
    a_all, b_all = (np.arange(256, dtype=np.uint8).view(dtype) for dtype in (a_dtype, b_dtype))
    for place in range(16):
        a, b = np.zeros((256, 16), a_dtype), np.zeros((16, 256), b_dtype)
        a[:, place], b[place] = a_all, b_all
        same_bytes(product(a, b), np.outer(a_all.astype(np.int32), b_all.astype(np.int32)).astype(np.int32))


@pytest.mark.parametrize("a_dtype, b_dtype", SIGNS, ids=SIGN_IDS)
def test_extremes_in_neighbouring_lanes(isa, a_dtype, b_dtype):
    """Every pair of places that could share a lane, filled with every combination of extremes."""
    k = 16
    extremes = [[np.iinfo(dtype).min, 0, 1, np.iinfo(dtype).max] for dtype in (a_dtype, b_dtype)]
    pairs = list(itertools.combinations(range(k), 2))
    for a0, a1 in itertools.product(extremes[0], repeat=2):
        a = np.zeros((len(pairs), k), a_dtype)
        for row, (i, j) in zip(a, pairs, strict=True):
            row[i], row[j] = a0, a1
        b = np.array(list(itertools.product(extremes[1], repeat=2)), b_dtype)
        b = np.tile(b.T, (k // 2, 1))
        same_bytes(product(a, b), expected_product(a, b))


@pytest.mark.parametrize("a_dtype, b_dtype", SIGNS, ids=SIGN_IDS)
def test_depth_limit(isa, a_dtype, b_dtype):
    limit = DEPTH_LIMITS[np.dtype(a_dtype).name, np.dtype(b_dtype).name]
    low_a, low_b, high_a, high_b = (getattr(np.iinfo(d), e) for e in ("min", "max") for d in (a_dtype, b_dtype))
    for a_fill, b_fill in itertools.product((low_a, high_a), (low_b, high_b)):
        a, b = np.full((2, limit), a_fill, a_dtype), np.full((limit, 3), b_fill, b_dtype)
        same_bytes(product(a, b), np.full((2, 3), limit * int(a_fill) * int(b_fill), np.int32))
    deepest = low_b if abs(int(low_b)) > high_b else high_b
    a, b = np.zeros((1, limit + 1), a_dtype), np.full((limit + 1, 1), deepest, b_dtype)
    with pytest.raises(OverflowError, match=r"^a, b: "):
        product(a, b)
    same_bytes(product(a, np.zeros_like(b)), np.zeros((1, 1), np.int32))


@pytest.mark.parametrize("a_dtype, b_dtype", SIGNS, ids=SIGN_IDS)
def test_zero_points_lower_the_depth_limit_and_never_wrap(isa, a_dtype, b_dtype):
    """Exact, or an error where these weights and some a could leave int32."""
    (a_min, a_max), (b_min, b_max) = ((np.iinfo(d).min, np.iinfo(d).max) for d in (a_dtype, b_dtype))
    for za, zb in itertools.product((a_min, a_max), (b_min, b_max)):
        za_array, zb_array = one(za, np.int32), np.full(2, zb, np.int32)
        for k in (33024, 33025, 33026, 65793, 65794, 131072):
            for a_fill, b_fill in itertools.product((a_min, a_max), (b_min, b_max)):
                exact = k * (int(a_fill) - za) * (int(b_fill) - zb)
                a, b = np.full((1, k), a_fill, a_dtype), np.full((k, 2), b_fill, b_dtype)
                greatest = k * max(a_max - za, za - a_min) * abs(int(b_fill) - zb)
                if greatest > 2**31 - 1:
                    with pytest.raises(OverflowError, match=r"^a, b: "):
                        product(a, b, za_array, zb_array)
                else:
                    assert product(a, b, za_array, zb_array).tolist() == [[exact, exact]]


@pytest.mark.parametrize("a_dtype, b_dtype", SIGNS, ids=SIGN_IDS)
def test_seven_bits(isa, rng, a_dtype, b_dtype):
    """Weights packed for codes from 0 to 127: the fast kernels of AVX2 add pairs of products in 16 bits."""
    for i, (m, n) in enumerate(itertools.product(EDGES, EDGES)):
        k, fill = DEPTHS[i % len(DEPTHS)], FILLS[i // 3 % len(FILLS)]
        a = codes(rng, (m, k), np.int8, fill) & np.int8(127) if i % 2 else np.full((m, k), 127, np.int8)
        b = codes(rng, (k, n), b_dtype, fill)
        a = a.astype(a_dtype)
        za, zb = zero_points(rng, [1, m][i % 2], a_dtype), zero_points(rng, n, b_dtype)
        same_bytes(
            _core.matmul_integer(a, _core.Packed.matrix(b, zb, "integer7"), za, None), expected_product(a, b, za, zb)
        )


@pytest.mark.parametrize("bad", [np.array([[0, 128]], np.uint8), np.array([[0, -1]], np.int8)])
def test_eight_bits_where_seven_were_declared(isa, bad):
    with pytest.raises(ValueError, match=r"^a: expected codes from 0 to 127"):
        _core.matmul_integer(
            bad, _core.Packed.matrix(np.zeros((2, 3), np.int8), None, "integer7"), one(0, np.int32), None
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(isa, rng, layout):
    for dtype in (np.int8, np.uint8):
        a, b = codes(rng, (13, 37), dtype), codes(rng, (37, 21), dtype)
        za, zb = zero_points(rng, 13, dtype), zero_points(rng, 21, dtype)
        expected = expected_product(a, b, za, zb)
        same_bytes(product(LAYOUTS[layout](a), b, za, zb), expected)
        same_bytes(product(a, LAYOUTS[layout](b), za, zb), expected)
        same_bytes(product(a, LAYOUTS[layout](b.T).T, za, zb), expected)


def test_same_row_in_any_batch(isa, rng):
    """M = 1 may take another path than M = 100: a row's result must not depend on its company."""
    a, b = codes(rng, (100, 77), np.uint8), codes(rng, (77, 45), np.int8)
    packed, za = _core.Packed.matrix(b, None, "integer"), one(9, np.int32)
    together = _core.matmul_integer(a, packed, za, None)
    for i in range(100):
        same_bytes(_core.matmul_integer(a[i : i + 1], packed, za, None), together[i : i + 1])


def test_packed_weights_remember_their_instruction_set(rng):
    a, b = codes(rng, (5, 33), np.int8), codes(rng, (33, 17), np.uint8)
    before = _core.info()["isa"]
    runnable = _core.info()["isas_runnable"]
    try:
        packed = []
        for name in runnable:
            _core.isa_select(name)
            packed.append(_core.Packed.matrix(b, None, "integer"))
        for name in runnable:
            _core.isa_select(name)
            for made_for, weight in zip(runnable, packed, strict=True):
                assert weight.isa == made_for
                same_bytes(_core.matmul_integer(a, weight, one(0, np.int32), None), expected_product(a, b))
    finally:
        _core.isa_select(before)


@pytest.mark.parametrize("purpose", ["integer", "integer7", "float"])
def test_packed_describes_itself(isa, purpose):
    packed = _core.Packed.matrix(np.zeros((5, 7), np.int8), None, purpose)
    assert (packed.shape, packed.isa, packed.purpose) == ((5, 7), isa, purpose)
    assert packed.nbytes >= 35


def test_out(isa, rng):
    a, b = codes(rng, (6, 9), np.int8), codes(rng, (9, 11), np.int8)
    expected = expected_product(a, b)
    out = np.zeros((6, 11), np.int32)
    assert product(a, b, out=out) is out
    same_bytes(out, expected)
    bad = [np.zeros((6, 11), np.int64), np.zeros((6, 12), np.int32), np.zeros(66, np.int32), LAYOUTS["read_only"](out)]
    for array in bad:
        with pytest.raises((TypeError, ValueError), match=r"^out: "):
            product(a, b, out=array)


def test_an_out_that_overlaps_the_input(isa, rng):
    memory = codes(rng, (64 * 64,), np.int8)
    b = codes(rng, (16, 16), np.int8)
    a, out = memory[:256].reshape(16, 16), memory[:1024].view(np.int32).reshape(16, 16)
    expected = expected_product(a.copy(), b)
    product(a, b, out=out)
    same_bytes(out, expected)


@pytest.mark.parametrize("dtype", ["f4", "i4", "i2", "?", "O"])
def test_other_dtypes_are_refused(dtype):
    good = np.zeros((3, 3), np.int8)
    with pytest.raises(TypeError, match=r"^a: "):
        product(np.zeros((3, 3), dtype), good)
    with pytest.raises(TypeError, match=r"^codes: "):
        product(good, np.zeros((3, 3), dtype))


def test_shapes_and_zero_points_that_do_not_fit():
    a, b = np.zeros((2, 3), np.int8), np.zeros((3, 4), np.int8)
    floating = _core.Packed.matrix(b, None, "float")
    cases = [
        ("a", lambda: product(np.zeros((2, 4), np.int8), b)),
        ("a", lambda: product(np.zeros(3, np.int8), b)),
        ("codes", lambda: product(a, np.zeros(3, np.int8))),
        ("a_zero_point", lambda: product(a, b, za=np.zeros(3, np.int32))),
        ("a_zero_point", lambda: product(a, b, za=np.zeros(0, np.int32))),
        ("a_zero_point", lambda: product(a, b, za=one(128, np.int32))),
        ("a_zero_point", lambda: product(a, b, za=one(-129, np.int32))),
        ("zero_point", lambda: product(a, b, zb=np.zeros(3, np.int32))),
        ("zero_point", lambda: product(a, b, zb=np.full(4, 128, np.int32))),
        (
            "a_zero_point",
            lambda: _core.matmul_integer(a, floating, one(0, np.int32), None),
        ),
    ]
    for name, case in cases:
        with pytest.raises(ValueError, match=rf"^{name}: "):
            case()
