"""Arrays whose axes lie in any order give the same codes, values and parameters, and results in that order."""

import itertools

import numpy as np
import pytest
from samples import same_bytes

import qlite as ql

SHAPES = [(7, 5), (64, 33), (3, 8, 5), (2, 3, 5, 4)]
OPTIONS = {
    "tensor": {},
    "first": {"axis": 0},
    "last": {"axis": -1},
    "groups": {"axis": 0, "group_size": 2},
    "blocks": {"group_size": 3, "group_axis": 0},
    "4 bits": {"bits": 4, "axis": -1},
    "3 bits": {"bits": 3},
    "16 bits": {"bits": 16, "axis": 0},
    "codebook": {"grid": "nf4", "axis": 0},
    "fp8": {"grid": "fp8_e4m3", "group_size": 2, "group_axis": 0},
    "kmeans": {"bits": 2, "grid": "kmeans", "axis": 0},
    "own codebooks": {"bits": 2, "grid": "kmeans", "axis": 0, "group_size": 2},
    "mse": {"method": "mse", "axis": 0},
    "sign": {"bits": 1, "axis": -1},
}


def permuted(x):
    """`x` with its axes in every order of memory."""
    for axes in itertools.permutations(range(x.ndim)):
        yield np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))


def order(x):
    return sorted((i for i in range(x.ndim) if x.shape[i] > 1), key=lambda i: -x.strides[i])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPTIONS)
def test_case_k_the_same_everywhere(rng, name, shape):
    x = rng.standard_normal(shape, np.float32)
    expected = ql.quantize(x, **OPTIONS[name])
    values = expected.dequantize()
    for y in permuted(x):
        p = ql.choose_qparams(y, **OPTIONS[name])
        assert p == expected.qparams
        assert ql.quantize(y, p) == expected
        same_bytes(ql.quantize(y, p).dequantize(), values)
        same_bytes(ql.fake_quantize(y, p), values)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_case_k_results_keep_the_order(rng, shape, axis):
    for x in permuted(rng.standard_normal(shape, np.float32)):
        q = ql.quantize(x, axis=axis)
        fake, inside = ql.fake_quantize(x, q.qparams, return_mask=True)
        for result in (q.codes, q.dequantize(), fake, inside):
            assert order(result) == order(x)


def test_case_k_reversed_and_cut_arrays(rng):
    x = rng.standard_normal((40, 30, 6), np.float32)
    for y in (x[::-1], x[:, ::-1].T, x[::2, 1::3].transpose(1, 2, 0), x[5:9, :, ::-2]):
        same_bytes(ql.quantize(y, axis=0).codes, ql.quantize(y.copy(order="C"), axis=0).codes)


@pytest.mark.parametrize("rounding", ["away", "stochastic"])
def test_other_roundings(rng, rounding):
    """Places are counted row by row, however they lie."""
    x = rng.standard_normal((9, 31), np.float32)
    for y in permuted(x):
        same_bytes(
            ql.quantize(y, scale=0.1, rounding=rounding).codes, ql.quantize(x, scale=0.1, rounding=rounding).codes
        )


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("shape, bins", [((40, 50), 256), ((2100, 19), 128), ((3, 70), 128)])
def test_case_k_calibrator(rng, axis, shape, bins):
    x = rng.standard_normal(shape, np.float32)
    x[1, 2] = 0
    for y in (*permuted(x), x[::-1], np.asfortranarray(x)[:, ::-1]):
        by_rows = ql.Calibrator(axis=axis, bins=bins).update(y.copy(order="C"))
        assert ql.Calibrator(axis=axis, bins=bins).update(y).to_json() == by_rows.to_json()


def test_case_k_out_in_another_order(rng):
    x = rng.standard_normal((16, 12), np.float32)
    p = ql.choose_qparams(x, axis=1)
    codes, values = ql.quantize(x, p).codes, ql.fake_quantize(x, p)
    for y in permuted(x):
        for out in permuted(np.zeros((16, 12), np.int8)):
            same_bytes(ql.quantize(y, p, out=out).codes, codes)
            same_bytes(out, codes)
        for out in permuted(np.zeros((16, 12), np.float32)):
            assert ql.fake_quantize(y, p, out=out) is out
            same_bytes(out, values)


def test_out_is_the_transposed_array(rng):
    x = rng.standard_normal((12, 12), np.float32)
    p = ql.choose_qparams(x, axis=1)
    expected = ql.fake_quantize(x, p)
    assert ql.fake_quantize(x, p, out=x.T).base is x
    same_bytes(x.T.copy(), expected)


def test_nothing_is_written_before_an_error(rng):
    x = np.asfortranarray(rng.standard_normal((12, 7), np.float32))
    x[5, 6] = np.nan
    p = ql.QParams(np.float32([0.1]), 0)
    for out in (np.ones((12, 7), np.float32), np.ones((7, 12), np.float32).T):
        with pytest.raises(ValueError, match="x: expected finite"):
            ql.fake_quantize(x, p, out=out)
        assert (out == 1).all()
