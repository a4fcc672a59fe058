"""No kernel reads or writes past the end of an array, or before its start: every array here touches a page that may
not be touched, so that one byte too far ends the test run."""

import sys

import numpy as np
import pytest
import reference
import reference.activations
import reference.conv
import reference.images
import reference.pool
from guard import SIDES, Guard
from programs import KINDS, random_program
from reference import grouped
from samples import codes, dynamic_linear, one, same_bytes, zero_points

from qlite import _core
from qlite.nn.plan import Plan
from qlite.ops.images import Windows

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect")

LENGTHS = [*range(1, 35), 47, 48, 49, 63, 64, 65, 66, 127, 128, 129, 255, 256, 257]
SHAPES = [(m, k, n) for m in (1, 2, 3, 5, 6, 7, 12, 13) for k in (1, 2, 3, 4, 5, 7, 15, 33) for n in (1, 7, 16, 33, 65)]


@pytest.fixture(params=SIDES)
def guard(request):
    return Guard(request.param)


def test_elementwise(isa, rng, guard):
    for n in LENGTHS:
        x = guard(rng.normal(0, 60, n).astype(np.float32))
        scale, z = guard(rng.uniform(0.3, 2, n).astype(np.float32)), guard(zero_points(rng, n, np.uint8))
        for s, p in ((scale, z), (guard(scale[:1]), guard(z[:1]))):
            out = _core.quantize(x, s, p, 0, 255, True, guard(np.zeros(n, np.uint8)))
            same_bytes(out, reference.quantize(x, s, p, 0, 255))
            back = _core.dequantize(out, s, p, guard(np.zeros(n, np.float32)))
            same_bytes(back, reference.dequantize(out, s, p))
            signed = guard(out.view(np.int8))
            p8 = guard(np.clip(p, -128, 127).astype(np.int32))
            back = _core.dequantize(signed, s, p8, guard(np.zeros(n, np.float32)))
            same_bytes(back, reference.dequantize(signed, s, p8))
            fake = _core.fake_quantize(x, s, p, 0, 255, True, guard(np.zeros(n, np.float32)))
            same_bytes(fake, reference.fake_quantize(x, s, p, 0, 255))
            for qmax, how in ((255, ("away", 0)), (255, ("stochastic", 3)), (65535, ("even", 0))):
                out = guard(np.zeros(n, reference.code_dtype(0, qmax)))
                _core.quantize(x, s, p, 0, qmax, True, out, "x", 0, 0, *how)
                same_bytes(out, reference.quantize(x, s, p, 0, qmax, *how))
                back = _core.dequantize(out, s, p, guard(np.zeros(n, np.float32)))
                same_bytes(back, reference.dequantize(out, s, p))
            same_bytes(_core.in_range(x, s, p, 0, 255), reference.in_range(x, s, p, 0, 255))


@pytest.mark.parametrize("size", [2, 7, 16, 31, 32, 64, 100])
def test_elementwise_groups(isa, rng, guard, size):
    for n in LENGTHS:
        count = -(-n // size)
        x, named = guard(rng.normal(0, 60, (1, n)).astype(np.float32)), {"group_size": size, "group_axis": 1}
        scale = guard(rng.uniform(0.3, 2, (1, count)).astype(np.float32))
        z = guard(zero_points(rng, (1, count), np.uint8))
        codes = _core.quantize(x, scale, z, 0, 255, True, guard(np.zeros((1, n), np.uint8)), "x", size, 1)
        same_bytes(codes, reference.quantize(x, scale, z, 0, 255, **named))
        back = _core.dequantize(codes, scale, z, guard(np.zeros((1, n), np.float32)), size, 1)
        same_bytes(back, reference.dequantize(codes, scale, z, **named))
        fake = _core.fake_quantize(x, scale, z, 0, 255, True, guard(np.zeros((1, n), np.float32)), size, 1)
        same_bytes(fake, back)
        low, high, _ = _core.minmax(x, (1, count), size, 1)
        same_bytes(np.stack([low, high]), np.stack(reference.minmax_per_parameter(x, (1, count), **named)))


def test_minmax_and_histogram(isa, rng, guard):
    for n in LENGTHS:
        x = guard(rng.normal(size=n).astype(np.float32))
        same_bytes(_core.minmax(x, (1,))[0], x.min(keepdims=True))
        columns = guard(rng.normal(size=(3, n)).astype(np.float32))
        same_bytes(_core.minmax(columns, (1, n))[1], columns.max(0, keepdims=True))
        same_bytes(_core.minmax(columns, (3, 1))[1], columns.max(1, keepdims=True))
        for data, axis, channels in ((x, -1, 1), (columns, 1, n), (columns, 0, 3)):
            state = guard(np.zeros(channels, _core.HISTOGRAM_DTYPE))
            counts = guard(np.zeros((channels, 128), np.int64))
            _core.histogram_clear(state, counts)
            _core.histogram_update(data, axis, state, counts)
            assert state["count"].sum() == data.size


def test_long_histograms(isa, rng, guard):
    for n in (511, 512, 513, 1025, 2**17 + 1):
        state, counts = guard(np.zeros(1, _core.HISTOGRAM_DTYPE)), guard(np.zeros((1, 128), np.int64))
        _core.histogram_clear(state, counts)
        _core.histogram_update(guard(rng.normal(size=n).astype(np.float32)), -1, state, counts)
        assert state["count"] == n


@pytest.mark.parametrize("entries", [3, 16, 17, 33, 65, 129, 256])
def test_codebooks(isa, rng, guard, entries):
    values = guard(rng.normal(size=entries).astype(np.float32))
    for n in LENGTHS:
        x, out, back = (guard(np.zeros(n, dtype)) for dtype in (np.float32, np.uint8, np.float32))
        x[:] = rng.normal(size=n)
        for scale, group in ((rng.uniform(0.3, 2, n), 0), ([0.7], 0), ([1], 0), (rng.uniform(0.3, 2, -(-n // 9)), 9)):
            s = guard(np.asarray(scale, np.float32))
            _core.quantize_codebook(x, s, values, True, out, "x", group)
            spread = np.repeat(s, group)[:n] if group and len(s) > 1 else s
            same_bytes(out, reference.quantize_codebook(x, spread, values))
            _core.dequantize_codebook(out, s, values, back, group)
            same_bytes(back, reference.dequantize_codebook(out, spread, values))


@pytest.mark.parametrize("bits", range(1, 17))
def test_packed_codes(isa, rng, guard, bits):
    for n in LENGTHS:
        for dtype in (np.uint8, np.uint16) if bits <= 8 else (np.uint16,):
            row = guard(rng.integers(0, 1 << bits, n).astype(dtype))
            packed = guard(_core.pack_bits(row, bits))
            same_bytes(packed, reference.pack_bits(row, bits))
            for first in {0, min(3, n), n // 2}:
                expected = row[first:].astype(np.uint8 if bits <= 8 else np.uint16)
                same_bytes(_core.unpack_bits(packed, bits, False, first, n - first), expected)


def test_error_sums(isa, rng, guard):
    for n in LENGTHS:
        w = guard(rng.normal(0, 60, (3, n)).astype(np.float32))
        for dtype in (np.int8, np.uint16):
            scale, z = guard(rng.uniform(0.3, 2, (1, n)).astype(np.float32)), guard(np.ones((1, n), np.int32))
            given, limits = guard(codes(rng, (3, n), dtype)), np.iinfo(dtype)
            for axis in (-1, 0, 1):
                sums = _core.error_sums(w, given, scale, z, None, limits.min, limits.max, axis)
                copies = (a.copy() for a in (w, given, scale, z))
                same_bytes(sums, _core.error_sums(*copies, None, limits.min, limits.max, axis))
        books = guard(np.sort(rng.normal(size=(1, n, 3)).astype(np.float32)))
        given = guard(rng.integers(0, 3, (3, n), dtype=np.uint8))
        sums = _core.error_sums(w, given, scale, z, books, 0, 2, -1)
        same_bytes(sums, _core.error_sums(*(a.copy() for a in (w, given, scale, z, books)), 0, 2, -1))


@pytest.mark.parametrize("fixed", [False, True], ids=["float", "fixed"])
def test_requantize(isa, rng, guard, fixed):
    for n in LENGTHS:
        acc = guard(rng.integers(-(2**20), 2**20, (2, n), dtype=np.int32))
        multiplier = guard(2.0 ** rng.uniform(-14, -8, (1, n)))
        for m in (multiplier, guard(multiplier[:, :1])):
            out = _core.requantize(acc, m, 3, -128, 127, fixed, guard(np.zeros((2, n), np.int8)))
            same_bytes(out, _core.requantize(acc.copy(), m.copy(), 3, -128, 127, fixed, None))


@pytest.mark.parametrize("a_dtype, b_dtype", [(np.int8, np.uint8), (np.uint8, np.int8)], ids=["s8u8", "u8s8"])
@pytest.mark.products
def test_integer_product(isa, rng, guard, a_dtype, b_dtype):
    for m, k, n in SHAPES:
        a, b = guard(codes(rng, (m, k), a_dtype)), guard(codes(rng, (k, n), b_dtype))
        za, zb = guard(zero_points(rng, m, a_dtype)), guard(zero_points(rng, n, b_dtype))
        out = guard(np.zeros((m, n), np.int32))
        _core.matmul_integer(a, _core.Packed.matrix(b, zb, "integer"), za, out)
        same_bytes(out, reference.matmul_integer(a, b, za[:, None], zb))


def test_float_products(isa, rng, guard):
    for m, k, n in SHAPES:
        x, w = guard(rng.normal(size=(m, k)).astype(np.float32)), guard(codes(rng, (k, n), np.int8))
        zb = guard(zero_points(rng, n, np.int8))
        scale, bias = guard(rng.uniform(0.1, 1, n).astype(np.float32)), guard(rng.normal(size=n).astype(np.float32))
        out = guard(np.zeros((m, n), np.float32))
        dynamic_linear(x, _core.Packed.matrix(w, zb, "integer"), scale, bias, "relu", out)
        same_bytes(out, reference.linear(x, w, scale, zb, bias, 0))
        _core.matmul_float(x, _core.Packed.matrix(w, zb, "float"), scale, bias, "relu", out)
        same_bytes(out, reference.matmul_float(x, w, scale, zb, bias, 0))


@pytest.mark.parametrize("entries", [None, 16])
@pytest.mark.products
def test_grouped_products(isa, rng, guard, entries):
    for m, k, n in SHAPES:
        count = -(-k // 8)
        x, w = guard(rng.normal(size=(m, k)).astype(np.float32)), guard(rng.integers(0, 16, (k, n), np.uint8))
        scale, bias = (guard(rng.uniform(0.01, 1, shape).astype(np.float32)) for shape in ((count, n), n))
        z = None if entries else guard(rng.integers(0, 16, (count, n)).astype(np.int32))
        book = guard(rng.normal(size=entries).astype(np.float32)) if entries else None
        out = guard(np.zeros((m, n), np.float32))
        _core.linear_grouped(x, _core.Packed.grouped(w, scale, z, book, 4, 8, "integer"), bias, "relu", out)
        zero_point = 0 if entries else z
        same_bytes(out, grouped.linear_grouped(x, w, scale, zero_point, 8, bias, 0, codebook=book))
        _core.matmul_grouped(x, _core.Packed.grouped(w, scale, z, book, 4, 8, "float"), out)
        spread = reference.spread(scale, w.shape, group_size=8, group_axis=0)
        if entries:
            same_bytes(out, grouped.matmul_grouped(x, reference.dequantize_codebook(w, spread, book)))
        else:
            real = reference.dequantize(w, scale, z, group_size=8, group_axis=0)
            same_bytes(out, grouped.matmul_grouped(x, real))


@pytest.mark.products
def test_single_rows_and_columns_of_deep_products(isa, rng, guard):
    for k in LENGTHS:
        a, b = guard(codes(rng, (1, k), np.uint8)), guard(codes(rng, (k, 1), np.int8))
        out = guard(np.zeros((1, 1), np.int32))
        _core.matmul_integer(a, _core.Packed.matrix(b, None, "integer"), one(0, np.int32), out)
        same_bytes(out, reference.matmul_integer(a, b))


def test_tables_and_softmax(isa, rng, guard):
    table = guard(codes(rng, 256, np.uint8))
    for n in LENGTHS:
        x = guard(codes(rng, n, np.int8))
        same_bytes(_core.lookup(x, table, guard(np.zeros(n, np.uint8))), reference.activations.lookup(x, table))
        y = _core.softmax(x, 0.05, 1.0, False, guard(np.zeros(n, np.int8)))
        same_bytes(y, reference.activations.softmax_float(x, 0.05))
        _core.softmax(x, 0.05, 1.0, True, y)


def test_pooling(isa, rng, guard):
    for channels in LENGTHS:
        x = guard(codes(rng, (1, 3, 4, channels), np.int8))
        for function, expected in (
            (_core.max_pool, reference.pool.max_pool),
            (_core.avg_pool, reference.pool.avg_pool),
        ):
            y = function(x, (2, 3), (1, 1), (1, 0), (3, 2), guard(np.zeros((1, 3, 2, channels), np.int8)))
            same_bytes(y, expected(x, (2, 3), (1, 1), ((1, 0), (0, 0))))


@pytest.mark.products
def test_convolutions(isa, rng, guard):
    """Channels, outputs, groups; in place (no border, unsigned), copied, and windows of one pixel."""
    channels = [(c, o, 1) for c, o in ((1, 1), (3, 16), (4, 33), (7, 5), (64, 64))] + [(3, 5, 2), (4, 32, 3)]
    channels += [(1, 1, n) for n in LENGTHS[1:]] + [(1, 3, 11)]
    for i, (c, o, groups) in enumerate(channels):
        kernel, stride, before = ((3, 3), (1, 2), (2, 2), (1, 1))[i % 4], (1, 2)[i // 4 % 2], (0, 1)[i // 8 % 2]
        x = guard(codes(rng, (2, 5, 6, c * groups), (np.uint8, np.int8)[i % 3 % 2]))
        w = codes(rng, (*kernel, c, o * groups), np.int8)
        packed = _core.Packed.filter(w, None, groups, False)
        options = {"stride": (stride, stride), "padding": ((before, 0), (before, 0)), "groups": groups}
        expected = reference.conv.conv_integer(x, w, 3, **options)
        window = (stride, stride, 1, 1, before, before, *expected.shape[1:3])
        same_bytes(_core.conv2d_integer(x, packed, 3, window, guard(np.zeros_like(expected))), expected)
        scale, grid = np.full(o * groups, 0.01, np.float32), (0.02, 7, -128, 127)
        for rule in ("float", "fixed"):
            out = guard(np.zeros(expected.shape, np.int8))
            fields = (rule, True, None, 0.5, scale, None, *grid)
            y = _core.conv2d(x, packed, 3, window, None, fields, out)
            same_bytes(y, reference.conv.conv_codes(expected, 0.5, scale, *grid, rule == "fixed"))


def test_float_images(isa, rng, guard):
    """Channels, outputs, groups; in place, copied, and windows of one pixel; the gradients; pools."""
    channels = [(c, o, 1) for c, o in ((1, 1), (3, 16), (4, 33), (7, 5))] + [(3, 5, 2), (1, 3, 11)]
    channels += [(1, 1, n) for n in LENGTHS[1:]]
    for i, (c, o, groups) in enumerate(channels):
        kernel, stride, before = ((3, 3), (1, 2), (2, 2), (1, 1))[i % 4], (1, 2)[i // 4 % 2], (0, 1)[i // 8 % 2]
        options = (stride, stride), (1, 1), (before, 0, before, 0)
        x = guard(rng.normal(size=(2, 5, 6, c * groups)).astype(np.float32))
        w = guard(rng.normal(size=(*kernel, c, o * groups)).astype(np.float32))
        windows = Windows(x.shape, kernel, *options)
        expected = reference.images.conv(x, w, *options, groups)
        y = guard(np.zeros_like(expected))
        _core.conv2d_f32(x, w, y, groups, windows.numbers)
        same_bytes(y, expected)
        rows = 2 * windows.out[0]
        columns = guard(np.zeros((rows * windows.out[1], kernel[0] * kernel[1] * x.shape[3]), np.float32))
        _core.image_add_columns(columns, windows.numbers, (0, rows, 0, x.shape[3]), guard(np.zeros_like(x)))
        _core.conv2d_weight_gradient(x, guard(np.zeros_like(w)), y, groups, windows.numbers)
        of_windows = guard(np.ones((*expected.shape[:3], x.shape[3]), np.float32))
        taps, lanes = guard(np.ones((*kernel, 1, x.shape[3]), np.float32)), x.shape[3]
        _core.depthwise_input_gradient(guard(np.zeros_like(x)), taps, of_windows, lanes, windows.numbers)
        _core.depthwise_weight_gradient(x, guard(np.zeros_like(taps)), of_windows, lanes, windows.numbers)
        if before < min(kernel):
            index, pooled = guard(np.zeros(of_windows.shape, np.int32)), guard(np.zeros_like(of_windows))
            _core.max_pool_f32(x, windows.numbers, pooled, index)
            same_bytes(pooled, reference.images.max_pool(x, kernel, *options[::2])[0])
            _core.max_pool_gradient_f32(of_windows, index, windows.numbers, guard(np.zeros_like(x)))
            _core.average_pool_f32(x, windows.numbers, pooled)
            same_bytes(pooled, reference.images.average_pool(x, kernel, *options[::2]))
            _core.average_pool_gradient_f32(of_windows, windows.numbers, guard(np.zeros_like(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_programs(isa, rng, guard, kind):
    for widths in ([1, 1], [7, 5], [33, 17, 3]):
        program = random_program(rng, kind, widths)
        for rows in (1, 2, 13, 97):
            x = guard(rng.normal(size=(rows, widths[0])).astype(np.float32))
            same_bytes(Plan(program).run(x), reference.evaluate(program, x)[-1])
