"""quantize, dequantize, fake_quantize and minmax equal the reference, byte for byte, on every instruction set."""

import math

import numpy as np
import pytest
import reference
from samples import LAYOUTS, LENGTHS, one, same_bytes

from qlite import _core

RANGES = [(-128, 127), (-127, 127), (0, 255), (0, 127), (3, 77), (-128, -1)]
SCALES = [
    1.0,
    0.1,
    1 / 3,
    2.0**-10,
    1e4,
    2.0**-64,
    0.99 * 2.0**-64,
    2.0**64,
    1e27,
    reference.TINY,
    np.finfo(np.float32).max,
]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-40, reference.TINY, reference.HUGE, -reference.HUGE, 2.0**31]


def zero_points_in(qmin, qmax):
    return sorted({qmin, max(qmin, min(0, qmax)), (qmin + qmax + 1) // 2, qmax})


def awkward(rng, n, scale=1.0):
    """Values around the range, exact ties and special values, in random order."""
    with np.errstate(over="ignore"):
        spread = rng.normal(0, 100, n).astype(np.float32) * np.float32(scale)
        ties = (rng.integers(-300, 300, n) + 0.5).astype(np.float32) * np.float32(scale)
    special = rng.choice(np.array(SPECIAL, np.float32), n)
    return np.choose(rng.integers(0, 5, n), [spread, spread, ties, ties, special]).astype(np.float32)


@pytest.mark.parametrize("qrange", RANGES)
def test_every_length(isa, rng, qrange):
    for n in LENGTHS:
        for z in zero_points_in(*qrange):
            scale = SCALES[n % len(SCALES)]
            x = awkward(rng, n, scale)
            codes = _core.quantize(x, one(scale), one(z, np.int32), *qrange, False, None)
            same_bytes(codes, reference.quantize(x, scale, z, *qrange))
            back = _core.dequantize(codes, one(scale), one(z, np.int32), None)
            same_bytes(back, reference.dequantize(codes, scale, z))
            fake = _core.fake_quantize(x, one(scale), one(z, np.int32), *qrange, False, None)
            same_bytes(fake, back)


@pytest.mark.parametrize("qrange", [(-128, 127), (0, 255)])
@pytest.mark.parametrize("scale", SCALES)
def test_every_scale(isa, rng, scale, qrange):
    x = awkward(rng, 4096, scale)
    for z in zero_points_in(*qrange):
        codes = _core.quantize(x, one(scale), one(z, np.int32), *qrange, False, None)
        same_bytes(codes, reference.quantize(x, scale, z, *qrange))
        fake = _core.fake_quantize(x, one(scale), one(z, np.int32), *qrange, False, None)
        same_bytes(fake, reference.fake_quantize(x, scale, z, *qrange))
        assert not np.signbit(fake[fake == 0]).any()


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # of NumPy: signaling NaN, on ARM
@pytest.mark.parametrize("scale", [1.0, 0.1, 1 / 3, 7.7e-4, 400.0])
@pytest.mark.parametrize(
    "qrange, z", [((-128, 127), 0), ((-127, 127), 0), ((0, 255), 128), ((0, 255), 3), ((-128, 127), -128)]
)
def test_every_float16(isa, scale, qrange, z):
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    codes = _core.quantize(x, one(scale), one(z, np.int32), *qrange, False, None)
    same_bytes(codes, reference.quantize(x, scale, z, *qrange))


def test_ties_at_every_position(isa):
    for n in range(70):
        ties = np.arange(n, dtype=np.float32) - np.float32(n // 2) + np.float32(0.5)
        same_bytes(_core.quantize(ties, one(1), one(0, np.int32), -128, 127, True, None), np.rint(ties).astype(np.int8))


def test_division_is_rounded_once(isa, rng):
    """Around every tie: what a product with the reciprocal gets wrong."""
    for scale in rng.uniform(0.001, 1, 60).astype(np.float32):
        ties = np.arange(-128.5, 128).astype(np.float32) * scale
        x = np.concatenate([np.nextafter(ties, np.float32(-np.inf)), ties, np.nextafter(ties, np.float32(np.inf))])
        exact = (x.astype(np.float64) / np.float64(scale)).astype(np.float32)
        expected = np.clip(np.rint(exact), -128, 127).astype(np.int8)
        same_bytes(_core.quantize(x, one(scale), one(0, np.int32), -128, 127, True, None), expected)
        fake = _core.fake_quantize(x, one(scale), one(0, np.int32), -128, 127, True, None)
        same_bytes(fake, reference.dequantize(expected, scale, 0))


# Shapes of data and of its parameters, the size of a group and the axis that is cut.
PARAMETERS = [
    *[((3, 5), shape, 0, 0) for shape in [(1, 1), (3, 1), (1, 5), (3, 5)]],
    *[((4, 17, 3), shape, 0, 0) for shape in [(4, 1, 1), (1, 17, 1), (1, 1, 3), (4, 1, 3), (4, 17, 1), (1, 17, 3)]],
    *[((2, 3, 16), shape, 0, 0) for shape in [(2, 1, 16), (2, 3, 1), (1, 1, 16), (2, 3, 16)]],
    *[((2, 1, 3, 33), shape, 0, 0) for shape in [(2, 1, 1, 33), (1, 1, 3, 1), (2, 1, 3, 33)]],
    *[((1, 33), (1, 33), 0, 0), ((33, 1), (33, 1), 0, 0), ((1000, 3), (1, 3), 0, 0), ((70, 10), (1, 10), 0, 0)],
    *[((5, 96), (5, 3), 32, 1), ((5, 96), (1, 3), 32, 1), ((5, 96), (5, 6), 16, 1), ((256,), (4,), 64, 0)],
    *[((5, 77), (5, 3), 32, 1), ((5, 77), (1, 3), 32, 1), ((5, 77), (5, 11), 7, 1), ((301,), (4,), 100, 0)],
    *[((9, 40), (3, 40), 3, 0), ((10, 40), (4, 40), 3, 0), ((10, 40), (4, 1), 3, 0), ((96, 5), (3, 1), 32, 0)],
    *[((3, 10, 8), (3, 4, 8), 3, 1), ((3, 10, 8), (1, 4, 8), 3, 1), ((3, 10, 8), (3, 4, 1), 3, 1)],
    *[((3, 10, 8), (1, 4, 1), 3, 1), ((3, 12, 8), (3, 4, 1), 3, 1), ((10, 3, 8), (4, 1, 8), 3, 0)],
    *[((5, 8), (5, 1), 100, 1), ((5, 8), (5, 8), 1, 1), ((5, 3, 2), (1, 2, 1), 2, 1), ((1, 7), (1, 3), 3, 1)],
    *[((0, 4), (1, 4), 0, 0), ((4, 0), (4, 1), 0, 0), ((3, 0, 2), (3, 1, 2), 0, 0), ((0,), (1,), 0, 0)],
    *[((0, 64), (0, 2), 32, 1), ((0, 64), (1, 2), 32, 1), ((2, 0), (2, 0), 32, 1), ((), (), 0, 0), ((3, 4), (), 0, 0)],
]


@pytest.mark.parametrize("shape, along, size, axis", PARAMETERS)
def test_every_layout_of_parameters(isa, rng, shape, along, size, axis):
    x = awkward(rng, math.prod(shape)).reshape(shape)
    scale, z = rng.uniform(0.01, 3, along).astype(np.float32), rng.integers(0, 256, along, dtype=np.int32)
    groups, named = (size, axis), {"group_size": size, "group_axis": axis}
    codes = _core.quantize(x, scale, z, 0, 255, False, None, "x", *groups)
    same_bytes(codes, reference.quantize(x, scale, z, 0, 255, **named))
    same_bytes(_core.dequantize(codes, scale, z, None, *groups), reference.dequantize(codes, scale, z, **named))
    fake = _core.fake_quantize(x, scale, z, 0, 255, False, None, *groups)
    same_bytes(fake, reference.fake_quantize(x, scale, z, 0, 255, **named))
    same_bytes(_core.in_range(x, scale, z, 0, 255, *groups), reference.in_range(x, scale, z, 0, 255, **named))
    for qmax, how in ((255, ("stochastic", 7)), (65535, ("even", 0))):
        codes = _core.quantize(x, scale, z, 0, qmax, False, None, "x", *groups, *how)
        same_bytes(codes, reference.quantize(x, scale, z, 0, qmax, *how, **named))
        same_bytes(_core.dequantize(codes, scale, z, None, *groups), reference.dequantize(codes, scale, z, **named))
        fake = _core.fake_quantize(x, scale, z, 0, qmax, False, None, *groups, *how)
        same_bytes(fake, reference.fake_quantize(x, scale, z, 0, qmax, *how, **named))
    if x.size == 0:
        with pytest.raises(ValueError, match=r"^x: "):
            _core.minmax(x, along, *groups)
        with pytest.raises(ValueError, match=r"^x: "):
            _core.moments(x, along, *groups)
        return
    low, high, all_finite = _core.minmax(x, along, *groups)
    assert all_finite == np.isfinite(x).all()
    for got, expected in zip((low, high), reference.minmax_per_parameter(x, along, **named), strict=True):
        same_bytes(got, expected)
    x = np.nan_to_num(x)
    same_bytes(np.stack(_core.moments(x, along, *groups)), reference.moments(x, along, **named))


WIDE_RANGES = [(-32768, 32767), (0, 65535), (-128, 255), (-4000, -3), (0, 256), (-129, 0), (-8, 7), (0, 255)]


@pytest.mark.parametrize("rounding", reference.ROUND)
@pytest.mark.parametrize("qrange", WIDE_RANGES)
def test_every_rounding_and_width(isa, rng, qrange, rounding):
    for n in LENGTHS:
        for z in zero_points_in(*qrange):
            scale, how = SCALES[n % len(SCALES)], (rounding, 2**63 + 12345 * n)
            x = awkward(rng, n, scale)
            with np.errstate(over="ignore"):
                x[::3] *= np.float32((qrange[1] - qrange[0]) / 256)
            codes = _core.quantize(x, one(scale), one(z, np.int32), *qrange, False, None, "x", 0, 0, *how)
            same_bytes(codes, reference.quantize(x, scale, z, *qrange, *how))
            back = _core.dequantize(codes, one(scale), one(z, np.int32), None)
            same_bytes(back, reference.dequantize(codes, scale, z))
            fake = _core.fake_quantize(x, one(scale), one(z, np.int32), *qrange, False, None, 0, 0, *how)
            same_bytes(fake, back)
            inside = _core.in_range(x, one(scale), one(z, np.int32), *qrange)
            same_bytes(inside, reference.in_range(x, scale, z, *qrange))


@pytest.mark.parametrize("rounding", reference.ROUND)
def test_long_arrays(isa, rng, rounding):
    """Longer than what is held on the way, in one run and in many, with a seam in the middle of a group."""
    x = rng.normal(0, 60, (3, 5000)).astype(np.float32)
    for along, size in (((1, 1), 0), ((3, 1), 0), ((3, 4), 1300), ((3, 125), 40), ((1, 5000), 0)):
        scale, z = rng.uniform(0.1, 1, along).astype(np.float32), rng.integers(-99, 99, along, dtype=np.int32)
        named = {"group_size": size, "group_axis": 1}
        for qrange in ((-128, 127), (-3000, 3000)):
            for out in (None, np.zeros(x.shape, reference.code_dtype(*qrange))):
                codes = _core.quantize(x, scale, z, *qrange, True, out, "x", size, 1, rounding, 5)
                same_bytes(codes, reference.quantize(x, scale, z, *qrange, rounding, 5, **named))
            fake = _core.fake_quantize(x, scale, z, *qrange, True, None, size, 1, rounding, 5)
            same_bytes(fake, reference.dequantize(codes, scale, z, **named))


def test_roundings_by_hand(isa):
    x = np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, -0.49999997, 8388609, np.inf, np.nan])
    expected = {
        "even": [-2, -2, 0, 0, 2, 2, 0, 0, 127, 127, 0],
        "away": [-3, -2, -1, 1, 2, 3, 0, 0, 127, 127, 0],
    }
    for rounding, codes in expected.items():
        got = _core.quantize(x, one(1), one(0, np.int32), -128, 127, False, None, "x", 0, 0, rounding)
        assert got.tolist() == codes
    whole = np.arange(-128, 128).astype(np.float32)
    got = _core.quantize(whole, one(1), one(0, np.int32), -128, 127, True, None, "x", 0, 0, "stochastic", 1)
    assert got.tolist() == whole.tolist()


def test_stochastic_rounding_is_right_on_average(isa):
    """The mean of n roundings of a fraction f has the standard deviation sqrt(f (1 - f) / n); 5 of them are allowed."""
    n = 1 << 18
    for seed, f in enumerate((0.5, 0.1, -0.1, 0.99, -7.75, 100.001)):
        x = np.full(n, f, np.float32)
        codes = _core.quantize(x, one(1), one(0, np.int32), -128, 127, True, None, "x", 0, 0, "stochastic", seed)
        rest = f - math.floor(f)
        assert abs(codes.mean() - f) < 5 * math.sqrt(rest * (1 - rest) / n)


def test_random_bits_are_uniform_and_unrelated():
    """Every byte of the 24 bits is spread evenly; neighbours, seeds that differ by one bit and indices as far apart as
    2**32 have nothing to do with each other. Limits are 5 standard deviations."""
    n = 1 << 18
    index = np.arange(n, dtype=np.uint64)
    first = reference.uniform(0, index)
    bits = (first * 2**24).astype(np.int64)
    for shift in (0, 8, 16):
        counts = np.bincount(bits >> shift & 255, minlength=256)
        chi_square = ((counts - n / 256) ** 2 / (n / 256)).sum()
        assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)
    others = [np.roll(first, lag) for lag in (1, 2, 3, 16, 255, 256, 65536)]
    others += [reference.uniform(1 << bit, index) for bit in (0, 1, 31, 32, 63)]
    others += [reference.uniform(0, index + np.uint64(far)) for far in (2**32, 2**33, 2**40)]
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / math.sqrt(n)
        assert abs(((first < 0.5) == (other < 0.5)).mean() - 0.5) < 5 * 0.5 / math.sqrt(n)


def test_seeds_differ(isa, rng):
    x = rng.normal(0, 50, 4096).astype(np.float32)
    results = {
        _core.quantize(x, one(1), one(0, np.int32), -128, 127, True, None, "x", 0, 0, "stochastic", seed).tobytes()
        for seed in (0, 1, 2**32, 2**64 - 1)
    }
    assert len(results) == 4


def test_rounding_is_one_of_three():
    with pytest.raises(ValueError, match=r"^rounding: "):
        _core.quantize(np.zeros(3, np.float32), one(1), one(0, np.int32), 0, 255, True, None, "x", 0, 0, "up")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(isa, rng, layout):
    plain = rng.normal(0, 60, (7, 19)).astype(np.float32)
    x = LAYOUTS[layout](plain)
    scale, z = rng.uniform(0.3, 2, (1, 19)).astype(np.float32), rng.integers(-9, 9, (1, 19), dtype=np.int32)
    codes = _core.quantize(x, scale, z, -128, 127, True, None)
    same_bytes(codes, reference.quantize(plain, scale, z, -128, 127))
    same_bytes(
        _core.fake_quantize(x, scale, z, -128, 127, True, None), reference.fake_quantize(plain, scale, z, -128, 127)
    )
    same_bytes(_core.dequantize(LAYOUTS[layout](codes), scale, z, None), reference.dequantize(codes, scale, z))
    for along in ((7, 1), (1, 19)):
        expected = reference.minmax_per_parameter(plain, along)
        same_bytes(np.stack(_core.minmax(x, along)[:2]), np.stack(expected))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f2", ">f4", ">f8", "g"])
def test_every_floating_dtype(isa, rng, dtype):
    x = rng.normal(0, 60, 133).astype(dtype)
    expected = reference.quantize(x.astype(np.float32), 0.7, 3, -128, 127)
    same_bytes(_core.quantize(x, one(0.7), one(3, np.int32), -128, 127, True, None), expected)


@pytest.mark.parametrize("dtype", ["c8", "i4", "u1", "?", "O", "S4"])
def test_other_dtypes_are_refused(dtype):
    x = np.zeros(4, dtype)
    with pytest.raises(TypeError, match=r"^x: "):
        _core.quantize(x, one(1), one(0, np.int32), -128, 127, True, None)
    with pytest.raises(TypeError, match=r"^x: "):
        _core.minmax(x, (1,))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_is_refused_before_anything_is_written(isa, bad):
    for n, positions in ((65, (0, 15, 16, 63, 64)), (9000, (0, 4095, 4096, 8191, 8999))):
        for position in positions:
            x = np.zeros(n, np.float32)
            x[position] = bad
            for qrange, rounding in (((-128, 127), "even"), ((-128, 127), "away"), ((-999, 999), "even")):
                out = np.full(n, 77, reference.code_dtype(*qrange))
                for target in (out, None):
                    with pytest.raises(ValueError, match=r"^x: "):
                        _core.quantize(x, one(1), one(0, np.int32), *qrange, True, target, "x", 0, 0, rounding)
                assert (out == 77).all()
                values = np.full(n, 77, np.float32)
                for target in (values, None):
                    with pytest.raises(ValueError, match=r"^x: "):
                        _core.fake_quantize(x, one(1), one(0, np.int32), *qrange, True, target, 0, 0, rounding)
                assert (values == 77).all()
            low, high, all_finite = _core.minmax(x, (1,))
            assert not all_finite
            assert np.isnan(bad) or bad in (low[0], high[0])
            assert not np.isnan([low[0], high[0]]).any()


@pytest.mark.parametrize(
    "shape, along", [((700, 10), (1, 10)), ((2, 96), (2, 3)), ((2, 75), (2, 3)), ((9, 99), (9, 99))]
)
def test_nonfinite_is_found_in_every_layout(isa, shape, along):
    groups = ("x", -(-shape[1] // along[1]), 1)
    scale, z = np.ones(along, np.float32), np.zeros(along, np.int32)
    for position in range(0, math.prod(shape), 7):
        x = np.zeros(shape, np.float32)
        x.flat[position] = np.inf
        out = np.full(shape, 77, np.int8)
        for target in (out, None):
            with pytest.raises(ValueError, match=r"^x: "):
                _core.quantize(x, scale, z, -128, 127, True, target, *groups)
        with pytest.raises(ValueError, match=r"^x: "):
            _core.fake_quantize(x, scale, z, -128, 127, True, None, *groups[1:])
        assert (out == 77).all()


def test_minmax_of_everything(isa, rng):
    for n in LENGTHS[1:]:
        x = rng.normal(size=n).astype(np.float32)
        for got, expected in zip(_core.minmax(x, (1,))[:2], reference.minmax(x), strict=True):
            assert got.shape == (1,) and got[0].tobytes() == expected.tobytes()
    for x in (np.float32([-0.0, 0.0]), np.float32([0.0, -0.0]), np.full(40, -0.0, np.float32)):
        assert not any(np.signbit(bound).any() for bound in _core.minmax(x, (1,))[:2])


def test_minmax_passes_over_nan(isa, rng):
    for n in LENGTHS[1:]:
        x = awkward(rng, 3 * n).reshape(3, n)
        for along in ((1, 1), (3, 1), (1, n), (3, n)):
            low, high, all_finite = _core.minmax(x, along)
            assert all_finite == np.isfinite(x).all()
            same_bytes(np.stack([low, high]), np.stack(reference.minmax_per_parameter(x, along)))
    assert _core.minmax(np.full(70, np.nan, np.float32), (1,)) == (np.inf, -np.inf, False)
    assert _core.minmax(np.ones(70, np.float32), (1,)) == (1, 1, True)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, 1e-40])
def test_bad_scales(scale):
    x = np.ones(3, np.float32)
    calls = [
        lambda: _core.quantize(x, one(scale), one(0, np.int32), -128, 127, True, None),
        lambda: _core.fake_quantize(x, one(scale), one(0, np.int32), -128, 127, True, None),
        lambda: _core.dequantize(x.astype(np.int8), one(scale), one(0, np.int32), None),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^scale"):
            call()


@pytest.mark.parametrize(
    "qmin, qmax, z",
    [
        (-128, 127, 128),
        (-128, 127, -129),
        (0, 255, -1),
        (0, 255, 256),
        (5, 4, 5),
        (-32769, 0, 0),
        (0, 65536, 0),
        (-1, 32768, 0),
    ],
)
def test_bad_zero_points_and_ranges(qmin, qmax, z):
    with pytest.raises(ValueError, match=r"^scale, zero_point: "):
        _core.quantize(np.ones(3, np.float32), one(1), one(z, np.int32), qmin, qmax, True, None)


@pytest.mark.parametrize("shape", [(2,), (3, 1), (2, 2), (1, 4), (0,), (1, 2, 3)])
def test_scales_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"^scale"):
        scale, zero_point = np.ones(shape, np.float32), np.zeros(shape, np.int32)
        _core.quantize(np.ones((2, 3), np.float32), scale, zero_point, -128, 127, True, None)


def test_one_scale_of_any_rank_fits():
    for rank in range(5):
        scale, zero_point = np.full((1,) * rank, 0.5, np.float32), np.zeros((1,) * rank, np.int32)
        assert _core.quantize(np.ones((2, 3), np.float32), scale, zero_point, -128, 127, True, None).max() == 2


def outs(shape, dtype):
    """Arrays that cannot take a result of this shape and dtype."""
    other = np.float64 if dtype == np.float32 else np.int16
    return {
        "dtype": np.zeros(shape, other),
        "shape": np.zeros((*shape[:-1], shape[-1] + 1), dtype),
        "rank": np.zeros((1, *shape), dtype),
        "read_only": LAYOUTS["read_only"](np.zeros(shape, dtype)),
        "list": np.zeros(shape, dtype).tolist(),
    }


@pytest.mark.parametrize("why", ["dtype", "shape", "rank", "read_only", "list"])
def test_bad_outs(why):
    x, codes = np.ones((4, 5), np.float32), np.ones((4, 5), np.int8)
    calls = {
        np.int8: lambda out: _core.quantize(x, one(1), one(0, np.int32), -128, 127, True, out),
        np.float32: lambda out: _core.dequantize(codes, one(1), one(0, np.int32), out),
    }
    for dtype, call in calls.items():
        with pytest.raises((TypeError, ValueError), match=r"^out: "):
            call(outs((4, 5), dtype)[why])


def test_out_is_used_and_returned(isa, rng):
    x = rng.normal(0, 50, (5, 13)).astype(np.float32)
    expected = reference.quantize(x, 1, 0, -128, 127)
    out = np.zeros_like(expected)
    assert _core.quantize(x, one(1), one(0, np.int32), -128, 127, True, out) is out
    same_bytes(out, expected)
    values = np.zeros_like(x)
    assert _core.dequantize(out, one(1), one(0, np.int32), values) is values
    same_bytes(values, reference.dequantize(expected, 1, 0))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read_only"])
def test_out_of_every_layout(isa, rng, layout):
    x = rng.normal(0, 50, (5, 13)).astype(np.float32)
    codes, values = LAYOUTS[layout](np.zeros((5, 13), np.int8)), LAYOUTS[layout](np.zeros((5, 13), np.float32))
    assert _core.quantize(x, one(1), one(0, np.int32), -128, 127, True, codes) is codes
    same_bytes(codes.astype(np.int8), reference.quantize(x, 1, 0, -128, 127))
    assert _core.dequantize(codes, one(1), one(0, np.int32), values) is values
    same_bytes(values.astype(np.float32), reference.dequantize(codes, 1, 0))


def test_fake_quantize_in_place(isa, rng):
    x = rng.normal(0, 50, 1001).astype(np.float32)
    expected = reference.fake_quantize(x, 0.3, 5, -128, 127)
    assert _core.fake_quantize(x, one(0.3), one(5, np.int32), -128, 127, True, x) is x
    same_bytes(x, expected)


def test_outs_that_overlap_the_input(isa, rng):
    memory = rng.normal(0, 50, 300).astype(np.float32)
    for shift in (1, 7, 64):
        early, late = slice(0, 200), slice(shift, 200 + shift)
        for source, target in ((early, late), (late, early)):
            work = memory.copy()
            expected = reference.fake_quantize(memory[source], 0.3, 5, -128, 127)
            _core.fake_quantize(work[source], one(0.3), one(5, np.int32), -128, 127, True, work[target])
            same_bytes(work[target], expected)
    x = rng.normal(0, 50, 100).astype(np.float32)
    codes = x.view(np.int8)[:100]
    expected = reference.quantize(x, 1, 0, -128, 127)
    _core.quantize(x, one(1), one(0, np.int32), -128, 127, True, codes)
    same_bytes(codes, expected)
