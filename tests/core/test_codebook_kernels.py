"""Codebooks: every code is that of the nearest value, exactly, on every instruction set."""

import numpy as np
import pytest
import reference
from samples import LAYOUTS, LENGTHS, one, same_bytes

from qlite import _core

HUGE, TINY = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal


def small_float(exponent_bits, mantissa_bits, nonfinite):
    """All values of a small float format in the order of their bits. nonfinite: "ieee", where the greatest exponent is
    infinity or NaN, "fn", where only all ones is NaN, or "none"."""
    bits = np.arange(1 << (exponent_bits + mantissa_bits))
    exponent, mantissa = bits >> mantissa_bits, bits & ((1 << mantissa_bits) - 1)
    bias = (1 << (exponent_bits - 1)) - 1
    fraction = (mantissa + ((exponent > 0) << mantissa_bits)) * 2.0**-mantissa_bits
    values = fraction * 2.0 ** (np.maximum(exponent, 1) - bias)
    if nonfinite == "ieee":
        values = np.where(exponent == exponent.max(), np.where(mantissa == 0, np.inf, np.nan), values)
    elif nonfinite == "fn":
        values[-1] = np.nan
    return np.concatenate([values, -values]).astype(np.float32)


def random_codebooks():
    rng = np.random.default_rng(11)
    for entries in (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256):
        values = rng.normal(size=entries).astype(np.float32)
        yield f"sorted_{entries}", np.sort(values)
        yield f"shuffled_{entries}", values


CODEBOOKS = {
    **dict(random_codebooks()),
    "fp4_e2m1": small_float(2, 1, "none"),
    "fp6_e3m2": small_float(3, 2, "none"),
    "fp8_e4m3": small_float(4, 3, "fn"),
    "fp8_e5m2": small_float(5, 2, "ieee"),
    "descending": np.linspace(1, -1, 16, dtype=np.float32),
    "integers": np.arange(-8, 8, dtype=np.float32),
    "integers_shuffled": np.random.default_rng(12).permutation(np.arange(-128, 128)).astype(np.float32),
    "ends": np.array([-HUGE, HUGE], np.float32),
    "huge": np.array([HUGE, -HUGE, 0, HUGE / 2, 1], np.float32),
    "subnormal": np.arange(-3, 4, dtype=np.float32) * TINY,
    "neighbours": np.nextafter(np.float32(1), np.float32([0, 1, 2])),
    "far_apart": np.array([1e30, 1e-30, -1e-30, 0, 3e38], np.float32),
    "equal": np.array([1, 1, -1, 0.0, -0.0, -1, 1], np.float32),
    "even_codes_only": np.array([0, np.nan, 1, np.inf, 2, -np.inf, 3], np.float32),
    "late_in_the_code": np.array([np.nan] * 250 + [2, 1, 0, -1, -2, np.inf], np.float32),
    "around_zero": np.array([1, -1], np.float32),
}


def values_near(codebook, rng):
    """Values at which a wrong rounding would show: the codebook's own, their middles, both neighbours of those."""
    finite = np.unique(codebook[np.isfinite(codebook)])
    special = [0, -0.0, np.inf, -np.inf, np.nan, HUGE, -HUGE, TINY, -TINY, 1e-40, -1e-40, 1, -1]
    with np.errstate(over="ignore", under="ignore"):
        middles = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
        at = np.concatenate([finite, middles])
        up, down = np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(-np.inf))
        scattered = rng.normal(0, np.abs(finite).max(), 500).astype(np.float32)
    return rng.permutation(np.concatenate([at, up, down, np.float32(special), scattered]))


@pytest.mark.parametrize("name", CODEBOOKS)
def test_nearest(isa, rng, name):
    codebook = CODEBOOKS[name]
    x = values_near(codebook, rng)
    for scale in (1, 0.37, 2.0**-126):
        with np.errstate(all="ignore"):
            data = x * np.float32(scale)
        for values in (x, data):
            got = _core.quantize_codebook(values, one(scale), codebook, False, None)
            same_bytes(got, reference.quantize_codebook(values, scale, codebook))
            back = _core.dequantize_codebook(got, one(scale), codebook, None)
            same_bytes(back, reference.dequantize_codebook(got, scale, codebook))


@pytest.mark.parametrize("name", ["sorted_16", "shuffled_33", "fp8_e4m3", "sorted_3", "shuffled_256"])
def test_every_length_and_group(isa, rng, name):
    codebook = CODEBOOKS[name]
    for n in LENGTHS:
        x = rng.normal(size=(3, n)).astype(np.float32)
        for group in {1, 2, 7, 16, 32, 64, n} & {*range(1, n + 1)} or {0}:
            count = -(-n // group) if group else n
            scale = rng.uniform(0.2, 3, (3, count)).astype(np.float32)
            spread = np.repeat(scale, max(group, 1), 1)[:, :n]
            got = _core.quantize_codebook(x, scale, codebook, True, None, "x", group, 1)
            same_bytes(got, reference.quantize_codebook(x, spread, codebook))
            back = _core.dequantize_codebook(got, scale, codebook, None, group, 1)
            same_bytes(back, reference.dequantize_codebook(got, spread, codebook))


SHAPES = [((), ()), ((7,), (7,)), ((5, 6), (1, 1)), ((5, 6), (5, 1)), ((5, 6), (1, 6)), ((5, 6), (5, 6))]
SHAPES += [((2, 3, 40), (2, 1, 40)), ((2, 3, 40), (1, 3, 1)), ((2, 17, 40), (2, 1, 1)), ((4, 3, 1), (4, 1, 1))]


@pytest.mark.parametrize("shape, parameters", SHAPES)
@pytest.mark.parametrize("entries", [3, 16, 40])
def test_own_codebooks(isa, rng, shape, parameters, entries):
    x = rng.normal(size=shape).astype(np.float32)
    scale = rng.uniform(0.2, 3, parameters).astype(np.float32)
    codebook = rng.normal(size=(*parameters, entries)).astype(np.float32)
    own = np.broadcast_to(codebook, (*shape, entries))
    got = _core.quantize_codebook(x, scale, codebook, True, None)
    same_bytes(got, np.reshape(reference.quantize_codebook(x, scale, own), shape))
    back = _core.dequantize_codebook(got, scale, codebook, None)
    same_bytes(back, np.asarray(reference.dequantize_codebook(got, scale, own)))


@pytest.mark.parametrize("axis", [0, 1])
def test_own_codebooks_of_groups(isa, rng, axis):
    x = rng.normal(size=(13, 21)).astype(np.float32)
    counts = [13, 21]
    counts[axis] = -(-counts[axis] // 4)
    scale = rng.uniform(0.2, 3, counts).astype(np.float32)
    codebook = rng.normal(size=(*counts, 16)).astype(np.float32)
    spread = np.repeat(scale, 4, axis)[:13, :21]
    own = np.repeat(codebook, 4, axis)[:13, :21]
    got = _core.quantize_codebook(x, scale, codebook, True, None, "x", 4, axis)
    same_bytes(got, reference.quantize_codebook(x, spread, own))
    same_bytes(
        _core.dequantize_codebook(got, scale, codebook, None, 4, axis),
        spread * reference.dequantize_codebook(got, 1, own),
    )


@pytest.mark.parametrize("name, exponent_bits, mantissa_bits, nonfinite", [
    ("float8_e4m3fn", 4, 3, "fn"), ("float8_e5m2", 5, 2, "ieee"), ("float8_e3m4", 3, 4, "ieee"),
    ("float6_e3m2fn", 3, 2, "none"), ("float6_e2m3fn", 2, 3, "none"), ("float4_e2m1fn", 2, 1, "none"),
])  # fmt: skip
def test_small_floats_round_as_others_do(isa, rng, name, exponent_bits, mantissa_bits, nonfinite):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    codebook = small_float(exponent_bits, mantissa_bits, nonfinite)
    dtype = getattr(ml_dtypes, name)
    theirs = np.arange(codebook.size, dtype=np.uint8).view(dtype).astype(np.float32)
    np.testing.assert_array_equal(codebook, theirs)
    limit = np.nanmax(np.where(np.isfinite(codebook), codebook, 0))
    x = values_near(codebook, rng)
    x = x[np.abs(x) <= limit]
    got = _core.quantize_codebook(x, one(1), codebook, True, None)
    np.testing.assert_array_equal(codebook[got], x.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(isa, rng, layout):
    codebook, scale = CODEBOOKS["shuffled_16"], rng.uniform(0.5, 2, (1, 11)).astype(np.float32)
    plain = rng.normal(size=(6, 11)).astype(np.float32)
    expected = reference.quantize_codebook(plain, scale, codebook)
    out = LAYOUTS[layout](np.zeros((6, 11), np.uint8))
    out = out if out.flags.writeable else None
    got = _core.quantize_codebook(LAYOUTS[layout](plain), scale, codebook, True, out)
    assert out is None or got is out
    np.testing.assert_array_equal(got, expected)
    back = _core.dequantize_codebook(LAYOUTS[layout](expected), scale, codebook, None)
    same_bytes(back, reference.dequantize_codebook(expected, scale, codebook))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 20, 99])
def test_nonfinite_is_refused_and_nothing_written(isa, bad, where):
    x, out = np.zeros(100, np.float32), np.full(100, 77, np.uint8)
    x[where] = bad
    with pytest.raises(ValueError, match=r"^weights: expected finite values"):
        _core.quantize_codebook(x, one(1), CODEBOOKS["sorted_16"], True, out, "weights")
    assert (out == 77).all()


def test_bad_arguments():
    x, codes, scale, book = (
        np.ones((2, 6), np.float32),
        np.ones((2, 6), np.uint8),
        one(1),
        np.arange(4, dtype=np.float32),
    )
    cases = [
        (TypeError, "x: ", lambda: _core.quantize_codebook(codes, scale, book, True, None)),
        (TypeError, "codebook: ", lambda: _core.quantize_codebook(x, scale, book.astype(np.float64), True, None)),
        (ValueError, "codebook: ", lambda: _core.quantize_codebook(x, scale, book[:0], True, None)),
        (ValueError, "codebook: ", lambda: _core.quantize_codebook(x, scale, np.ones(257, np.float32), True, None)),
        (ValueError, "codebook: ", lambda: _core.quantize_codebook(x, scale, np.ones((2, 4), np.float32), True, None)),
        (ValueError, "codebook: ", lambda: _core.quantize_codebook(x, scale, np.float32(1), True, None)),
        (ValueError, "scale, codebook: ", lambda: _core.quantize_codebook(x, scale, one(np.nan), True, None)),
        (ValueError, "scale, codebook: ", lambda: _core.quantize_codebook(x, one(0), book, True, None)),
        (ValueError, "scale: ", lambda: _core.quantize_codebook(x, np.ones((1, 4), np.float32), book, True, None)),
        (ValueError, "codes, scale: ", lambda: _core.dequantize_codebook(codes * 4, scale, book, None)),
        (TypeError, "codes: ", lambda: _core.dequantize_codebook(codes.view(np.int8), scale, book, None)),
    ]
    for error, message, case in cases:
        with pytest.raises(error, match=f"^{message}"):
            case()
