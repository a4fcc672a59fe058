"""Rounding modes, masks and `out` through the public functions."""

import numpy as np
import pytest
import reference
from samples import same_bytes

import qlite as ql

GRIDS = [
    ({"bits": 8}, {}),
    ({"bits": 4, "symmetric": False}, {"axis": 1}),
    ({"bits": 3}, {"axis": 0, "group_size": 8}),
    ({"bits": 12, "symmetric": False}, {"group_size": 7}),
    ({"bits": 16}, {"axis": 1, "group_size": 3}),
]
CODEBOOKS = [{"grid": "nf4"}, {"grid": "fp8_e4m3", "axis": 1}, {"grid": "kmeans", "axis": 0}, {"grid": "mxfp4"}]
ROUNDINGS = [("even", 0), ("away", 0), ("stochastic", 0), ("stochastic", 2**64 - 1)]


def with_ties(rng, p):
    """Data of which a third lies half way between two codes, a third far outside."""
    w = rng.normal(0, 3, (12, 20)).astype(np.float32)
    scale = reference.spread(p.scale, w.shape, **groups_of(p))
    w[::3] = ((rng.integers(p.qmin, p.qmax, w.shape) + np.float32(0.5)) * scale)[::3]
    w[1::3] *= 100
    return w


def groups_of(p):
    return dict(zip(("group_size", "group_axis"), p.granularity.groups, strict=True))


def chosen(rng, options, granularity):
    """A grid with powers of two as scales, so that there are exact ties."""
    return ql.choose_qparams(rng.normal(size=(12, 20)), **options, **granularity, scale_dtype="e8m0")


@pytest.mark.parametrize("rounding, seed", ROUNDINGS)
@pytest.mark.parametrize("options, granularity", GRIDS, ids=str)
def test_roundings(isa, rng, options, granularity, rounding, seed):
    p = chosen(rng, options, granularity)
    w = with_ties(rng, p)
    q = ql.quantize(w, p, rounding=rounding, seed=seed)
    arguments = (p.scale, p.zero_point, p.qmin, p.qmax, rounding, seed)
    expected = reference.quantize(w, *arguments, **groups_of(p))
    same_bytes(q.codes, expected.astype(p.dtype))
    same_bytes(ql.fake_quantize(w, p, rounding=rounding, seed=seed), q.dequantize())


def test_roundings_differ(rng):
    w = np.arange(-4, 5) + 0.5
    even, away = (ql.quantize(w, scale=1.0, rounding=r).codes.tolist() for r in ("even", "away"))
    assert even == [-4, -2, -2, 0, 0, 2, 2, 4, 4]
    assert away == [-4, -3, -2, -1, 1, 2, 3, 4, 5]
    assert ql.quantize(w, scale=1.0, rounding="stochastic", seed=1) != ql.quantize(
        w, scale=1.0, rounding="stochastic", seed=2
    )


def test_stochastic_rounding_is_right_on_average(rng):
    """Of n draws the mean lies within five standard deviations of the value; numbers on the grid do not move."""
    n = 100_000
    for fraction in (0.1, 0.5, 0.9):
        codes = ql.quantize(np.full(n, 3 + fraction), scale=1.0, rounding="stochastic", seed=7).codes
        assert set(np.unique(codes)) == {3, 4}
        assert abs(codes.mean() - 3 - fraction) < 5 * np.sqrt(fraction * (1 - fraction) / n)
    whole = rng.integers(-127, 128, 1000).astype(np.float32)
    same_bytes(ql.quantize(whole, scale=1.0, rounding="stochastic", seed=3).dequantize(), whole)


@pytest.mark.parametrize("options, granularity", GRIDS, ids=str)
def test_mask(isa, rng, options, granularity):
    """Where the straight-through gradient passes: where rounding, not clipping, made the value."""
    p = chosen(rng, options, granularity)
    w = with_ties(rng, p)
    w[0, :3] = np.inf, -np.inf, np.nan
    values, mask = ql.fake_quantize(w, p, return_mask=True, nonfinite="saturate")
    same_bytes(values, ql.fake_quantize(w, p, nonfinite="saturate"))
    same_bytes(mask, reference.in_range(w, p.scale, p.zero_point, p.qmin, p.qmax, **groups_of(p)))
    assert mask.any() and not mask.all()


@pytest.mark.parametrize("options", CODEBOOKS, ids=str)
def test_mask_of_a_codebook(rng, options):
    w = rng.normal(size=(12, 64)).astype(np.float32)
    p = ql.choose_qparams(w, **options)
    low, high = (reference.spread(end, w.shape, **groups_of(p)) for end in p.range)
    x = 2 * w
    values, mask = ql.fake_quantize(x, p, return_mask=True)
    same_bytes(values, ql.quantize(x, p).dequantize())
    same_bytes(mask, (low <= x) & (x <= high))
    assert mask.any() and not mask.all()


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("granularity", [{}, {"axis": 1}, {"axis": 0, "group_size": 8}], ids=str)
def test_out_takes_what_is_stored(rng, bits, granularity):
    w = rng.normal(size=(12, 20)).astype(np.float32)
    expected = ql.quantize(w, bits, symmetric=False, **granularity)
    out = np.empty_like(expected.stored)
    q = ql.quantize(w, bits, symmetric=False, **granularity, out=out)
    assert q == expected and np.shares_memory(q.stored, out)
    same_bytes(out, expected.stored)
    assert not q.stored.flags.writeable and out.flags.writeable
    values = np.empty(w.shape, np.float32)
    assert ql.dequantize(q, out=values) is values
    same_bytes(values, expected.dequantize())
    assert ql.fake_quantize(w, q.qparams, out=w) is w
    same_bytes(w, values)


@pytest.mark.parametrize("options", CODEBOOKS, ids=str)
def test_out_of_codebooks(rng, options):
    w = rng.normal(size=(12, 64)).astype(np.float32)
    expected = ql.quantize(w, **options)
    out = np.empty_like(expected.stored)
    assert ql.quantize(w, **options, out=out) == expected
    same_bytes(out, expected.stored)
    values = np.empty(w.shape, np.float32)
    assert ql.fake_quantize(w, expected.qparams, out=values) is values
    same_bytes(values, expected.dequantize())


@pytest.mark.parametrize("bits", [4, 8, 12])
@pytest.mark.parametrize("grid", ["uniform", "nf4"])
def test_out_that_does_not_fit(rng, grid, bits):
    w = rng.normal(size=(6, 20)).astype(np.float32)
    bits = 4 if grid == "nf4" else bits
    right = ql.quantize(w, bits, grid=grid, axis=0).stored
    read_only = np.zeros_like(right)
    read_only.flags.writeable = False
    wrong = [
        (np.zeros(right.shape, np.float32), TypeError),
        (np.zeros((7, right.shape[1]), right.dtype), ValueError),
        (np.zeros(right.size, right.dtype), ValueError),
        (read_only, ValueError),
        (right.tolist(), TypeError),
    ]
    for out, error in wrong:
        before = np.copy(out)
        with pytest.raises(error, match=r"^out: expected .*, got "):
            ql.quantize(w, bits, grid=grid, axis=0, out=out)
        np.testing.assert_array_equal(out, before)
