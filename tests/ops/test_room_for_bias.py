"""Biases that have no place among the sums: beside weights that are zeros or tiny, or an image of zeros."""

import numpy as np
import pytest
from samples import same_bytes

import qlite as ql

BIAS = np.float32([0.0015, -3, 0, 0.7])
GRID = ql.QParams.from_range(-4.0, 1.0, symmetric=False)
STEP = 0.52 * GRID.scale.item()  # half a code, and what the bias loses when it becomes sums
RULES = ["float", "fixed"]
#: The columns of the weights: ordinary, zeros, and so small that a bias leaves int32 at their scale.
COLUMNS = np.float32([1, 0, 0, 1e-12])

#: By rule, scale and zero point: 6 / scale + zero_point is halfway between two codes.
ENDS_OF_RELU6 = [("float", 4, 1, 2), ("fixed", 4, 1, 3), ("float", 12, 1, 2), ("fixed", 12, 1, 2), ("fixed", 12, 2, 3)]
ENDS_OF_RELU6 += [("float", 12, 2, 2), ("float", 4, -4, -2), ("fixed", 4, -4, -2)]


def matrix(rng, **options):
    return ql.quantize(rng.normal(size=(6, 4)).astype(np.float32) * COLUMNS, axis=1, **options)


def filters(rng, **options):
    return ql.quantize(rng.normal(size=(3, 3, 2, 4)).astype(np.float32) * COLUMNS, axis=3, **options)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_case_a_linear_of_codes(rng, order, symmetric):
    w, bias = matrix(rng, symmetric=symmetric), BIAS[order]
    x = ql.quantize(rng.normal(size=(5, 6)), symmetric=False)
    exact = x.dequantize().astype(np.float64) @ w.dequantize() + bias
    for weights in (w, ql.pack(w)):
        y = ql.linear(x, weights, bias)
        np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(y[:, 1:], np.tile(bias[1:], (5, 1)), rtol=0, atol=1e-11)
        same_bytes(ql.linear(x, weights, bias, activation="relu"), np.maximum(y, 0))
        for rule in RULES:
            codes = ql.linear(x, weights, bias, output_qparams=GRID, requant=rule)
            np.testing.assert_allclose(codes, np.clip(exact, *GRID.range), atol=STEP)
            alone = [ql.linear(x[i : i + 1], weights, bias, output_qparams=GRID, requant=rule).codes for i in range(5)]
            same_bytes(codes.codes, np.concatenate(alone))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("per", ["image", "tensor"])
def test_case_a_convolutions_of_floats(rng, groups, per):
    w = filters(rng)
    x = rng.normal(size=(3, 5, 5, 2 * groups)).astype(np.float32) * np.float32([1, 0, 1e3]).reshape(3, 1, 1, 1)
    if per == "tensor":
        x[2] *= np.float32(1e-3)
    plain = ql.conv2d(x, w, groups=groups, per=per)
    y = ql.conv2d(x, w, BIAS, groups=groups, per=per)
    np.testing.assert_allclose(y, plain + BIAS, rtol=1e-6)
    same_bytes(y[1], np.broadcast_to(BIAS, y[1].shape))
    for rule in RULES:
        options = {"groups": groups, "per": per, "output_qparams": GRID, "requant": rule}
        for weights in (w, ql.pack(w, groups=groups)):
            codes = ql.conv2d(x, weights, BIAS, activation="relu6", **options)
            np.testing.assert_allclose(codes, np.clip(y, 0, GRID.range[1]), atol=STEP)


@pytest.mark.parametrize("rule, scale, zero_point, greatest", ENDS_OF_RELU6)
def test_a_bias_beyond_relu6_becomes_its_greatest_code(rng, rule, scale, zero_point, greatest):
    grid = ql.QParams(np.float32([scale]), zero_point)
    x, bias = ql.quantize(rng.normal(size=(5, 6)), symmetric=False), np.float32([1e3, 1e3, -1e3, 1e3])
    y = ql.linear(x, matrix(rng), bias, activation="relu6", output_qparams=grid, requant=rule)
    same_bytes(y.codes, np.tile(np.int8([greatest, greatest, zero_point, greatest]), (5, 1)))


def test_case_a_convolutions_of_codes(rng):
    w, x = filters(rng), ql.quantize(rng.normal(size=(2, 5, 5, 2)), symmetric=False)
    y = ql.conv2d(x, w, BIAS)
    np.testing.assert_allclose(y, ql.conv2d(x, w) + BIAS, rtol=1e-5, atol=1e-4)
    for rule in RULES:
        codes = ql.conv2d(x, w, BIAS, output_qparams=GRID, requant=rule)
        np.testing.assert_allclose(codes, np.clip(y, *GRID.range), atol=STEP)


@pytest.mark.parametrize("size", [1, 3])
def test_case_a_images_of_zeros_give_their_bias(rng, size):
    w = ql.quantize(100 * rng.normal(size=(3, 3, 2, 4)), axis=3)
    x = np.zeros((size, 4, 4, 2), np.float32)
    same_bytes(ql.conv2d(x, w, BIAS), np.broadcast_to(BIAS, (size, 2, 2, 4)))
    codes = ql.conv2d(x, w, BIAS, output_qparams=GRID)
    same_bytes(codes.codes, np.broadcast_to(ql.quantize(BIAS, GRID).codes, (size, 2, 2, 4)))


def test_case_a_results_over_the_operands(rng):
    x, w = ql.quantize(rng.normal(size=(4, 4)), symmetric=False), ql.quantize(np.diag(COLUMNS), axis=1)
    expected = ql.linear(x, w, BIAS, output_qparams=GRID)
    memory = x.codes.copy()
    same_bytes(ql.linear(ql.QArray(memory, x.qparams), w, BIAS, output_qparams=GRID, out=memory).codes, expected.codes)
    floats = ql.linear(x, w, BIAS)
    memory = np.tile(BIAS, (4, 1))
    same_bytes(ql.linear(x, w, memory[1], out=memory), floats)
    image, filter = np.ones((1, 2, 2, 1), np.float32), ql.quantize(COLUMNS[None, None, None], axis=3)
    floats = ql.conv2d(image, filter, BIAS)
    memory = np.tile(BIAS, (1, 2, 2, 1))
    same_bytes(ql.conv2d(image, filter, memory[0, 0, 1], out=memory), floats)
