"""The weight-only product and the dynamic linear layer equal the reference, bit for bit, on every instruction set."""

from fractions import Fraction

import numpy as np
import pytest
import reference
from samples import LAYOUTS, codes, dynamic_linear, same_bytes, zero_points

from qlite import _core

ROWS = [1, 2, 3, 4, 5, 6, 7, 9, 13, 17, 33]
SHAPES = [(m, k, n) for m in ROWS for k, n in ((1, 1), (7, 8), (33, 17), (64, 31), (130, 65))]
EMPTY = [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)]


def exactly_rounded(value):
    """A fraction as the nearest float32, ties to even."""
    if value == 0:
        return np.float32(0)
    exponent = max(value.numerator.bit_length() - value.denominator.bit_length() - 24, -149)
    while abs(value) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    return np.float32(float(round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent))


def test_reference_fma_is_fused(rng):
    """The reference's fused multiply-add against exact rational arithmetic, near-ties and underflow included."""
    x = (rng.normal(size=3000) * 2.0 ** rng.integers(-30, 30, 3000)).astype(np.float32)
    y = rng.integers(-383, 384, 3000).astype(np.float32)
    z = (-x * y * (1 + rng.choice([0, 2.0**-20, 2.0**-3, 1.0, 2.0**24], 3000))).astype(np.float32)
    x[::7] = rng.normal(size=429).astype(np.float32) * np.float32(1e-42)
    for a, b, c in zip(x, y, z, strict=True):
        got = reference.fma(np.array([a]), np.array([b]), np.array([c]))[0]
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        assert got == exactly_rounded(exact), (a, b, c)


def weights(rng, k, n, dtype):
    """Codes, zero points, scales and bias."""
    scale, bias = rng.uniform(0.001, 0.1, n), rng.normal(size=n)
    return codes(rng, (k, n), dtype), zero_points(rng, n, dtype), scale.astype(np.float32), bias.astype(np.float32)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("activation", reference.CLAMPS)
def test_weight_only_product(isa, rng, dtype, activation):
    bounds = reference.CLAMPS[activation]
    for m, k, n in SHAPES + EMPTY:
        w, z, scale, bias = weights(rng, k, n, dtype)
        x = rng.normal(size=(m, k)).astype(np.float32)
        got = _core.matmul_float(x, _core.Packed.matrix(w, z, "float"), scale, bias, activation, None)
        same_bytes(got, reference.matmul_float(x, w, scale, z, bias, *bounds))
        got = _core.matmul_float(x, _core.Packed.matrix(w, None, "float"), scale, None, activation, None)
        same_bytes(got, reference.matmul_float(x, w, scale, 0, 0, *bounds))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("activation", reference.CLAMPS)
def test_dynamic_linear(isa, rng, dtype, activation):
    bounds = reference.CLAMPS[activation]
    for m, k, n in SHAPES + EMPTY:
        w, z, scale, bias = weights(rng, k, n, dtype)
        x = rng.normal(rng.normal(), 2.0 ** rng.integers(-20, 20), (m, k)).astype(np.float32)
        got = dynamic_linear(x, _core.Packed.matrix(w, z, "integer"), scale, bias, activation, None)
        same_bytes(got, reference.linear(x, w, scale, z, bias, *bounds))
        got = dynamic_linear(x, _core.Packed.matrix(w, None, "integer"), scale, None, activation, None)
        same_bytes(got, reference.linear(x, w, scale, 0, 0, *bounds))


def special_rows(k):
    """Rows whose range is zero, one-sided, tiny or huge."""
    ramp = np.linspace(-1, 1, k, dtype=np.float32)
    rows = [ramp, 0 * ramp, -0.0 * ramp, 5 + ramp, -5 + ramp, 0.5 + ramp, np.abs(ramp) * 3.4e38]
    rows += [ramp * size for size in (1e-44, 1e-38, 1e-30, 3.4e38)]
    rows += [np.full(k, value) for value in (3.0, -3.0, 1e-45, reference.HUGE)]
    return np.array(rows, np.float32)


def test_dynamic_linear_of_special_rows(isa, rng):
    x = special_rows(37)
    w, z, scale, bias = weights(rng, 37, 19, np.int8)
    got = dynamic_linear(x, _core.Packed.matrix(w, z, "integer"), scale, bias, None, None)
    same_bytes(got, reference.linear(x, w, scale, z, bias))
    for row in range(len(x)):
        alone = dynamic_linear(x[row : row + 1], _core.Packed.matrix(w, z, "integer"), scale, bias, None, None)
        same_bytes(alone, got[row : row + 1])


def test_weight_only_product_of_special_rows(isa, rng):
    x = special_rows(37)
    w, z, scale, bias = weights(rng, 37, 19, np.int8)
    scale *= np.float32(1e-3)
    got = _core.matmul_float(x, _core.Packed.matrix(w, z, "float"), scale, bias, None, None)
    same_bytes(got, reference.matmul_float(x, w, scale, z, bias))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_inputs_are_refused(isa, bad):
    packed = _core.Packed.matrix(np.ones((20, 3), np.int8), None, "integer")
    scale = np.ones(3, np.float32)
    for position in (0, 7, 19):
        x, out = np.ones((4, 20), np.float32), np.full((4, 3), 77, np.float32)
        x[3, position] = bad
        with pytest.raises(ValueError, match=r"^x: "):
            dynamic_linear(x, packed, scale, None, None, out)
        assert (out == 77).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(isa, rng, layout):
    w, z, scale, bias = weights(rng, 23, 11, np.int8)
    plain = rng.normal(size=(9, 23)).astype(np.float32)
    x = LAYOUTS[layout](plain)
    integer, floating = (_core.Packed.matrix(LAYOUTS[layout](w), z, purpose) for purpose in ("integer", "float"))
    same_bytes(dynamic_linear(x, integer, scale, bias, None, None), reference.linear(plain, w, scale, z, bias))
    got = _core.matmul_float(x, floating, scale, bias, "relu", None)
    same_bytes(got, reference.matmul_float(plain, w, scale, z, bias, 0))


def test_out_and_arguments(isa, rng):
    w, z, scale, bias = weights(rng, 8, 5, np.int8)
    x = rng.normal(size=(4, 8)).astype(np.float32)
    calls = {"integer": (dynamic_linear, reference.linear), "float": (_core.matmul_float, reference.matmul_float)}
    for purpose, (function, expected) in calls.items():
        packed, out = _core.Packed.matrix(w, z, purpose), np.zeros((4, 5), np.float32)
        assert function(x, packed, scale, bias, None, out) is out
        same_bytes(out, expected(x, w, scale, z, bias))
        for array in (np.zeros((4, 5)), np.zeros((5, 4), np.float32), LAYOUTS["read_only"](out)):
            with pytest.raises((TypeError, ValueError), match=r"^out: "):
                function(x, packed, scale, bias, None, array)
        for name, arguments in (
            ("x", (x[:, :7], packed, scale, bias)),
            ("x", (x[0, 0], packed, scale, bias)),
            ("scale", (x, packed, scale[:4], bias)),
            ("scale", (x, packed, None, bias)),
            ("bias", (x, packed, scale, bias[:4])),
        ):
            with pytest.raises((TypeError, ValueError), match=rf"^{name}: "):
                function(*arguments, None, None)
        other = _core.Packed.matrix(w, z, "float" if purpose == "integer" else "integer")
        with pytest.raises(ValueError, match=r"^w: "):
            function(x, other, scale, bias, None, None)


def test_depth_limit_of_dynamic_linear(isa):
    """u8 rows against s8 weights, with row zero points that the data choose: exact, or an error."""
    limit = 2**31 // (255 * 128)
    for k in (limit, limit + 1):
        w, x = np.full((k, 2), -128, np.int8), np.full((3, k), -1, np.float32)
        x[:, 0] = [0, 1, 254]
        packed, scale = _core.Packed.matrix(w, None, "integer"), np.ones(2, np.float32)
        if k == limit:
            same_bytes(dynamic_linear(x, packed, scale, None, None, None), reference.linear(x, w, scale))
            continue
        with pytest.raises(OverflowError, match=r"^w: "):
            dynamic_linear(x, packed, scale, None, None, None)
