"""The measured loss is what the definitions say, to the bit, and its parts add up exactly."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import LENGTHS, same_bytes

import qlite as ql
from qlite import _core

PROPERTY = settings(derandomize=True, deadline=None, database=None, max_examples=150)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=9)
# Sums of float64 in another order: a few units of the 53rd bit times the square root of the length.
SUM_TOLERANCE = 1e-12
# Sums of logarithms, which are up to 40, that cancel.
KL_TOLERANCE = 1e-13

FIELDS = ["signal", "clipping", "rounding", "product", "power", "greatest", "clipped", "divergence"]
RANGES = {np.int8: (-127, 127), np.uint8: (0, 255), np.int16: (-2048, 2047), np.uint16: (0, 65535)}
FP4 = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
FP4_NAN = np.where(np.arange(16) % 8 == 7, np.float32(np.nan), FP4)


def is_reference(w, codes, scale, zero_point, codebook, qmin, qmax, axis, *groups):
    got = _core.error_sums(w, codes, scale, zero_point, codebook, qmin, qmax, axis, *groups)
    expected = reference.error_sums(w, codes, scale, zero_point, codebook, qmin, qmax, axis, *groups)
    for i, field in enumerate(FIELDS):
        try:
            same_bytes(*(np.where(np.isnan(x[:, i]), np.nan, x[:, i]) for x in (got, expected)))
        except AssertionError as error:
            raise AssertionError(f"{field}: {error}") from None
    return got


def grid(rng, shape, qmin, qmax):
    """Scales of which the ends of the range clip some of a normal distribution, and zero points anywhere."""
    scale = (rng.uniform(4, 7, shape) / (qmax - qmin + 1)).astype(np.float32)
    return scale, rng.integers(qmin, qmax + 1, shape, dtype=np.int32)


def moved(rng, codes, share, qmin, qmax):
    """Some codes replaced by any others."""
    other = rng.integers(qmin, qmax + 1, codes.shape).astype(codes.dtype)
    return np.where(rng.random(codes.shape) < share, other, codes)


def coded(w, codebook, scale):
    """The codes of the entries nearest to w / scale."""
    t = w.astype(np.float64) / scale
    return np.nanargmin(np.abs(t[..., None] - codebook), -1).astype(np.uint8)


@PROPERTY
@given(
    w=hnp.arrays(np.float32, SHAPES, elements=st.floats(-(2.0**50), 2.0**50, width=32)),
    scale=st.floats(2.0**-20, 2.0**20, width=32),
)
def test_error_is_split_exactly(w, scale):
    q = ql.quantize(w, scale=scale)
    e = ql.quantization_error(w, q)
    exact, values = w.astype(np.float64), q.dequantize().astype(np.float64)
    squared = (exact - values) ** 2
    steps = np.rint(w / q.scale)
    is_clipped = np.abs(steps) > 127
    assert e.mse == e.clipping + e.rounding
    for got, expected in (
        (e.mse, squared.mean()),
        (e.clipping, np.where(is_clipped, squared, 0).mean()),
        (e.rounding, np.where(is_clipped, 0, squared).mean()),
        (e.clipped_share, is_clipped.mean()),
        (e.max_abs, np.abs(exact - values).max()),
    ):
        assert math.isclose(got, expected, rel_tol=SUM_TOLERANCE)
    if squared.any() and exact.any():
        assert math.isclose(e.sqnr_db, 10 * math.log10((exact**2).sum() / squared.sum()), abs_tol=1e-9)
    assert -1 - SUM_TOLERANCE <= e.cosine <= 1 + SUM_TOLERANCE
    assert e.kl >= 0
    assert vars(e) == vars(q.error(w))


# ---- the same bits as the reference, on every instruction set ----------------------------------------


@pytest.mark.parametrize("n", [n for n in LENGTHS if n > 0] + [511, 512, 513, 2000])
@pytest.mark.parametrize("dtype", RANGES)
def test_every_length(isa, rng, dtype, n):
    qmin, qmax = RANGES[dtype]
    w = rng.standard_normal(n).astype(np.float32)
    scale, zero_point = grid(rng, 1, qmin, qmax)
    codes = np.clip(np.rint(w / scale) + zero_point, qmin, qmax).astype(dtype)
    for some in (codes, moved(rng, codes, 0.1, qmin, qmax)):
        is_reference(w, some, scale, zero_point, None, qmin, qmax, -1)
    is_reference(w[:130], codes[:130], scale, zero_point, None, qmin, qmax, 0)


# The shape of the data and of its scales, the size of a group and the axis that is cut.
SHARING = [
    ((40, 30), (1, 1), 0, 0),
    ((40, 30), (40, 1), 0, 0),
    ((40, 30), (1, 30), 0, 0),
    ((40, 30), (40, 4), 8, 1),
    ((40, 30), (6, 30), 7, 0),
    ((3, 700), (3, 11), 64, 1),
    ((700, 3), (1, 3), 0, 0),
    ((5, 9, 11), (1, 9, 1), 0, 0),
    ((5, 9, 11), (5, 9, 3), 4, 2),
    ((5, 90, 7), (1, 90, 1), 0, 0),
    ((2, 3, 600), (2, 1, 600), 0, 0),
    ((2, 200, 3), (2, 1, 1), 0, 0),
    ((1, 1, 1), (1, 1, 1), 0, 0),
    ((), (), 0, 0),
]


@pytest.mark.parametrize(("shape", "along", "group_size", "group_axis"), SHARING)
@pytest.mark.parametrize("bits", [2, 8])
def test_every_layout_and_axis(isa, rng, shape, along, group_size, group_axis, bits):
    qmin, qmax = -(1 << bits - 1), (1 << bits - 1) - 1
    w = rng.standard_normal(shape).astype(np.float32)
    scale, zero_point = grid(rng, along, qmin, qmax)
    s, z = (reference.spread(p, shape, group_size, group_axis) for p in (scale, zero_point))
    codes = moved(rng, np.clip(np.rint(w / s) + z, qmin, qmax).astype(np.int8), 0.02, qmin, qmax)
    for axis in range(-1, w.ndim):
        is_reference(
            w, codes, np.asarray(scale), np.asarray(zero_point), None, qmin, qmax, axis, group_size, group_axis
        )


BOOKS = {
    "fp4": FP4,
    "fp4 with NaN": FP4_NAN,
    "two": np.float32([-1, 1]),
    "one": np.float32([0.5]),
    "equal": np.float32([0.5, 0.5, np.nan, 0.5]),
    "uneven": np.float32([-1, -0.999, 0, 1e-30, 3e-30, 0.7, 0.8, 5]),
    "huge": np.float32([-3e38, 0, 3e38]),
    "neighbours": np.float32([1, np.nextafter(np.float32(1), 2), 2]),
    "256": np.sort(np.random.default_rng(1).standard_normal(256)).astype(np.float32),
}


@pytest.mark.parametrize("name", BOOKS)
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_every_codebook(isa, rng, name, axis):
    book = BOOKS[name]
    w = np.float32([0, -0.0, 1e-30, -6e38 / 2, 3.4e38, 1, -1])
    w = np.concatenate([w, rng.standard_normal(26 * 31 - len(w)) * 4]).astype(np.float32).reshape(26, 31)
    scale = rng.uniform(0.5, 2, (26, 1)).astype(np.float32)
    codes, valid = coded(w, book, scale), np.flatnonzero(~np.isnan(book))
    other = valid[rng.integers(0, len(valid), w.shape)].astype(np.uint8)
    for some in (codes, np.where(rng.random(w.shape) < 0.1, other, codes)):
        is_reference(w, some, scale, np.zeros((26, 1), np.int32), book, 0, 255, axis)


@pytest.mark.parametrize(("shape", "along", "group_size", "group_axis"), SHARING)
def test_a_codebook_for_each_scale(isa, rng, shape, along, group_size, group_axis):
    w = rng.standard_normal(shape).astype(np.float32)
    scale = np.asarray(rng.uniform(0.5, 2, along).astype(np.float32))
    books = np.sort(rng.standard_normal((*along, 4)).astype(np.float32))
    codes = rng.integers(0, 4, shape).astype(np.uint8)
    for axis in range(-1, w.ndim):
        is_reference(w, codes, scale, np.zeros(along, np.int32), books, 0, 3, axis, group_size, group_axis)


def test_many_channels_of_wide_codes(isa, rng):
    """More channels than are measured at a time, of codes of which each uses few."""
    w = rng.standard_normal((6, 30)).astype(np.float32)
    scale, zero_point = grid(rng, (1, 1), 0, 65535)
    codes = np.clip(np.rint(w / scale) + zero_point, 0, 65535).astype(np.uint16)
    for axis in (-1, 0, 1):
        is_reference(w, codes, scale, zero_point, None, 0, 65535, axis)


def test_extreme_values(isa):
    w = np.float32([3.4e38, -3.4e38, 1e-45, -1e-45, 0, -0.0, 2.0**30, 127.5, -127.5, 126.5, 0.5, 1.5, -0.5])
    for scale in (np.finfo(np.float32).tiny, 1e-30, 1.0, 3e38):
        for code in (-128, -127, 0, 127):
            codes, scales = np.full(w.shape, code, np.int8), np.float32([scale])
            for qmin, zero_point in ((-127, 0), (-128, -128), (-128, 127)):
                is_reference(w, codes, scales, np.int32([zero_point]), None, qmin, 127, -1)


# ---- what it means -----------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_error_of_each_channel(rng, axis):
    w = rng.standard_t(3, size=(3, 4, 5))
    q = ql.quantize(w, axis=1, scale=[0.01, 0.02, 0.01, 0.02])
    together = ql.quantization_error(w, q, axis=axis)
    for i in range(w.shape[axis]):
        index = (slice(None),) * (axis % 3) + (i,)
        alone = ql.quantization_error(w[index], q[index])
        for name, value in vars(alone).items():
            np.testing.assert_allclose(getattr(together, name)[i], value, rtol=SUM_TOLERANCE, atol=KL_TOLERANCE)
    assert (together.clipping > 0).any()
    assert (together.mse == together.clipping + together.rounding).all()


def test_the_ends_of_the_range_are_not_clipped():
    steps = np.float32([-129, -128.6, -128.4, -128, 127, 127.4, 127.6, 128])
    e = ql.quantization_error(steps, ql.quantize(steps, scale=1.0, narrow=False))
    assert e.clipped_share == 4 / 8
    assert math.isclose(e.clipping, (1 + 0.36 + 0.36 + 1) / 8, rel_tol=1e-5)


def test_the_ends_of_a_codebook_are_not_clipped():
    """fp4 reaches to 6, and 4 is the entry before it: up to 7 a value is rounded."""
    w = np.float32([-7.01, -7, -6, 6, 7, 7.01])
    codes = np.uint8([15, 15, 15, 7, 7, 7])
    sums = is_reference(w, codes, np.float32([1]), np.int32([0]), FP4, 0, 15, -1)[0]
    assert sums[FIELDS.index("clipped")] == 2
    assert math.isclose(sums[FIELDS.index("clipping")], 2 * 1.01**2, rel_tol=1e-5)
    assert sums[FIELDS.index("rounding")] == 2


def test_error_of_perfect_copies():
    e = ql.quantization_error(np.zeros(3), ql.quantize(np.zeros(3), scale=1.0))
    assert (e.mse, e.sqnr_db, e.cosine, e.max_abs, e.kl) == (0, np.inf, 1, 0, 0)


# ---- divergence --------------------------------------------------------------------------------------


def kl(w, scale=1.0, **options):
    return float(ql.quantization_error(w, ql.quantize(w, scale=scale, **options)).kl)


def test_no_divergence_on_the_grid(rng):
    for count in (1, 100, 100_000):
        assert kl(rng.integers(-127, 128, count) * 0.25, 0.25) == 0
    levels = rng.integers(-3, 4, (50, 6)).astype(np.float32)
    q = ql.quantize(levels * [1, 2, 3, 4, 5, 6], scale=[1, 2, 3, 4, 5, 6], axis=1)
    assert (ql.quantization_error(levels * [1, 2, 3, 4, 5, 6], q, axis=1).kl == 0).all()
    fp4 = FP4[rng.integers(0, 16, 1000)]
    codes = np.argmax(fp4[:, None] == FP4, 1).astype(np.uint8)
    assert _core.error_sums(fp4, codes, np.float32([1]), np.int32([0]), FP4, 0, 15, -1)[0, 7] == 0
    other_zero = np.where(codes == 0, 8, codes).astype(np.uint8)
    assert _core.error_sums(fp4, other_zero, np.float32([1]), np.int32([0]), FP4, 0, 15, -1)[0, 7] == 0


def test_no_divergence_where_the_values_of_a_code_fill_its_eighths_evenly(rng):
    eighths = (np.arange(-2 * 8, 3 * 8) + 0.5) / 8 - 0.5
    assert kl(np.repeat(eighths, 5)) == 0
    per_code = rng.integers(1, 9, 5)
    assert kl(np.repeat(eighths, np.repeat(per_code, 8))) == 0
    assert kl(np.append(eighths, 0.01)) > 0


def test_divergence_by_hand():
    """Code 0 has the values 0, 0 and 0.4, code 1 has 1; 1 is the last code: 9 is clipped."""
    w = np.float32([0, 0, 0.4, 1])
    assert math.isclose(kl(w), 0.5 * math.log(0.5 / 0.375) + 0.25 * math.log(0.25 / 0.375), rel_tol=1e-12)
    codes = np.uint8([0, 0, 0, 1, 1])
    got = _core.error_sums(np.append(w, 9), codes, np.float32([1]), np.int32([0]), None, 0, 1, -1)[0, 7]
    rare = 0.2 * math.log(0.2 / 1e-9)
    assert got < rare
    # p: 0, 0 | 0.4 | 1 | 9 in the outermost eighth. q: 3 of 4 over two eighths, 1 of 4 over two.
    shares = [(0.4, 0.375), (0.2, 0.375), (0.2, 0.125), (0.2, 0.125)]
    assert math.isclose(got, sum(p * math.log(p / q) for p, q in shares), rel_tol=1e-12)


def test_divergence_of_a_code_that_has_only_clipped_values():
    codes = np.uint8([0, 0, 0, 1])
    got = _core.error_sums(np.float32([0, 0, 0, 9]), codes, np.float32([1]), np.int32([0]), None, 0, 1, -1)[0, 7]
    assert math.isclose(got, 0.75 * math.log(0.75) + 0.25 * math.log(0.25 / 1e-9), rel_tol=1e-12)
    everything = _core.error_sums(
        np.float32([8, 9]), codes[3:].repeat(2), np.float32([1]), np.int32([0]), None, 0, 1, -1
    )
    assert math.isclose(everything[0, 7], math.log(1e9), rel_tol=1e-12)


def test_divergence_grows_with_clipping(rng):
    w = rng.standard_normal(200_000)
    by_scale = [kl(w, scale) for scale in (0.04, 0.02, 0.015, 0.01, 0.005)]
    assert by_scale == sorted(by_scale)
    assert by_scale[0] < 0.01
    assert by_scale[-1] > 1


def test_divergence_of_codes_that_are_not_the_nearest(rng):
    w = rng.standard_normal(10_000).astype(np.float32)
    p = ql.quantize(w, scale=0.1).qparams
    nearest = ql.quantize(w, p)
    shifted = ql.QArray.from_codes(np.clip(nearest.codes.astype(int) + 3, -127, 127).astype(np.int8), 0.1)
    constant = ql.QArray.from_codes(np.zeros(w.shape, np.int8), 0.1)
    errors = [ql.quantization_error(w, q).kl for q in (nearest, shifted, constant)]
    assert 0 <= errors[0] < errors[1] < errors[2]


def test_divergence_does_not_depend_on_the_scale_of_a_channel(rng):
    w, powers = rng.standard_normal((1000, 4)).astype(np.float32), np.float32([1, 2, 4, 0.125])
    one = ql.quantization_error(w, ql.quantize(w, scale=0.02))
    each = ql.quantization_error(w * powers, ql.quantize(w * powers, scale=0.02 * powers, axis=1))
    assert one.kl == each.kl > 0


def test_logarithm():
    for x in [*np.linspace(0.1, 3, 100), 1e-300, 1e300, 2.0**52 - 1]:
        assert math.isclose(reference.log(x), math.log(x), rel_tol=5e-16, abs_tol=1e-16)
    assert reference.log(1.0) == 0


def test_cosine_of_zeros():
    zero, one = np.zeros(3), ql.QArray.from_codes(np.ones(3, np.int8), 1.0)
    assert ql.quantization_error(zero, one).cosine == 0
    assert ql.quantization_error(zero, ql.quantize(zero)).cosine == 1


# ---- arguments ---------------------------------------------------------------------------------------


def test_data_that_cannot_be_measured(isa, rng):
    w = rng.standard_normal((3, 4)).astype(np.float32)
    q = ql.quantize(w, scale=1.0)
    for bad in (np.nan, np.inf, -np.inf):
        broken = w.copy()
        broken[2, 3] = bad
        for axis in (None, 0, 1):
            with pytest.raises(ValueError, match="w: expected finite values, got NaN or infinity"):
                ql.quantization_error(broken, q, axis=axis)
    with pytest.raises(ValueError, match="w: expected finite"):
        ql.quantization_error(np.full((3, 4), 1e39), q)
    with pytest.raises(ValueError, match=r"w: expected shape \(3, 4\) as q, got \(4, 3\)"):
        ql.quantization_error(w.T, q)
    with pytest.raises(TypeError, match="q: expected a QArray, got ndarray"):
        ql.quantization_error(w, w)
    with pytest.raises(TypeError, match="w: expected a real floating dtype"):
        ql.quantization_error(w.astype(int), q)
    with pytest.raises(ValueError, match="w: expected data to measure"):
        ql.quantization_error(np.zeros((0, 2)), ql.quantize(np.zeros((0, 2)), scale=1.0))
    with pytest.raises(ValueError, match="axis"):
        ql.quantization_error(w, q, axis=2)


def test_codes_that_stand_for_nothing(isa):
    w, one, zero = np.zeros(3, np.float32), np.float32([1]), np.int32([0])
    for bad in (7, 15, 16, 255):
        with pytest.raises(ValueError, match="codebook"):
            _core.error_sums(w, np.uint8([0, bad, 1]), one, zero, FP4_NAN, 0, 15, -1)
    for book in (
        np.float32([np.nan, np.nan]),
        np.float32([0, np.inf]),
        np.zeros(0, np.float32),
        np.zeros(257, np.float32),
    ):
        with pytest.raises(ValueError, match="codebook"):
            _core.error_sums(w, np.zeros(3, np.uint8), one, zero, book, 0, 15, -1)
    for codes in (np.zeros(3, np.int8), np.zeros(3, np.uint16)):
        with pytest.raises(ValueError, match="codebook"):
            _core.error_sums(w, codes, one, zero, FP4, 0, 15, -1)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("codes", {"codes": np.zeros(4, np.uint8)}),
        ("codes", {"codes": np.zeros(3, np.int32)}),
        ("scale", {"scale": np.float32([0])}),
        ("scale", {"scale": np.float32([np.nan])}),
        ("scale", {"scale": np.ones(2, np.float32), "zero_point": np.zeros(2, np.int32)}),
        ("scale", {"scale": np.ones(1)}),
        ("zero_point", {"zero_point": np.int32([300])}),
        ("zero_point", {"zero_point": np.int32([0, 0])}),
        ("codes", {"qmin": -1}),
        ("codes", {"qmax": 256}),
        ("codes", {"qmin": 9, "qmax": 8}),
        ("codebook", {"codebook": np.zeros((2, 2), np.float32)}),
        ("codebook", {"codebook": np.zeros((), np.float32)}),
        ("codebook", {"codebook": np.zeros(2)}),
        ("axis", {"axis": 1}),
        ("axis", {"axis": -2}),
        ("w", {"w": np.zeros(3, int)}),
    ],
)
def test_bad_arguments_of_the_core(name, change):
    arguments = {
        "w": np.zeros(3, np.float32),
        "codes": np.zeros(3, np.uint8),
        "scale": np.float32([1]),
        "zero_point": np.int32([0]),
        "codebook": None,
        "qmin": 0,
        "qmax": 255,
        "axis": -1,
    }
    _core.error_sums(*arguments.values())
    with pytest.raises((TypeError, ValueError), match=name):
        _core.error_sums(*(arguments | change).values())


def test_text(rng):
    w = rng.standard_normal((30, 4))
    q = ql.quantize(w, scale=0.02)
    text = repr(ql.quantization_error(w, q))
    assert text.startswith("ErrorStats(mse=")
    assert "4 channels" in repr(ql.quantization_error(w, q, axis=1))
