"""Uniform grids of every width, for every way in which values share scales: equal to the formulas, of the size that was
promised, and true to zeros and constants."""

import itertools
import math

import numpy as np
import pytest
import reference
from samples import LAYOUTS, same_bytes

import qlite as ql

# symmetric, signed, narrow, as they are asked for
FORMS = [*itertools.product([True, False], [True, False], [True, False]), (True, None, None), (False, None, None)]
# shape, axis, group_size, group_axis, and the shape of the scales
SHARINGS = [
    ((37,), None, None, None, (1,)),
    ((37,), 0, None, None, (37,)),
    ((37,), None, 8, None, (5,)),
    ((5, 33), None, None, None, (1, 1)),
    ((5, 33), 0, None, None, (5, 1)),
    ((5, 33), 1, None, None, (1, 33)),
    ((5, 33), -1, 2, None, (3, 33)),
    ((5, 33), 0, 11, None, (5, 3)),
    ((5, 33), 0, 16, None, (5, 3)),
    ((5, 33), 0, 100, None, (5, 1)),
    ((5, 33), None, 2, 0, (3, 33)),
    ((5, 33), None, 1, None, (5, 33)),
    ((3, 4, 10), -1, None, None, (1, 1, 10)),
    ((3, 4, 10), 0, 4, None, (3, 1, 3)),
    ((3, 4, 10), 2, 3, None, (1, 2, 10)),
    ((3, 4, 10), 1, 2, 0, (2, 4, 1)),
    ((3, 4, 10), None, 4, None, (3, 4, 3)),
    ((2, 3, 4, 5), 1, None, None, (1, 3, 1, 1)),
    ((2, 3, 4, 5), 3, 2, None, (1, 1, 2, 5)),
    ((2, 3, 4, 5), -3, 3, 3, (1, 3, 1, 2)),
]
SCALE_DTYPES = {"float32": 32, "float16": 16, "e8m0": 8}
# The error of a value inside the range, in steps: a half, and what float32 loses on the way to 16-bit codes.
HALF_STEP = 0.5 + 2**16 * 4 * 2.0**-24


def asked(form, bits=8):
    """The flags; those that a sign has not are left out."""
    flags = dict(zip(("symmetric", "signed", "narrow"), form, strict=True))
    return {"symmetric": True} if bits == 1 and form[0] else flags


def code_range(bits, symmetric, signed, narrow):
    """The lowest and the highest code; None where one is all that is left."""
    signed = symmetric if signed is None else signed
    narrow = (symmetric and signed) if narrow is None else narrow
    low = (-(2 ** (bits - 1)) if signed else 0) + narrow
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    return (low, high) if low < high else None


def granularity(case):
    return dict(zip(("axis", "group_size", "group_axis"), case[1:4], strict=True))


def groups_of(q):
    return dict(zip(("group_size", "group_axis"), q.qparams.granularity.groups, strict=True))


def data(rng, shape, offset=0.5):
    return (rng.normal(offset, 2, shape) * np.exp2(rng.integers(-3, 3, shape))).astype(np.float32)


def scale_at_least(scale, dtype):
    """The least scale of a dtype that is not below this one."""
    if dtype == "e8m0":
        return np.exp2(np.ceil(np.log2(scale.astype(np.float64)))).astype(np.float32)
    if dtype == "float16":
        half = scale.astype(np.float16)
        up = np.where(half.astype(np.float32) < scale, np.nextafter(half, np.float16(np.inf)), half)
        return np.maximum(up, np.finfo(np.float16).smallest_subnormal).astype(np.float32)
    return scale


# ---- the formulas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SHARINGS, ids=str)
@pytest.mark.parametrize("bits", range(1, 17))
def test_codes_and_values(rng, bits, case):
    w = data(rng, case[0])
    for form in FORMS:
        ends = code_range(bits, *form)
        if ends is None or (bits == 1 and form[0]):
            continue
        q = ql.quantize(w, bits, **asked(form), **granularity(case))
        groups = groups_of(q)
        low, high = reference.minmax_per_parameter(w, case[4], **groups)
        scale, zero_point = reference.range_qparams(low, high, *ends, form[0])
        assert (q.qparams.qmin, q.qparams.qmax, q.bits, q.shape) == (*ends, bits, w.shape), form
        same_bytes(q.scale, scale)
        same_bytes(q.zero_point, zero_point.astype(np.int32))
        codes = reference.quantize(w, scale, zero_point, *ends, **groups)
        same_bytes(q.codes, codes.astype(q.codes.dtype))
        assert q.codes.dtype.itemsize == (1 if bits <= 8 else 2)
        same_bytes(q.dequantize(), reference.dequantize(codes, scale, zero_point, **groups))
        same_bytes(ql.fake_quantize(w, q.qparams), q.dequantize())


@pytest.mark.parametrize("case", SHARINGS, ids=str)
def test_one_bit_keeps_the_sign(rng, case):
    """XNOR-Net: +-mean(|w|), which loses least."""
    w = data(rng, case[0], offset=0)
    q = ql.quantize(w, 1, **granularity(case))
    number = reference.spread(np.arange(math.prod(case[4])).reshape(case[4]), w.shape, **groups_of(q)).ravel()
    mean = np.bincount(number, np.abs(w.ravel().astype(np.float64))) / np.bincount(number)
    np.testing.assert_allclose(q.scale.ravel(), mean, rtol=1e-6)
    same_bytes(q.codes, (w > 0).astype(np.uint8))
    same_bytes(
        q.dequantize(),
        np.where(w > 0, np.float32(1), np.float32(-1)) * reference.spread(q.scale, w.shape, **groups_of(q)),
    )


@pytest.mark.parametrize("dtype", ["float16", "e8m0"])
@pytest.mark.parametrize("case", SHARINGS[::3], ids=str)
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 12, 16])
def test_rounded_scales(rng, bits, case, dtype):
    """Scales are rounded up, and the zero points are those of the rounded scales: nothing is clipped."""
    w = data(rng, case[0]) * np.float32(30)
    for form in FORMS:
        ends = code_range(bits, *form)
        q = ql.quantize(w, bits, scale_dtype=dtype, **asked(form), **granularity(case))
        groups = groups_of(q)
        low, high = reference.minmax_per_parameter(w, case[4], **groups)
        own = low == high  # a constant keeps a scale of its own, where that is one of the dtype
        scale = scale_at_least(reference.range_qparams(low, high, *ends, form[0])[0], dtype)
        same_bytes(q.scale[~own], scale[~own])
        same_bytes(q.scale, scale_at_least(q.scale, dtype))
        if not form[0]:
            expected = np.clip(np.rint(np.float32(ends[0]) - np.minimum(low, 0) / scale), *ends).astype(np.int32)
            same_bytes(q.zero_point[~own], expected[~own])
        error = np.abs(w.astype(np.float64) - q.dequantize())
        assert np.all(error <= HALF_STEP * reference.spread(q.scale, w.shape, **groups)), form


@pytest.mark.parametrize("dtype", ["uint8", "fp8_e4m3"])
@pytest.mark.parametrize("case", [case for case in SHARINGS if case[2]], ids=str)
@pytest.mark.parametrize("symmetric", [True, False])
def test_two_levels_of_scales(rng, case, dtype, symmetric):
    """The scales of groups are codes under a float32 scale for each index of `axis`, or one for all."""
    w = data(rng, case[0])
    q = ql.quantize(w, 4, symmetric=symmetric, scale_dtype=dtype, **granularity(case))
    ends = (q.qparams.qmin, q.qparams.qmax)
    low, high = reference.minmax_per_parameter(w, case[4], **groups_of(q))
    low, high = np.minimum(low, 0), np.maximum(high, 0)  # a constant is a range like others
    scale = np.where(low == high, 0, reference.range_qparams(low, high, *ends, symmetric)[0])
    over = tuple(i for i in range(w.ndim) if case[1] is None or i != case[1] % w.ndim)
    greatest = scale.max(axis=over, keepdims=True)
    second = q.qparams.scale_codes
    same_bytes(second.scale, greatest / np.float32(255 if dtype == "uint8" else 448))
    if dtype == "uint8":
        codes = np.maximum(np.rint(scale / second.scale), 1)
        same_bytes(second.codes, codes.astype(np.uint8))
    same_bytes(q.scale, second.dequantize())
    assert np.all(q.scale > 0)
    codes = reference.quantize(w, q.scale, q.zero_point, *ends, **groups_of(q))
    same_bytes(q.codes, codes)
    same_bytes(q.dequantize(), reference.dequantize(codes, q.scale, q.zero_point, **groups_of(q)))


# ---- promises ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SHARINGS, ids=str)
@pytest.mark.parametrize("bits", range(1, 17))
def test_size(rng, bits, case):
    """Every row of packed codes is padded to a byte; scales and zero points are counted at their own widths."""
    w = data(rng, case[0])
    for dtype, scale_bits in SCALE_DTYPES.items():
        for symmetric in (True, False):
            q = ql.quantize(w, bits, symmetric=symmetric, scale_dtype=dtype, **granularity(case))
            rows = 1 if q.axis is None else w.shape[q.axis]
            parameters = math.prod(case[4]) * (scale_bits + bits * bool(q.zero_point.any()))
            assert q.stored.nbytes == rows * math.ceil(w.size // rows * bits / 8)
            assert q.nbytes == q.stored.nbytes + math.ceil(parameters / 8)
            assert q.bits_per_value == 8 * q.nbytes / w.size


def test_sizes_that_were_promised(rng):
    """Widths people know: 4-bit groups of 32 under float16 scales, two levels, NF4 in blocks of 64, MXFP4."""
    w = data(rng, (64, 1024))
    known = [
        ({"bits": 8}, 8 + 32 / 65536),
        ({"bits": 4, "group_size": 32, "scale_dtype": "float16"}, 4.5),
        ({"bits": 4, "group_size": 32, "scale_dtype": "float16", "symmetric": False}, 4.625),
        ({"bits": 4, "group_size": 16, "scale_dtype": "fp8_e4m3"}, 4.5 + 32 / 65536),
        ({"bits": 4, "group_size": 64, "axis": 0, "scale_dtype": "uint8"}, 4 + 8 / 64 + 32 / 1024),
        ({"bits": 2, "axis": 0}, 2 + 32 / 1024),
        ({"bits": 3, "axis": 1}, 3 + 32 / 64),
        ({"bits": 1}, 1 + 32 / 65536),
        ({"grid": "nf4", "group_size": 64}, 4.5),
        ({"grid": "mxfp4"}, 4.25),
        ({"grid": "mxint8"}, 8.25),
        ({"grid": "kmeans", "bits": 4}, 4 + 16 * 32 / 65536),
    ]
    for options, expected in known:
        assert ql.quantize(w, **options).bits_per_value == expected, options


@pytest.mark.parametrize("bits", range(2, 17))
def test_zero_stays_zero(rng, bits):
    for form, dtype, offset in itertools.product(FORMS, ["float32", "float16", "e8m0", "uint8"], [-9, 0, 9]):
        p = ql.choose_qparams(data(rng, (4, 32), offset), bits, **asked(form), group_size=8, scale_dtype=dtype)
        assert not ql.fake_quantize(np.zeros((4, 32)), p).any(), (form, dtype, offset)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("granularity", [{"axis": 0}, {"axis": 0, "group_size": 8}, {"group_size": 5}], ids=str)
def test_constants_come_back(bits, granularity):
    constants = np.float32([0, 1, -1, 0.1, -3.7e-5, 1e30, -1e-30, -0.0])
    w = np.repeat(constants[:, None], 20, axis=1)
    for form in FORMS:
        if code_range(bits, *form) is None:
            continue
        back = ql.quantize(w, bits, **asked(form, bits), **granularity).dequantize()
        exact = (constants != 0) if bits == 1 and form[0] else np.full(8, True)
        np.testing.assert_array_equal(back[exact], w[exact], err_msg=str(form))
        assert np.all(np.abs(back[~exact]) <= np.finfo(np.float32).tiny)  # a sign has no zero, but comes close


@pytest.mark.parametrize("bits", [2, 4, 5, 8, 12])
def test_layouts_in_memory(rng, bits):
    w = data(rng, (6, 20))
    for layout in LAYOUTS.values():
        for options in ({}, {"axis": 1}, {"axis": 0, "group_size": 8}):
            assert ql.quantize(layout(w), bits, **options) == ql.quantize(w, bits, **options)


def test_empty_data_on_a_known_grid():
    for shape in ((0,), (0, 4), (3, 0, 2)):
        for bits in (3, 8, 16):
            q = ql.quantize(np.zeros(shape, np.float32), bits, scale=0.5)
            assert (q.shape, q.dequantize().shape, q.bits_per_value) == (shape, shape, 0)


@pytest.mark.parametrize("grid", ["uniform", "nf4", "sign"])
@pytest.mark.parametrize("dtype", ["uint8", "fp8_e4m3"])
@pytest.mark.parametrize("block", [0.0, 1.0, -2.0])
def test_case_a_zero_or_constant_block_beside_others(rng, grid, dtype, block):
    """Neither the stand-in scale of zeros nor that of a constant enters the outer scale."""
    bits = 1 if grid == "sign" else 4
    for amplitude in (1e-5, 1.0):
        w = rng.normal(size=(1, 4096)) * amplitude
        options = {"grid": grid, "group_size": 64, "scale_dtype": dtype}
        expected = ql.quantize(w, bits, **options).error(w).sqnr_db
        w[0, :64] = block * amplitude
        q = ql.quantize(w, bits, **options)
        assert q[:, 64:].error(w[:, 64:]).sqnr_db > expected - 0.5


def test_case_a_zeros_alone_under_two_levels():
    for method in ("minmax", "mse"):
        q = ql.quantize(np.zeros((2, 64)), 4, method=method, group_size=32, scale_dtype="uint8")
        assert not q.dequantize().any()


def test_case_b_small_float16_scales(rng):
    """Subnormal float16 numbers are scales as well: coarse ones, rounded up."""
    w = rng.normal(size=(64, 256))
    for amplitude, least in ((1.0, 45.3), (1e-3, 45.2), (1e-4, 45.0), (1e-5, 43.5)):
        for method in ("minmax", "mse"):
            q = ql.quantize(w * amplitude, axis=0, group_size=32, method=method, scale_dtype="float16")
            assert q.error(w * amplitude).sqnr_db > least, (amplitude, method)
            assert np.array_equal(q.scale, q.scale.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("amplitude", [1e-9, 1e8])
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("grid", ["uniform", "nf4"])
def test_case_b_values_beyond_float16_scales_are_refused(rng, amplitude, method, grid):
    w = rng.normal(size=(4, 256)) * amplitude
    if method == "entropy" and grid == "nf4":
        method = "minmax"
    choices = (
        lambda: ql.quantize(w, grid=grid, axis=0, method=method, scale_dtype="float16"),
        lambda: ql.Calibrator().update(w).qparams(method, grid=grid, scale_dtype="float16"),
        lambda: ql.QParams.from_range(w.min(), w.max(), grid=grid, symmetric=True, scale_dtype="float16"),
    )
    for choose in choices:
        with pytest.raises(ValueError, match=r"^scale_dtype: expected values whose scales float16 holds"):
            choose()


def test_case_b_a_small_group_among_others(rng):
    """It loses less than the steps of the others."""
    w = rng.normal(size=(2, 32))
    w[1] *= 1e-9
    q = ql.quantize(w, axis=0, scale_dtype="float16")
    assert q.scale[1, 0] == 2.0**-24
    assert np.all(np.abs(q.dequantize()[1] - w[1]) <= 2.0**-25)
