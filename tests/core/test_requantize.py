"""Both requantization rules equal the reference on every instruction set."""

import numpy as np
import pytest
import reference
from samples import LAYOUTS, LENGTHS, one, same_bytes

from qlite import _core

RANGES = [(-128, 127, 0), (-128, 127, -128), (-128, 127, 127), (0, 255, 0), (0, 255, 131), (17, 255, 17), (-5, 90, -5)]
MULTIPLIERS = [2.0**-31, 1e-9, 2.0**-24, 1e-4, 0.0037, 0.25, 0.24999999, 1 / 3, 0.5, 0.99999999, 1.0, 167.3, 2.0**20]
EDGES = np.array([-(2**31), -(2**31) + 1, -(2**30), -1, 0, 1, 2**30 - 1, 2**30, 2**31 - 2, 2**31 - 1], np.int32)


def gemmlowp(acc, q, e):
    """Rule B as gemmlowp writes it, one number at a time: the reference's other half."""
    left, right = max(e, 0), max(-e, 0)
    shifted = ((acc << left) + 2**31) % 2**32 - 2**31
    product = shifted * q
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = nudged >> 31 if nudged >= 0 else -(-nudged >> 31)
    mask = (1 << right) - 1
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))


def sums(rng, n):
    """Sums of every magnitude, with the edges of int32 among them."""
    acc = (rng.integers(-(2**31), 2**31, n) >> rng.integers(0, 31, n)).astype(np.int32)
    chosen = rng.random(n) < 0.1
    acc[chosen] = rng.choice(EDGES, chosen.sum())
    return acc


def expected_codes(acc, multiplier, zero_point, qmin, qmax, fixed):
    multiplier = np.asarray(multiplier, np.float64)
    if not fixed:
        return reference.requantize_float(acc, multiplier.astype(np.float32), zero_point, qmin, qmax)
    pairs = np.array([reference.quantize_multiplier(float(v)) for v in multiplier.ravel()], np.int64)
    q, e = pairs.reshape(*multiplier.shape, 2)[..., 0], pairs.reshape(*multiplier.shape, 2)[..., 1]
    return reference.requantize_fixed(acc, q, e, zero_point, qmin, qmax)


@pytest.mark.parametrize("fixed", [False, True], ids=["float", "fixed"])
@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_every_multiplier(isa, rng, multiplier, fixed):
    for n in [*LENGTHS, 5000]:
        qmin, qmax, z = RANGES[n % len(RANGES)]
        acc = sums(rng, n)
        got = _core.requantize(acc, one(multiplier, np.float64), z, qmin, qmax, fixed, None)
        same_bytes(got, expected_codes(acc, multiplier, z, qmin, qmax, fixed))


@pytest.mark.parametrize("fixed", [False, True], ids=["float", "fixed"])
@pytest.mark.parametrize("shape", [(5, 3), (2, 17), (1, 64), (65, 1), (3, 5, 33), (0, 3), (3, 0)])
def test_own_multiplier_along_every_axis(isa, rng, shape, fixed):
    acc = sums(rng, int(np.prod(shape))).reshape(shape)
    for axis in range(len(shape)):
        along = [1] * len(shape)
        along[axis] = shape[axis]
        multiplier = 2.0 ** rng.uniform(-31, 4, along)
        got = _core.requantize(acc, multiplier, 7, -128, 127, fixed, None)
        same_bytes(got, expected_codes(acc, multiplier, 7, -128, 127, fixed))


def test_exponents_side_by_side(isa, rng):
    """Left and right shifts of every size in one row of channels."""
    multiplier = 2.0 ** (np.arange(-32, 30)[None, :] + 0.3)
    acc = sums(rng, 50 * 62).reshape(50, 62)
    got = _core.requantize(acc, multiplier, 0, -128, 127, True, None)
    same_bytes(got, expected_codes(acc, multiplier, 0, -128, 127, True))


@pytest.mark.parametrize("z, qmin, qmax", [(-128, -128, 127), (127, -128, 127), (0, 0, 255), (255, 0, 255), (9, 9, 99)])
def test_one_exponent_for_all(isa, rng, z, qmin, qmax):
    """Every exponent on its own, with sums whose codes lie inside, at the ends and far beyond, and on ties."""
    for exponent in range(-32, 8):
        multiplier = one(2.0**exponent * rng.choice([1.0, 1.37, 1.9999]), np.float64)
        step = max(1.0, 2.0**-exponent / 2)
        near = np.clip(rng.integers(-600, 600, 300) * step, -(2**31), 2**31 - 1).astype(np.int32)
        acc = np.concatenate([near, sums(rng, 100), np.int32([-(2**31), 2**31 - 1])])
        got = _core.requantize(acc, multiplier, z, qmin, qmax, True, None)
        same_bytes(got, expected_codes(acc, multiplier, z, qmin, qmax, True))


@pytest.mark.parametrize("fixed", [False, True], ids=["float", "fixed"])
def test_ties_at_every_position(isa, fixed):
    for n in range(1, 70):
        acc = np.arange(n, dtype=np.int32) * 2 - n | 1
        got = _core.requantize(acc, one(0.5, np.float64), 0, -128, 127, fixed, None)
        expected = np.array([gemmlowp(int(v), 1 << 30, 0) for v in acc]) if fixed else np.rint(acc / 2)
        same_bytes(got, np.clip(expected, -128, 127).astype(np.int8))


def test_fixed_reference_is_gemmlowp(rng):
    for _ in range(3000):
        acc = int(sums(rng, 1)[0])
        q, e = int(rng.integers(2**30, 2**31)), int(rng.integers(-31, 31))
        low, high = -128, 127
        got = reference.requantize_fixed(np.array([acc]), q, e, 3, low, high)
        assert int(got[0]) == min(max(gemmlowp(acc, q, e) + 3, low), high), (acc, q, e)


def test_quantize_multiplier(rng):
    values = [*MULTIPLIERS, 2.0**-32, 2.0**-33, 1e-300, 5e-324, 1 - 2**-40, 2.0**30 * (1 - 2**-30)]
    values += list(2.0 ** rng.uniform(-40, 29.9, 2000))
    values += [(q + part) * 2.0**-40 for q in (2**30, 2**30 + 1, 2**31 - 1) for part in (0.49999, 0.5, 0.50001)]
    for value in values:
        assert _core.quantize_multiplier(value) == reference.quantize_multiplier(value), value


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 2.0**30, 1e300])
def test_multipliers_out_of_range(value):
    with pytest.raises(ValueError, match=r"^value: "):
        _core.quantize_multiplier(value)
    with pytest.raises(ValueError, match=r"^multiplier: "):
        _core.requantize(np.zeros(3, np.int32), one(value, np.float64), 0, -128, 127, True, None)
    with pytest.raises(ValueError, match=r"^multiplier: "):
        _core.requantize(np.zeros(3, np.int32), one(value, np.float64), 0, -128, 127, False, None)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(isa, rng, layout):
    plain = sums(rng, 7 * 19).reshape(7, 19)
    multiplier = 2.0 ** rng.uniform(-20, -5, (1, 19))
    for fixed in (False, True):
        got = _core.requantize(LAYOUTS[layout](plain), multiplier, -3, -128, 127, fixed, None)
        same_bytes(got, expected_codes(plain, multiplier, -3, -128, 127, fixed))


def test_arguments_are_checked():
    acc = np.zeros((2, 3), np.int32)
    half = one(0.5, np.float64)
    with pytest.raises(TypeError, match=r"^acc: "):
        _core.requantize(acc.astype(np.int64), half, 0, -128, 127, False, None)
    with pytest.raises(ValueError, match=r"^multiplier: "):
        _core.requantize(acc, np.full((1, 2), 0.5), 0, -128, 127, False, None)
    for qmin, qmax, z in [(-128, 127, 300), (-128, 255, 0), (1, 0, 0)]:
        with pytest.raises(ValueError, match=r"^multiplier: "):
            _core.requantize(acc, half, z, qmin, qmax, False, None)
    for out in (np.zeros((2, 3), np.int16), np.zeros((3, 2), np.int8), LAYOUTS["read_only"](np.zeros((2, 3), np.int8))):
        with pytest.raises((TypeError, ValueError), match=r"^out: "):
            _core.requantize(acc, half, 0, -128, 127, False, out)
