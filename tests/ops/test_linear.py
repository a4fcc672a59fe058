"""Products through the public API: exact integers, and float results within what 8 bits promise."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from models import onnxruntime
from samples import LAYOUTS, codes, same_bytes, zero_points

import qlite as ql

PROPERTY = settings(derandomize=True, deadline=None, database=None, max_examples=100)
W = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
TYPES = [(a, b) for a in (np.uint8, np.int8) for b in (np.int8, np.uint8)]
PEER_TYPES = [types for types in TYPES if types != (np.int8, np.uint8)]  # the pair that onnxruntime lacks
SHAPES = [(1, 1, 1), (1, 64, 17), (5, 7, 3), (33, 100, 65), (0, 4, 3), (3, 4, 0), (2, 0, 5)]
# Each factor is off by at most half a step, a little more for the roundings of float32 on the way.
FLOAT_SLACK = 1.001
# The same sum by NumPy in float32, in another order: six terms, each rounded.
ORDER_TOLERANCE = 1e-5
# 33 products of values that were rounded to float32, and their sum in float32, next to exact integers.
DEPTH_TOLERANCE = 1e-4


def names(types):
    return "-".join(t.__name__ for t in types)


@pytest.mark.parametrize("types", TYPES, ids=names)
@pytest.mark.parametrize("m, k, n", SHAPES)
def test_matmul_integer(rng, types, m, k, n):
    a, b = codes(rng, (m, k), types[0]), codes(rng, (k, n), types[1])
    rows, columns = zero_points(rng, m, types[0]), zero_points(rng, n, types[1])
    one_a, one_b = int(zero_points(rng, 1, types[0])[0]), int(zero_points(rng, 1, types[1])[0])
    for za, zb in ((0, 0), (one_a, one_b), (rows, columns), (rows, one_b), (one_a, columns)):
        expected = reference.matmul_integer(a, b, np.reshape(za, (-1, 1)), zb)
        same_bytes(ql.matmul_integer(a, b, za, zb), expected)
        same_bytes(ql.matmul_integer(a, ql.pack(b, zb), za), expected)


@pytest.mark.parametrize("form", ["list", "int8", "int64", "uint8_0d", "column"])
def test_forms_of_zero_points(rng, form):
    a, b = codes(rng, (3, 8), np.uint8), codes(rng, (8, 4), np.int8)
    rows, columns = np.int64([1, 2, 127]), np.int64([3, 0, 5, 100])
    make = {
        "list": lambda z: z.tolist(),
        "int8": lambda z: z.astype(np.int8),
        "int64": lambda z: z,
        "uint8_0d": lambda z: np.uint8(z[0]),
        "column": lambda z: z[:, None] if len(z) == 3 else z[None],  # as they broadcast against a and b
    }[form]
    za, zb = make(rows), make(columns)
    expected = reference.matmul_integer(a, b, np.reshape(za, (-1, 1)), zb)
    same_bytes(ql.matmul_integer(a, b, za, zb), expected)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_a_quantized_left_operand(isa, rng, bits, axis, signed):
    x = rng.normal(0.4, 1, (9, 33)) * rng.uniform(0.1, 5, (9, 1))
    q, b = ql.quantize(x, bits, axis=axis, symmetric=False, signed=signed), codes(rng, (33, 7), np.int8)
    w = ql.quantize(rng.normal(size=(33, 7)), axis=1, symmetric=False)
    expected = reference.matmul_integer(q.codes, b, q.zero_point, 5)
    same_bytes(ql.matmul_integer(q, b, b_zero_point=5), expected)
    same_bytes(ql.matmul_integer(q, ql.pack(b, 5)), expected)
    same_bytes(ql.matmul_integer(q, w), reference.matmul_integer(q.codes, w.codes, q.zero_point, w.zero_point))
    approximate = ql.matmul_integer(q, w) * (q.scale * w.scale)
    assert np.allclose(approximate, np.asarray(q) @ np.asarray(w), rtol=DEPTH_TOLERANCE, atol=DEPTH_TOLERANCE)


def test_left_operands_that_have_no_integer_product():
    b = np.ones((64, 2), np.int8)
    for q in (
        ql.quantize(np.ones((4, 64)), axis=1),
        ql.quantize(np.ones((4, 64)), 4, axis=0, group_size=32),
        ql.quantize(np.ones((4, 64)), grid="nf4"),
        ql.quantize(np.ones((4, 64)), 16),
        ql.quantize(np.ones(64)),
    ):
        with pytest.raises(ValueError, match=r"^a: expected 2 dimensions .*one scale or one per row \(axis=0\), got Q"):
            ql.matmul_integer(q, b)
    with pytest.raises(ValueError, match=r"^a_zero_point: expected 0 with a QArray"):
        ql.matmul_integer(ql.quantize(np.ones((4, 64))), b, 3)


def test_errors_say_what_would_do():
    x, w = np.ones((2, 3)), np.ones((3, 2))
    with pytest.raises(TypeError, match=r"^w: .*\(ql\.quantize\(w, axis=1\)\)"):
        ql.linear(x, w)
    q = ql.quantize(w, axis=1)
    for right in (x, x.tolist(), q):
        with pytest.raises(TypeError, match=r"x @ q, or q\.dequantize\(\) @ x"):
            q @ right
    assert (x @ q).shape == (2, 2)
    with pytest.raises(TypeError, match=r"^x: expected int8 or uint8, got a QArray"):
        ql.conv2d_integer(ql.quantize(np.ones((1, 1, 1, 1))), np.ones((1, 1, 1, 1), np.int8))


@PROPERTY
@given(data=st.data(), m=st.integers(0, 20), k=st.integers(0, 70), n=st.integers(0, 40), types=st.sampled_from(TYPES))
def test_any_product(data, m, k, n, types):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    fill = data.draw(st.sampled_from(["random", "extreme", "lowest", "highest"]))
    a, b = codes(rng, (m, k), types[0], fill), codes(rng, (k, n), types[1], fill)
    za, zb = zero_points(rng, m, types[0]), zero_points(rng, n, types[1])
    same_bytes(ql.matmul_integer(a, b, za, zb), reference.matmul_integer(a, b, za[:, None], zb))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(rng, layout):
    a, b = codes(rng, (6, 9), np.uint8), codes(rng, (9, 7), np.int8)
    expected = reference.matmul_integer(a, b)
    same_bytes(ql.matmul_integer(LAYOUTS[layout](a), LAYOUTS[layout](b)), expected)
    if layout != "read_only":
        out = LAYOUTS[layout](np.zeros((6, 7), np.int32))
        assert ql.matmul_integer(a, b, out=out) is out
        np.testing.assert_array_equal(out, expected)


def test_one_pack_serves_many_products(rng):
    b = codes(rng, (50, 20), np.int8)
    packed = ql.pack(b, 3)
    assert packed.shape == (50, 20)
    assert packed.nbytes >= b.nbytes
    assert packed.isa in repr(packed) and "(50, 20)" in repr(packed)
    b_before, b[:] = b.copy(), 0  # the packed form is a copy
    for m in (1, 14, 200):
        for dtype in (np.uint8, np.int8):
            a = codes(rng, (m, 50), dtype)
            same_bytes(ql.matmul_integer(a, packed), reference.matmul_integer(a, b_before, 0, 3))


def test_pack_for_seven_bits(rng):
    a, b = codes(rng, (5, 33), np.uint8) & np.uint8(127), codes(rng, (33, 17), np.int8)
    packed = ql.pack(b, activation_bits=7)
    assert (packed.activation_bits, ql.pack(b).activation_bits) == (7, 8)
    same_bytes(ql.matmul_integer(a, packed, 3), reference.matmul_integer(a, b, 3, 0))
    same_bytes(ql.matmul_integer(a.view(np.int8), packed, -3), reference.matmul_integer(a, b, -3, 0))
    a[4, 32] = 128
    with pytest.raises(ValueError, match=r"^a: expected codes from 0 to 127"):
        ql.matmul_integer(a, packed)
    for bits in (0, 9, "8", True, 7.0):
        with pytest.raises((TypeError, ValueError), match=r"^activation_bits: expected "):
            ql.pack(b, activation_bits=bits)
    w = ql.quantize(b.astype(np.float32), axis=1)
    same_bytes(ql.matmul_integer(a[:4], ql.pack(w, activation_bits=4)), reference.matmul_integer(a[:4], w.codes, 0, 0))
    with pytest.raises(ValueError, match=r"^w: expected weights packed for 8-bit activations, got 7"):
        ql.linear(np.zeros((1, 33)), ql.pack(w, activation_bits=7))


def test_packed_weights_say_what_takes_them():
    packed = ql.pack(ql.quantize(np.eye(3), axis=1))
    for product in (lambda: np.eye(3) @ packed, lambda: np.matmul(np.eye(3), packed), lambda: packed @ np.eye(3)):
        with pytest.raises(TypeError, match=r"linear|__array_ufunc__"):
            product()
    with pytest.raises(TypeError, match=r"^PackedWeight: .*pickle the QArray"):
        pickle.dumps(packed)
    with pytest.raises(TypeError, match=r"^b: expected a QArray, or codes of int8 or uint8, got a PackedWeight"):
        ql.pack(packed)
    assert copy.copy(packed) is copy.deepcopy(packed) is packed


def test_errors_of_dtypes_say_what_makes_the_right_one():
    floats, ints = np.eye(3), np.eye(3, dtype=np.uint8)
    w = ql.quantize(floats, axis=1)
    for call, message in (
        (lambda: ql.linear(floats, floats), r"^w: .*\(ql\.quantize\(w, axis=1\)\).* got an ndarray of float64"),
        (lambda: ql.linear(floats, ints), r"^w: .*\(QArray\.from_codes\(w, scale\)\).* got an ndarray of uint8"),
        (lambda: ql.linear(floats, None), r"^w: .*\(ql\.quantize\(w, axis=1\)\).* got NoneType"),
        (lambda: ql.linear(ints, w), r"^x: .* got uint8 \(QArray\.from_codes\(x, scale\)"),
        (lambda: ql.linear(ints.astype(int), w), r"^x: .* got int64 \(\.astype\(np\.float32\)"),
        (lambda: ql.conv2d(ints, floats), r"^w: .*\(ql\.quantize\(w, axis=3\)\)"),
        (lambda: ql.matmul_integer(floats, w), r"^a: .* got float64 \(ql\.quantize\(a\) makes codes of floats\)"),
        (lambda: ql.matmul_integer(ints, floats), r"^b: .* got float64 \(ql\.quantize\(b\)"),
        (lambda: ql.pack(floats), r"^b: .* got float64 \(ql\.quantize\(b\)"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_vectors_of_another_shape_are_named_by_it():
    w, codes = ql.quantize(np.eye(3), axis=1), np.zeros((2, 3), np.int8)
    for x in (np.eye(3), ql.quantize(np.eye(3))):
        for bias in (np.zeros(2), np.zeros((3, 1)), np.float64(0)):
            with pytest.raises(ValueError, match=rf"^bias: expected shape \(3,\), got {re.escape(str(bias.shape))}$"):
                ql.linear(x, w, bias)
    with pytest.raises(ValueError, match=r"^table: expected shape \(256,\), got \(16, 16\)$"):
        ql.apply_table(codes, np.zeros((16, 16), np.int8))


def test_activations_that_are_no_clamp_are_pointed_to_tables():
    w, codes = ql.quantize(np.eye(3), axis=1), ql.quantize(np.eye(3))
    with pytest.raises(ValueError, match=r"^activation: expected None, 'relu' or 'relu6', got 'gelu' \(lookup_table"):
        ql.linear(codes, w, activation="gelu")
    with pytest.raises(ValueError, match=r"^activation: .* got 'ReLU': did you mean 'relu'"):
        ql.linear(codes, w, activation="ReLU")
    same_bytes(ql.linear(codes, w, activation=np.str_("relu")), ql.linear(codes, w, activation="relu"))


def test_the_deepest_product_and_one_more():
    deepest = (2**31 - 1) // (255 * 128)
    a, b = np.full((1, deepest + 1), 255, np.uint8), np.full((deepest + 1, 1), -128, np.int8)
    assert ql.matmul_integer(a[:, 1:], b[1:]) == -255 * 128 * deepest
    out = np.full((1, 1), 7, np.int32)
    with pytest.raises(OverflowError, match=r"^a, b: "):
        ql.matmul_integer(a, b, out=out)
    assert out == 7


@pytest.mark.parametrize("types", PEER_TYPES, ids=names)
def test_matmul_integer_as_onnxruntime(rng, types):
    # Weights in 7 bits: without VNNI the peer adds pairs of products in 16 bits, which saturate.
    a = codes(rng, (33, 100), types[0])
    b = rng.integers(*((-63, 64) if types[1] == np.int8 else (0, 64)), (100, 17)).astype(types[1])
    za, zb = types[0](77), types[1](5)
    same_bytes(ql.matmul_integer(a, b, za, zb), onnxruntime("MatMulInteger", [a, b, za, zb], np.int32))


def test_quantized_arrays_in_integer_products():
    q = ql.quantize(W, axis=1, symmetric=False)
    a = np.arange(12, dtype=np.uint8).reshape(2, 6)
    same_bytes(ql.matmul_integer(a, q, 3), ql.matmul_integer(a, q.codes, 3, q.zero_point))
    same_bytes(ql.linear(W.T @ W @ W.T, q), ql.linear(W.T @ W @ W.T, ql.pack(q)))
    with pytest.raises(ValueError, match=r"^b_zero_point: "):
        ql.matmul_integer(a, q, 0, 1)


# ---- linear -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis, symmetric", [(None, True), (None, False), (1, True), (1, False)])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("m, k, n", [(1, 1, 1), (1, 64, 10), (17, 33, 5), (100, 128, 64), (0, 3, 2)])
def test_linear(rng, m, k, n, axis, symmetric, activation):
    x, weight = rng.normal(0.5, 1, (m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    bias = rng.normal(size=n).astype(np.float32)
    w = ql.quantize(weight, axis=axis, symmetric=symmetric)
    low = 0 if activation else -np.inf
    expected = reference.linear(x, w.codes, w.scale, w.zero_point, bias, low)
    y = ql.linear(x, w, bias, activation=activation)
    same_bytes(y, expected)
    same_bytes(ql.linear(x, ql.pack(w), bias, activation=activation), expected)
    out = np.full((m, n), np.nan, np.float32)
    assert ql.linear(x, w, bias, activation=activation, out=out) is out
    same_bytes(out, expected)
    same_bytes(ql.linear(x, w), reference.linear(x, w.codes, w.scale, w.zero_point))

    # The budget: half a step of x times |w|, half a step of w times |x|, and the product of both halves.
    exact = np.maximum(x.astype(np.float64) @ weight + bias, low)
    span = np.maximum(x, 0).max(axis=1, initial=0) - np.minimum(x, 0).min(axis=1, initial=0)
    x_half = span[:, None] / 255 / 2
    w_half = np.broadcast_to(w.scale, (1, n)) / 2
    budget = x_half * np.abs(weight).sum(0) + np.abs(x).sum(1, keepdims=True) * w_half + k * x_half * w_half
    assert np.all(np.abs(y - exact) <= budget * FLOAT_SLACK)


def test_linear_takes_lists_and_every_float(rng):
    x, w = rng.normal(size=(3, 6)).astype(np.float16), ql.quantize(rng.normal(size=(6, 4)), axis=1)
    expected = ql.linear(x.astype(np.float32), w, np.ones(4, np.float32))
    for same_x in (x, x.astype(np.float64), x.astype(">f4"), x.tolist(), np.asfortranarray(x)):
        same_bytes(ql.linear(same_x, w, [1.0] * 4), expected)


@pytest.mark.parametrize("per", ["row", "tensor"])
def test_linear_of_more_rows_than_memory(per):
    """Rows of no values take no memory, however many they are."""
    w = ql.QArray.from_codes(np.zeros((0, 0), np.int8), 1.0)
    assert ql.linear(np.zeros((2**60, 0), np.float32), w, per=per).shape == (2**60, 0)


def test_linear_sees_each_row_alone(rng):
    """A row with an outlier costs the others nothing; rows of zeros and of one value are exact."""
    w = ql.quantize(rng.normal(size=(6, 4)), axis=1)
    x = rng.normal(size=(5, 6)).astype(np.float32)
    x[1] *= 1e6
    x[2], x[3] = 0, -0.75
    together = ql.linear(x, w)
    for i in range(5):
        same_bytes(ql.linear(x[i : i + 1], w), together[i : i + 1])
    assert not together[2].any()
    np.testing.assert_allclose(together[3], -0.75 * w.dequantize().sum(axis=0), rtol=ORDER_TOLERANCE)


def test_linear_is_as_good_as_eight_bits(rng):
    """Noise of two uniform roundings, s**2 / 12 each: the measured error is what theory says."""
    x, weight = rng.normal(size=(500, 256)).astype(np.float32), rng.normal(size=(256, 64)).astype(np.float32)
    w = ql.quantize(weight, axis=1)
    noise = np.mean((ql.linear(x, w) - x.astype(np.float64) @ weight) ** 2)
    x_step = np.mean(((x.max(1) - x.min(1)) / 255) ** 2)
    expected = 256 * (x_step / 12 + np.mean(w.scale.astype(np.float64) ** 2) / 12)
    assert math.isclose(noise, expected, rel_tol=0.1)  # 32,000 sums, correlated in rows and columns


@pytest.mark.parametrize("per", ["row", "tensor"])
@pytest.mark.parametrize("activation, low, high", [(None, -np.inf, np.inf), ("relu", 0, np.inf), ("relu6", 0, 6)])
@pytest.mark.parametrize("shape", [(7,), (1, 7), (2, 3, 7), (2, 0, 7), (3, 1, 2, 7)])
def test_linear_on_any_leading_shape(isa, rng, shape, activation, low, high, per):
    x = rng.normal(0.5, 3, shape).astype(np.float32)
    w, bias = ql.quantize(rng.normal(size=(7, 5)), axis=1, symmetric=False), rng.normal(size=5).astype(np.float32)
    rows = reference.linear(x.reshape(-1, 7), w.codes, w.scale, w.zero_point, bias, low, high, per)
    expected = rows.reshape(*shape[:-1], 5)
    same_bytes(ql.linear(x, w, bias, activation=activation, per=per), expected)
    out = np.full(expected.shape, np.nan, np.float32)
    assert ql.linear(x, w, bias, activation=activation, per=per, out=out) is out
    same_bytes(out, expected)


def test_products_of_every_rank(rng):
    q, x = ql.quantize(W, axis=1), rng.normal(size=(2, 3, 6)).astype(np.float32)
    flat = x.reshape(6, 6) @ q
    same_bytes(x @ q, flat.reshape(2, 3, 5))
    same_bytes(x[0, 0] @ q, flat[0])
    for bad in (np.float32(1), np.ones(5), np.ones((2, 2, 5))):
        with pytest.raises(ValueError, match=r"^x: "):
            bad @ q


# ---- static linear ----------------------------------------------------------------------------------

STATIC_SHAPES = [(1, 1, 1), (1, 64, 10), (5, 33, 17), (30, 70, 65), (0, 3, 2), (3, 3, 0), (2, 0, 5)]


def static_operands(rng, m, k, n, dtype, bits=8):
    info = np.iinfo(dtype)
    low, high = (0, 2**bits - 1) if info.min == 0 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    x = ql.QArray.from_codes(
        rng.integers(low, high + 1, (m, k), dtype), np.float32(0.02), int(rng.integers(low, high + 1)), bits=bits
    )
    weight = codes(rng, (k, n), np.int8)
    w = ql.QArray.from_codes(
        weight, rng.uniform(0.001, 0.02, n).astype(np.float32), zero_points(rng, n, np.int8), axis=1
    )
    return x, w, rng.normal(0, 2, n).astype(np.float32)


def expected_static(x, w, bias, output, fixed, activation):
    acc = reference.matmul_integer(x.codes, w.codes, x.zero_point.item(), w.zero_point)
    scale = np.broadcast_to(w.scale.ravel(), w.shape[1])
    offset = 0
    if bias is not None and bias.dtype != np.int32:
        is_idle = (w.codes == w.zero_point).all(axis=0)  # columns that are their bias
        offset = np.where(is_idle, bias, np.float32(0))
        bias = np.rint((bias - offset).astype(np.float64) / (np.float64(x.scale.item()) * scale)).astype(np.int32)
    low, high = {None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}[activation]
    grid = None
    if output is not None:
        s, z = output.scale.item(), output.zero_point.item()
        grid = (s, z, *reference.code_clamps((low, high), s, z, output.qmin, output.qmax, fixed))
    acc = acc + (0 if bias is None else bias)
    if grid is None:
        return reference.scale_sums(acc, 1, np.float32(x.scale.item()) * scale, offset, low, high)
    codes = reference.output_of_sums(acc, x.scale.item(), scale, grid, fixed)
    late = reference.quantize(np.broadcast_to(np.float32(offset), codes.shape), *grid)
    return np.where(offset != 0, late, codes.astype(late.dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("m, k, n", STATIC_SHAPES)
def test_static_linear(isa, rng, m, k, n, activation, dtype):
    x, w, bias = static_operands(rng, m, k, n, dtype)
    grids = [None, *(ql.QParams(np.float32(0.05), z, signed=s) for z, s in ((3, True), (-128, True), (200, False)))]
    grids.append(ql.QParams(np.float32(0.7), 1, 4))
    for output in grids:
        for requant in ("float", "fixed") if output else ("float",):
            expected = expected_static(x, w, bias, output, requant == "fixed", activation)
            y = ql.linear(x, w, bias, activation=activation, output_qparams=output, requant=requant)
            if output is None:
                same_bytes(y, expected)
                continue
            assert y.shape == (m, n) and y.qparams == output._of_rank(2)
            same_bytes(y.codes, expected.astype(output.dtype))
            out = np.zeros((m, n), output.dtype)
            into = ql.linear(
                x, ql.pack(w), bias, activation=activation, output_qparams=output, requant=requant, out=out
            )
            assert into == y
            same_bytes(out, y.codes)


def test_static_linear_takes_a_bias_of_sums(isa, rng):
    x, w, _ = static_operands(rng, 4, 9, 5, np.uint8)
    bias = rng.integers(-1000, 1000, 5, np.int32)
    for same_bias in (bias, bias.astype(">i4"), np.repeat(bias, 2)[::2]):
        same_bytes(ql.linear(x, w, same_bias), expected_static(x, w, bias, None, False, None))
    w = ql.QArray.from_codes(w.codes, 0.01)
    same_bytes(ql.linear(x, w), expected_static(x, w, None, None, False, None))


def test_results_on_one_grid_share_it(rng):
    """To make a grid takes longer than a small product."""
    x, w, _ = static_operands(rng, 4, 9, 5, np.uint8)
    output = ql.QParams(np.float32(0.1), 10)
    assert ql.linear(x, w, output_qparams=output).qparams is ql.linear(x, w, output_qparams=output).qparams
    assert ql.softmax(x).qparams is ql.softmax(x).qparams


def test_static_linear_of_short_codes_on_any_leading_shape(isa, rng):
    x, w, bias = static_operands(rng, 6, 10, 5, np.int8, bits=4)
    cube = ql.QArray.from_codes(x.codes.reshape(2, 3, 10), x.scale.item(), x.zero_point.item(), bits=4)
    output = ql.QParams(np.float32(0.1), 10)
    expected = ql.linear(x, w, bias, output_qparams=output)
    same_bytes(expected.codes, expected_static(x, w, bias, output, False, None))
    same_bytes(ql.linear(cube, w, bias, output_qparams=output).codes, expected.codes.reshape(2, 3, 5))
    same_bytes(ql.linear(cube[1, 2], w, bias, output_qparams=output).codes, expected.codes[5])


def test_static_linear_is_a_step_of_a_model(rng):
    m = ql.from_weights([(rng.normal(size=(12, 8)), rng.normal(size=8)), (rng.normal(size=(8, 3)), None)], "relu")
    data = rng.normal(size=(50, 12)).astype(np.float32)
    for requant in ("float", "fixed"):
        qm = ql.quantize_model(m, data=data, requant=requant, bias_correction=False)
        values, weights = qm.intermediates(data), list(qm.weights.values())
        grids = [ql.QParams(np.float32(b.scale), b.zero_point, signed=False) for b in qm.program.buffers[1:3]]
        x = ql.quantize(data, grids[0])
        hidden = ql.linear(x, weights[0], m.layers[0].bias, activation="relu", output_qparams=grids[1], requant=requant)
        same_bytes(hidden.codes, values["dense_1"])
        same_bytes(ql.linear(hidden, weights[1]), qm(data))


def test_an_out_that_a_static_product_shares_with_its_input(rng):
    x, w, _ = static_operands(rng, 6, 5, 5, np.uint8)
    output = ql.QParams(np.float32(0.1), 10, signed=False)
    expected = ql.linear(x, w, output_qparams=output)
    memory = x.codes.copy()
    shared = ql.QArray(memory, x.qparams)
    same_bytes(ql.linear(shared, w, output_qparams=output, out=memory).codes, expected.codes)


def test_a_bias_beyond_the_sums(rng):
    x, w, _ = static_operands(rng, 2, 4, 3, np.uint8)
    out = np.full((2, 3), 7, np.float32)
    with pytest.raises(OverflowError, match=r"^x, w: "):
        ql.linear(x, w, np.full(3, 2**31 - 1, np.int32), out=out)
    assert (out == 7).all()


def test_scales_whose_product_is_infinite_are_refused():
    x = ql.QArray.from_codes(np.zeros((1, 8), np.uint8), 1e30)
    w = ql.QArray.from_codes(np.ones((8, 2), np.int8), 1e30)
    with pytest.raises(ValueError, match=r"^the scale of x times that of w: "):
        ql.linear(x, w)
    images = ql.QArray.from_codes(np.zeros((1, 4, 4, 1), np.uint8), 1e30)
    with pytest.raises(ValueError, match=r"^the scale of x times that of w: "):
        ql.conv2d(images, ql.QArray.from_codes(np.ones((3, 3, 1, 1), np.int8), 1e30))


def test_case_f_sums_beyond_the_codes_are_clipped_by_both_rules():
    x = ql.QArray.from_codes(np.full((1, 4096), 127, np.uint8), 1.0)
    w = ql.QArray.from_codes(np.full((4096, 2), 127, np.int8) * np.int8([1, -1]), 1.0)
    grid = ql.QParams(np.float32([0.01]), 0)
    for rule in ("float", "fixed"):
        assert ql.linear(x, w, output_qparams=grid, requant=rule).codes.tolist() == [[127, -128]], rule


@pytest.mark.parametrize("option", ["per", "requant"])
@pytest.mark.parametrize("value", [np.array(["row", "float"]), np.zeros(3), ["row"], None, 1])
def test_case_o_options_that_are_no_words(rng, option, value):
    w = ql.quantize(rng.normal(size=(4, 3)), axis=1)
    grouped = ql.quantize(rng.normal(size=(16, 3)), 4, axis=1, group_size=8)
    x = rng.normal(size=(2, 4))
    codes = ql.quantize(x, symmetric=False)
    for operands in ((x, w), (codes, w), (rng.normal(size=(2, 16)), grouped)):
        with pytest.raises(ValueError, match=rf"^{option}: expected "):
            ql.linear(*operands, **{option: value})


def test_case_o_a_rule_for_codes_has_no_effect_on_floats(rng):
    w, filters = ql.quantize(rng.normal(size=(4, 3)), axis=1), ql.quantize(rng.normal(size=(2, 2, 4, 3)), axis=3)
    with pytest.raises(ValueError, match=r"^requant: expected 'float', the default, without output_qparams, got 'fix"):
        ql.linear(ql.quantize(rng.normal(size=(2, 4)), symmetric=False), w, requant="fixed")
    for x in (rng.normal(size=(1, 3, 3, 4)), ql.quantize(rng.normal(size=(1, 3, 3, 4)))):
        with pytest.raises(ValueError, match=r"^requant: expected 'float', the default, without output_qparams"):
            ql.conv2d(x, filters, requant="fixed")
