"""Softmax: equal to the reference on every instruction set, and to LiteRT byte for byte."""

import litert
import numpy as np
import pytest
from reference import activations as reference
from samples import LAYOUTS, codes, same_bytes

import qlite as ql
from qlite import _core

DTYPES = [np.int8, np.uint8]
NAMES = ["int8", "uint8"]
RULES = {"float": reference.softmax_float, "fixed": reference.softmax_fixed}
RESOLVERS = {"float": "default", "fixed": "reference"}
SHAPES = [(1, 1), (3, 2), (7, 10), (2, 3, 16), (5, 17), (2, 100), (1, 255), (1, 1000)]


def lowest(dtype):
    return int(np.iinfo(dtype).min)


def rows(rng, shape, dtype, kind):
    """Codes of every kind: anything, both ends, all equal, near to each other."""
    if kind == "equal":
        return np.full(shape, rng.integers(0, 256) + lowest(dtype), dtype)
    if kind == "near":
        return np.clip(np.rint(rng.normal(128, 8, shape)) + lowest(dtype), lowest(dtype), lowest(dtype) + 255).astype(
            dtype
        )
    return codes(rng, shape, dtype, kind)


KINDS = ["random", "extreme", "equal", "near"]


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("requant", RULES)
def test_softmax(isa, rng, requant, dtype):
    for shape in SHAPES:
        for kind in KINDS:
            x = rows(rng, shape, dtype, kind)
            for scale, beta in [(0.1, 1.0), (2.0 ** rng.uniform(-12, 6), 1.0), (2.0 ** rng.uniform(-6, 1), 0.3)]:
                got = ql.softmax(x, scale, beta=beta, requant=requant)
                same_bytes(got, RULES[requant](x, scale, beta))


@pytest.mark.parametrize("requant", RULES)
@pytest.mark.parametrize("scale", [1e-7, 1e-30, 31.0, 32.0, 33.0, 1e6, 1e30, 3e38, 1.2e-38])
def test_softmax_of_extreme_scales(rng, requant, scale):
    x = codes(rng, (9, 40), np.int8)
    if requant == "fixed" and scale < 2.0**-26:
        with pytest.raises(ValueError, match=r"^scale, beta: "):
            ql.softmax(x, scale, requant=requant)
        return
    same_bytes(ql.softmax(x, scale, requant=requant), RULES[requant](x, scale))


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("requant", RULES)
def test_softmax_is_litert_s(rng, requant, dtype):
    for trial in range(150):
        n = int(rng.choice([1, 2, 3, 5, 10, 16, 33, 100, 256, 500, 1000]))
        x = rows(rng, (int(rng.integers(1, 20)), n), dtype, "random" if n == 1000 else KINDS[trial % 4])
        scale, beta = np.float32(2.0 ** rng.uniform(-5 if n == 1000 else -9, 6)), float(rng.choice([1, 1, 0.5, 3]))
        options = {"beta": beta, "version": 2}
        content = litert.model("SOFTMAX", x, x, (scale, lowest(dtype) + 7), (1 / 256, lowest(dtype)), **options)
        expected = litert.run(content, x, RESOLVERS[requant])
        same_bytes(ql.softmax(x, scale, beta=beta, requant=requant), expected)


def test_softmax_of_many_equal_classes():
    """Beyond 511 of them the reference kernels of TensorFlow Lite stop the process."""
    for n, expected in [(511, -127), (513, -128), (4095, -128)]:
        x = np.full((2, n), 5, np.int8)
        same_bytes(ql.softmax(x, 0.1, requant="fixed"), np.full((2, n), expected, np.int8))
    with pytest.raises(OverflowError, match=r"^x: "):
        ql.softmax(np.zeros((1, 4096), np.int8), 0.1, requant="fixed")
    assert (ql.softmax(np.zeros((1, 5000), np.int8), 0.1) == -128).all()


def test_softmax_of_layouts_and_in_place(rng):
    x = codes(rng, (6, 5, 21), np.uint8)
    for requant, function in RULES.items():
        expected = function(x, 0.07)
        for layout in LAYOUTS.values():
            same_bytes(ql.softmax(layout(x), 0.07, requant=requant), expected)
        y = x.copy()
        assert ql.softmax(y, 0.07, requant=requant, out=y) is y
        same_bytes(y, expected)
        out = np.zeros((6, 5, 42), np.uint8)[..., ::2]
        same_bytes(ql.softmax(x, 0.07, requant=requant, out=out).copy(), expected)
    for shape in [(0, 3), (3, 0), (0,)]:
        assert ql.softmax(np.zeros(shape, np.int8), 1.0).shape == shape


def test_softmax_of_qarrays(rng):
    values = rng.normal(0, 3, (4, 12)).astype(np.float32)
    for bits, signed in [(8, True), (8, False), (4, True), (6, False)]:
        q = ql.quantize(values, bits, signed=signed)
        y = ql.softmax(q)
        same_bytes(y.codes, ql.softmax(q.codes, q.scale.item()))
        assert y.scale.item() == 1 / 256 and y.zero_point.item() == y.qparams.qmin and y.bits == 8
        true = np.exp(np.asarray(q, np.float64))
        true /= true.sum(axis=-1, keepdims=True)
        assert np.abs(np.asarray(y) - true).max() < 0.51 / 256  # half a step, and what float32 adds
    out = np.zeros((4, 12), np.uint8)
    assert ql.softmax(ql.quantize(values, signed=False), out=out).codes.base is not None and out.any()


def test_softmax_refuses(rng):
    x = codes(rng, (2, 3), np.int8)
    q = ql.quantize(rng.normal(size=(2, 3)))
    per_row = ql.quantize(rng.normal(size=(2, 3)), axis=0)
    out = np.full((2, 3), 7, np.int8)
    for error, name, call in [
        (TypeError, "x", lambda: ql.softmax(x.astype(np.int16), 0.1)),
        (TypeError, "x", lambda: ql.softmax("text", 0.1)),
        (TypeError, "x", lambda: ql.softmax(np.ones((2, 3)))),
        (ValueError, "x", lambda: ql.softmax(np.int8(3), 0.1)),
        (ValueError, "x", lambda: ql.softmax(per_row)),
        (ValueError, "x", lambda: ql.softmax(ql.quantize(rng.normal(size=(2, 3)), grid="nf4"))),
        (ValueError, "scale", lambda: ql.softmax(q, 0.1)),
        (TypeError, "scale", lambda: ql.softmax(x)),
        (TypeError, "scale", lambda: ql.softmax(x, [0.1, 0.2])),
        (TypeError, "beta", lambda: ql.softmax(x, 0.1, beta="1")),
        (ValueError, "requant", lambda: ql.softmax(x, 0.1, requant="fast")),
        (ValueError, "scale, beta", lambda: ql.softmax(x, 1e30, beta=1e30, out=out)),
        *((ValueError, "scale", lambda s=s: ql.softmax(x, s, out=out)) for s in (0, -1.0, np.nan, np.inf, 1e300)),
        *((ValueError, "beta", lambda b=b: ql.softmax(x, 0.1, beta=b, out=out)) for b in (0, -1.0, np.nan, 1e-60)),
        (TypeError, "out", lambda: ql.softmax(x, 0.1, out=out.view(np.uint8))),
        (ValueError, "out", lambda: ql.softmax(x, 0.1, out=out.T)),
    ]:
        with pytest.raises(error, match=f"^{name}: "):
            call()
    assert (out == 7).all()
    with pytest.raises(TypeError, match=r"^x: expected a QArray, or .* got float64 \(ql\.quantize\(x\) makes"):
        ql.softmax(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^table: "):
        ql.apply_table(x, np.zeros(255, np.int8))
    with pytest.raises(TypeError, match=r"^codes: "):
        ql.apply_table(x.astype(np.int32), np.zeros(256, np.int8))
    assert _core.lookup(x, np.zeros(256, np.int8), None).shape == x.shape


def test_large_softmax(rng):
    """On as many threads as there are."""
    x = codes(rng, (2000, 500), np.int8)
    for requant in RULES:
        alone = [ql.softmax(part, 0.05, requant=requant) for part in np.split(x, 200)]
        same_bytes(ql.softmax(x, 0.05, requant=requant), np.concatenate(alone))
