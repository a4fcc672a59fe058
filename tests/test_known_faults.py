"""What has gone wrong in other quantization software, one named test each: the letters and numbers are the rows of the
project's catalogue of faults (K: reported elsewhere, R: seen first-hand in releases of 2026)."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import reference
from samples import dynamic_linear, one, same_bytes

import qlite as ql
from qlite import _core


def product(a, b, za=0, zb=0, a_dtype=np.int8, b_dtype=np.int8):
    """The product of lists of codes, which must equal the reference's."""
    a, b = np.array(a, a_dtype, ndmin=2), np.array(b, b_dtype, ndmin=2)
    got = ql.matmul_integer(a, b, za, zb)
    same_bytes(got, reference.matmul_integer(a, b, za, zb))
    return got


def grid(scale=1.0, zero_point=0, signed=True):
    return ql.QParams(scale=np.float32([scale]), zero_point=np.int32([zero_point]), bits=8, signed=signed)


def codes(x, scale=1.0, zero_point=0, signed=True, **options):
    return ql.quantize(np.asarray(x, np.float32), grid(scale, zero_point, signed), **options).codes


# ---- wrong integers from SIMD kernels ---------------------------------------------------------------


def test_k1_maddubs_saturation(isa):
    assert product([[211, 171]], [[71], [107]], a_dtype=np.uint8) == [[33278]]


def test_k2_signed_by_signed_saturation(isa):
    product([[-47, -123, -10, 92], [-128] * 4, [127] * 4, [-1, 0, 1, -128]], np.full((4, 4), -128))
    assert product(np.ones((3, 64)), np.full((64, 2), 129), b_dtype=np.uint8)[0, 0] == 64 * 129


def test_k3_compensation_of_extreme_weights(isa):
    for k in (1, 4, 7, 64, 129):
        weights = np.full((k, 1), -128)
        weights[0] = -87
        assert product(np.full((1, k), 50), weights) == 50 * (-128 * (k - 1) - 87)


def test_k4_zero_points_with_unsigned_saturation(isa):
    product(np.ones((4, 512)), np.full((512, 3), -128), za=1, a_dtype=np.uint8)
    product([[238, 115, 94]] * 2, [[25, 36, 125]] * 3, za=42, zb=-26, a_dtype=np.uint8)


def test_k5_lanes_that_share_an_accumulator(isa):
    for distance in range(1, 33):
        a = np.zeros((1, 64), np.int8)
        a[0, [0, distance]] = -128
        assert product(a, np.full((64, 1), -128)) == 32768


def test_k7_sign_trick_with_minus_128(isa):
    assert product([[-128]], [[-1]]) == 128
    assert product([[-1]], [[-128]]) == 128
    assert product([[-128] * 9], [[-128]] * 9) == 9 * 16384


def test_k8_offset_of_128_makes_full_bytes(isa):
    assert product([[127] * 64], [[127]] * 64) == 64 * 127 * 127
    assert product([[127] * 64], [[-128]] * 64) == -64 * 127 * 128


def test_k9_both_operands_signed(isa):
    assert product([[-5, -100, 3, -7]], [[2], [-3], [-4], [127]]) == -5 * 2 + 300 - 12 - 889


def test_k10_one_row_equals_many(isa, rng):
    a, b = rng.integers(-128, 128, (50, 300), np.int8), rng.integers(-128, 128, (300, 70), np.int8)
    together = product(a, b)
    for i in range(50):
        same_bytes(product(a[i : i + 1], b), together[i : i + 1])


def test_k14_accumulator_is_int32(isa):
    got = product([[-44, -20], [-126, 6]], [[24, -75], [127, -101]])
    assert got.dtype == np.int32
    assert got.tolist() == [[-3596, 5320], [-2262, 8844]]


def test_k15_sums_beyond_float32(isa):
    assert product([[127] * 2049], [[127]] * 2049) == 2049 * 127 * 127


def test_k16_row_sums_of_deep_products(isa):
    a, b = np.full((7, 45984), -128, np.int8), np.full((45984, 5), 127, np.int8)
    same_bytes(ql.matmul_integer(a, b), np.full((7, 5), -128 * 127 * 45984, np.int32))


# ---- rounding, NaN and infinity, scales, zero points --------------------------------------------------


def test_k18_ties_in_the_tail(isa):
    for n in range(1, 40):
        ties = np.arange(n) + 0.5
        assert codes(ties).tolist() == np.rint(ties).tolist()


def test_k19_half_to_even(isa):
    assert codes([0.5, 1.5, 2.5, -0.5, -1.5, -2.5]).tolist() == [0, 2, 2, 0, -2, -2]
    acc = np.array([1, 3, 5, -1, -3], np.int32)
    assert ql.requantize(acc, 0.5).tolist() == [0, 2, 2, 0, -2]


def test_k20_rounds_and_does_not_truncate(isa, rng):
    x = rng.uniform(-120, 120, 1001).astype(np.float32)
    assert np.abs(codes(x) - x).max() <= 0.5


def test_k21_infinity_saturates_at_its_own_end(isa):
    got = codes([1, np.inf, np.nan, -np.inf, 26] * 13, scale=0.5, zero_point=3, nonfinite="saturate")
    assert got.tolist() == [5, 127, 3, -128, 55] * 13


def test_k22_nan_is_the_zero_point_at_every_position(isa):
    for n in range(1, 40):
        for zero_point in (0, 200):
            got = codes(np.full(n, np.nan), zero_point=zero_point, signed=False, nonfinite="saturate")
            assert (got == zero_point).all()
    assert not ql.quantize(np.zeros(9, np.float32)).codes.any()


def test_k22_nan_never_becomes_a_number(isa):
    q = ql.quantize(np.eye(3, 40, dtype=np.float32), axis=1)
    for bad in (np.nan, np.inf):  # 127 * inf is infinite, 0 * inf no number
        y = np.float32([[bad, 1, 2]]) @ q
        np.testing.assert_array_equal(y[0, 0], np.float32(bad))
        assert np.isnan(y[0, 1:]).all()
    for bias in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^bias: "):
            ql.linear(np.ones((2, 3), np.float32), q, bias=np.full(40, bias, np.float32))


def test_k23_large_values_in_the_tail(isa):
    for n in range(1, 40):
        assert (codes(np.ones(n) * 2.0**32, scale=0.5) == 127).all()
        assert (codes(np.ones(n) * -(2.0**32), scale=0.5) == -128).all()


def test_k24_nan_does_not_depend_on_the_order_of_operations(isa):
    x = np.array([np.nan, 1.0, np.nan], np.float32)
    got = codes(x, zero_point=98, signed=False, nonfinite="saturate")
    assert got.tolist() == [98, 99, 98]
    same_bytes(ql.fake_quantize(np.float32([1.0]), grid(1, 98, False)), np.float32([1.0]))


def test_k25_quotients_beyond_every_integer(isa):
    x = np.float32([3e38, -3e38, 1e30, -1e30, 2**31, 2**63])
    assert codes(x, scale=1.2e-38).tolist() == [127, -128, 127, -128, 127, 127]


def test_k26_ranges_that_underflow(isa):
    for x in ([0, 1e-44], [-1e-40, 1e-40], [1e-38, 1.1e-38]):
        for symmetric in (True, False):
            qp = ql.choose_qparams(np.float32(x), symmetric=symmetric)
            assert np.isfinite(qp.scale).all() and (qp.scale >= reference.TINY).all()
            assert np.isfinite(ql.quantize(np.float32(x), qp).dequantize()).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-30, 3e38])
@pytest.mark.parametrize("symmetric", [True, False])
def test_k27_constants_come_back_exactly(isa, value, symmetric):
    x = np.full((3, 4), value, np.float32)
    for axis in (None, 0, 1):
        same_bytes(ql.quantize(x, axis=axis, symmetric=symmetric).dequantize(), x)


def test_k28_zero_points_stay_integers():
    for x in ([0.0, 0.0], [-0.0], [0, 3e38], [-3e38, 3e38], [-3e38, 0]):
        qp = ql.choose_qparams(np.float32(x), symmetric=False)
        assert np.asarray(qp.zero_point).dtype.kind == "i"
        assert (qp.zero_point >= qp.qmin).all() and (qp.zero_point <= qp.qmax).all()


def test_k29_range_without_zero_is_widened():
    qp = ql.choose_qparams(np.float32([5, 9]), symmetric=False)
    assert qp.zero_point.item() == qp.qmin
    assert ql.quantize(np.float32([0.0]), qp).dequantize() == [0.0]
    qp = ql.choose_qparams(np.float32([-9, -5]), symmetric=False)
    assert qp.zero_point.item() == qp.qmax


def test_k30_symmetric_unsigned_has_its_zero_in_the_middle():
    assert ql.choose_qparams(np.float32([-1, 1]), symmetric=True, signed=False).zero_point.item() == 128


def test_k31_zero_points_of_a_floating_dtype():
    with pytest.raises((TypeError, ValueError), match="zero_point"):
        ql.QArray.from_codes(np.zeros((2, 3), np.int8), np.float32([[1], [1]]), np.float32([[0.5], [np.nan]]), axis=0)


def test_k33_denormals_survive_the_import():
    program = "import sys, qlite, numpy as np; print(sys.float_info.min / 2 > 0, np.float32(1e-40) * 1 > 0)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "True"]


# ---- arrays, sizes, the interface -----------------------------------------------------------------------


def test_k41_strides(isa):
    x = np.linspace(-100, 100, 64, dtype=np.float32)
    for view in (x[::2], x[::-1], x[5:41:3], x.reshape(8, 8)[:, ::-3], x.reshape(8, 8).T):
        assert codes(view).tobytes() == codes(view.copy()).tobytes()
    record = np.zeros(9, [("tag", "u1"), ("value", "f4")])
    record["value"] = 7
    assert (codes(record["value"]) == 7).all()


def test_k42_byte_order(isa):
    assert (codes(np.ones(33).astype(">f4")) == 1).all()
    qp = ql.choose_qparams(np.full(5, 254.0).astype(">f8"))
    assert qp.scale.item() == 254


def test_k43_read_only_arrays(isa):
    x = np.ones(5, np.float32)
    x.flags.writeable = False
    assert (codes(x) == 1).all()
    with pytest.raises(ValueError, match=r"^out: "):
        ql.fake_quantize(np.zeros(5, np.float32), grid(), out=x)
    assert (x == 1).all()


def test_k44_out_overlaps_input(isa):
    memory = np.linspace(-99.4, 99.4, 100, dtype=np.float32)
    for x, out in ((slice(0, 80), slice(20, 100)), (slice(20, 100), slice(0, 80))):
        work = memory.copy()
        expected = reference.fake_quantize(work[x], 1, 0, -128, 127)
        ql.fake_quantize(work[x], grid(), out=work[out])
        same_bytes(work[out], expected)


def test_k46_sizes_that_wrap():
    huge = np.broadcast_to(np.float32(0), (2**31, 2**28))
    with pytest.raises(MemoryError, match=r"^w: .* got shape \(2147483648, 268435456\) of float32$"):
        ql.quantize(huge, grid())
    with pytest.raises(MemoryError, match=r"^out: .* of int32$"):
        ql.matmul_integer(np.zeros((2**50, 0), np.int8), np.zeros((0, 2**10), np.int8))


def test_k47_one_and_nine_elements(isa):
    for n in (1, 9):
        assert codes(np.full(n, 3.0)).tolist() == [3] * n
        assert product(np.full((1, n), 3), np.full((n, n), 2)).tolist() == [[6 * n] * n]


def test_k48_empty_everything(isa):
    for shape in ((0,), (0, 4), (4, 0), (2, 0, 3)):
        assert codes(np.zeros(shape)).shape == shape
    assert product(np.zeros((0, 4)), np.zeros((4, 3))).shape == (0, 3)
    assert product(np.zeros((3, 0)), np.zeros((0, 2))).tolist() == [[0, 0]] * 3
    with pytest.raises(ValueError, match=r"^w: "):
        ql.choose_qparams(np.zeros((0, 3), np.float32))


def test_k49_errors_keep_no_references():
    x, b, out = np.zeros((2, 3), np.float32), np.zeros((3, 2), np.int8), np.zeros(7, np.int16)
    packed = _core.Packed.matrix(b, None, "integer")
    scale, zero = one(1), one(0, np.int32)

    def fail():
        for name, call in (
            ("out", lambda: _core.quantize(x, scale, zero, -128, 127, True, out)),
            ("scale, zero_point", lambda: _core.quantize(x, scale, zero, 5, 4, True, None)),
            ("scale", lambda: dynamic_linear(x, packed, scale, None, None, None)),
            ("a", lambda: _core.matmul_integer(x, packed, zero, None)),
            ("codes", lambda: _core.Packed.matrix(x, None, "integer")),
            (r"buffers\[0\]", lambda: _core.Plan([("f4", (3,), 0.0, 0, -1, -1)], (0,), (9,))),
            ("state", lambda: _core.histogram_update(x, 7, x, x)),
        ):
            with pytest.raises((TypeError, ValueError), match=rf"^{name}: "):
                call()

    fail()
    watched = (x, b, out, packed, scale, zero)
    before = [sys.getrefcount(thing) for thing in watched]
    for _ in range(20):
        fail()
    assert [sys.getrefcount(thing) for thing in watched] == before


def test_k50_isa_that_cannot_run_is_named():
    environment = os.environ | {"QLITE_ISA": "avx9000"}
    result = subprocess.run([sys.executable, "-c", "import qlite"], capture_output=True, text=True, env=environment)
    assert result.returncode == 1
    assert "ImportError" in result.stderr and "avx9000" in result.stderr and "scalar" in result.stderr


def product_in_child(queue):
    queue.put(ql.matmul_integer(np.full((8, 64), -128, np.int8), np.full((64, 8), -128, np.int8)).tolist())


def test_k52_fork_after_work(isa):
    expected = ql.matmul_integer(np.full((8, 64), -128, np.int8), np.full((64, 8), -128, np.int8)).tolist()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=product_in_child, args=(queue,))
    child.start()
    child.join(timeout=20)
    assert child.exitcode == 0
    assert queue.get() == expected


# ---- seen first-hand ------------------------------------------------------------------------------------


def test_r1_the_same_integers_on_every_isa(isa):
    assert product(np.full((1, 64), 255), np.full((64, 1), 127), a_dtype=np.uint8) == 2072640


@pytest.mark.parametrize("scale", [0.0, 1e-45, -1.0, np.nan, np.inf])
def test_r6_scales_that_cannot_be(scale):
    with pytest.raises(ValueError, match="scale"):
        ql.quantize(np.float32([1, 2]), grid(scale))


def test_r6_nan_is_refused_unless_asked_for():
    with pytest.raises(ValueError, match="NaN"):
        ql.quantize(np.float32([1, np.nan]))


def test_r7_negative_strides(isa):
    a = np.arange(33, dtype=np.int8)
    assert product(a[None, ::-1], a[::-1, None]) == (a.astype(int) ** 2).sum()


def test_r8_empty_products_are_zero(isa):
    assert product(np.zeros((1, 0)), np.zeros((0, 1))) == 0


@pytest.mark.parametrize("k, fill, dtype", [(131072, -128, np.int8), (100000, 255, np.uint8)], ids=["r9", "r10"])
def test_r9_r10_sums_that_do_not_fit(isa, k, fill, dtype):
    with pytest.raises(OverflowError, match=r"^a, b: "):
        ql.matmul_integer(np.full((1, k), fill, dtype), np.full((k, 1), fill, dtype))
