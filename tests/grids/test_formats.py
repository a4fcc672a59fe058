"""Formats that others define, against readers and writers of theirs: ml_dtypes for the small floats and integers, onnx
and onnxruntime for packed bytes and blocks, and the formulas of the papers and specifications."""

import numpy as np
import pytest
import reference
from models import extra, onnx_nodes
from samples import same_bytes, unpacked

import qlite as ql

ml_dtypes = extra("ml_dtypes")
SMALL_FLOATS = {
    "fp4": ml_dtypes.float4_e2m1fn,
    "fp6_e2m3": ml_dtypes.float6_e2m3fn,
    "fp6_e3m2": ml_dtypes.float6_e3m2fn,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
}
BLOCK_FORMATS = {
    "mxfp4": ml_dtypes.float4_e2m1fn,
    "mxfp6_e2m3": ml_dtypes.float6_e2m3fn,
    "mxfp6_e3m2": ml_dtypes.float6_e3m2fn,
    "mxfp8_e4m3": ml_dtypes.float8_e4m3fn,
    "mxfp8_e5m2": ml_dtypes.float8_e5m2,
}
INTEGERS = {
    (4, True): (ml_dtypes.int4, "INT4"),
    (4, False): (ml_dtypes.uint4, "UINT4"),
    (2, True): (ml_dtypes.int2, "INT2"),
    (2, False): (ml_dtypes.uint2, "UINT2"),
}
# As published: Dettmers et al., QLoRA (2023), appendix E.
NF4 = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634),
    *(0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]
NF4_TOLERANCE = 2e-7  # the published digits come from another implementation of the normal distribution, in float32


def values_of_bits(dtype):
    """What every bit pattern of a small float stands for."""
    return np.arange(1 << ml_dtypes.finfo(dtype).bits, dtype=np.uint8).view(dtype).astype(np.float32)


def bits_of(x, dtype):
    """The bit patterns to which ml_dtypes rounds x, clipped to the format's range; -0 as 0."""
    greatest = np.float32(ml_dtypes.finfo(dtype).max)
    return (np.clip(x, -greatest, greatest).astype(dtype) + dtype(0)).view(np.uint8)


def awkward_values(rng, dtype):
    """Of a small float: every value, every tie, one float32 to either side of each, and values of all magnitudes."""
    finite = np.unique(values_of_bits(dtype)[np.isfinite(values_of_bits(dtype))])
    ties = (finite[1:] + finite[:-1]) / 2  # exact: a bit more than the format has
    x = np.concatenate([finite, ties])
    beside = np.concatenate([np.nextafter(x, np.float32(s * np.inf)) for s in (1, -1)])
    spread = rng.normal(size=4000).astype(np.float32) * np.exp2(rng.uniform(-24, 18, 4000)).astype(np.float32)
    return np.concatenate([x, beside, spread, np.float32([1e30, -1e30, 1e-40, -1e-40])]).astype(np.float32)


# ---- small floats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", SMALL_FLOATS)
def test_values_of_small_floats(grid):
    theirs = values_of_bits(SMALL_FLOATS[grid])
    book = ql.quantize([1.0], grid=grid).codebook
    same_bytes(np.where(np.isnan(book), np.inf, np.abs(book)), np.where(np.isfinite(theirs), np.abs(theirs), np.inf))
    finite = np.isfinite(theirs)
    same_bytes(np.signbit(book[finite]), np.signbit(theirs[finite]))
    codes = np.flatnonzero(finite).astype(np.uint8)
    same_bytes(ql.QArray.from_codes(codes, 1.0, grid=grid).dequantize(), theirs[finite])


@pytest.mark.parametrize("grid", SMALL_FLOATS)
def test_rounding_to_small_floats(isa, rng, grid):
    x = awkward_values(rng, SMALL_FLOATS[grid])
    q = ql.quantize(x, grid=grid, scale=1.0)
    same_bytes(q.codes, bits_of(x, SMALL_FLOATS[grid]))
    same_bytes(q.dequantize(), q.codes.view(SMALL_FLOATS[grid]).astype(np.float32))
    same_bytes(ql.fake_quantize(x, q.qparams), q.dequantize())


@pytest.mark.parametrize("grid", SMALL_FLOATS)
@pytest.mark.parametrize(
    "granularity", [{}, {"axis": 1}, {"axis": 0, "group_size": 16}, {"group_size": 5, "group_axis": 0}]
)
def test_scaled_small_floats(rng, grid, granularity):
    w = rng.standard_t(3, (12, 40)).astype(np.float32)
    q = ql.quantize(w, grid=grid, **granularity)
    dtype, groups = (
        SMALL_FLOATS[grid],
        dict(zip(("group_size", "group_axis"), q.qparams.granularity.groups, strict=True)),
    )
    low, high = reference.minmax_per_parameter(w, q.scale.shape, **groups)
    same_bytes(q.scale, np.maximum(-low, high) / np.float32(ml_dtypes.finfo(dtype).max))
    scale = reference.spread(q.scale, w.shape, **groups)
    same_bytes(q.codes, bits_of(w / scale, dtype))
    same_bytes(q.dequantize(), q.codes.view(dtype).astype(np.float32) * scale)


# ---- block formats ----------------------------------------------------------------------------------


def blocks(w):
    """Rows of 32, the last one of each row of w filled up with zeros."""
    return np.pad(w, ((0, 0), (0, -w.shape[1] % 32))).reshape(len(w), -1, 32)


def shared_exponents(w, greatest_exponent):
    """OCP Microscaling Formats 1.0, 6.3: floor(log2(max |V|)) - emax of the element format, a row of blocks each."""
    greatest = np.abs(blocks(w)).max(axis=2).astype(np.float64)
    exponents = np.floor(np.log2(np.where(greatest > 0, greatest, 1))) - greatest_exponent
    return np.where(greatest > 0, np.maximum(exponents, -126), 0)


def block_data(rng):
    w = rng.standard_t(2, (6, 100)).astype(np.float32) * np.exp2(rng.integers(-30, 30, (6, 1))).astype(np.float32)
    w[1, 32:64] = 0
    w[2, :32] = np.exp2(np.arange(-20.0, 12.0))  # powers of two: floor(log2()) at its edge
    w[3, :32] = np.nextafter(np.float32(8), np.float32(0))
    w[4, 96:] = 1e-38
    return w


@pytest.mark.parametrize("grid", BLOCK_FORMATS)
def test_block_formats_as_specified(rng, grid):
    w, dtype = block_data(rng), BLOCK_FORMATS[grid]
    greatest_exponent = int(np.floor(np.log2(float(ml_dtypes.finfo(dtype).max))))
    scale = np.exp2(shared_exponents(w, greatest_exponent))
    elements = bits_of((blocks(w) / scale[..., None]).astype(np.float32), dtype).reshape(len(w), -1)[:, : w.shape[1]]
    q = ql.quantize(w, grid=grid)
    same_bytes(q.scale, scale.astype(np.float32))
    same_bytes(q.codes, elements)
    spread = np.repeat(scale, 32, axis=1)[:, : w.shape[1]]
    same_bytes(q.dequantize(), (elements.view(dtype).astype(np.float64) * spread).astype(np.float32))


def test_mxint8_as_specified(rng):
    w = block_data(rng)
    scale = np.exp2(shared_exponents(w, 6))  # elements below 2 in steps of 2**-6, which we count to the scale
    elements = np.clip(np.rint(blocks(w) / scale[..., None]), -127, 127).reshape(len(w), -1)[:, : w.shape[1]]
    q = ql.quantize(w, grid="mxint8")
    same_bytes(q.scale, scale.astype(np.float32))
    same_bytes(q.codes, elements.astype(np.int8))


@pytest.mark.parametrize("grid", [*BLOCK_FORMATS, "mxint8"])
def test_block_formats_in_a_file(rng, tmp_path, grid):
    """The bytes of a file, read by others: safetensors, ml_dtypes and NumPy."""
    q = ql.quantize(block_data(rng), grid=grid)
    q.save(tmp_path / "blocks")
    tensors = extra("safetensors.numpy").load_file(tmp_path / "blocks")
    scale = tensors["array.scale"].view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    same_bytes(scale, q.scale)
    codes = tensors["array.codes"] if q.bits == 8 else unpacked(tensors["array.codes"], q.bits, 100)
    elements = codes.view(BLOCK_FORMATS.get(grid, np.int8)).astype(np.float32)
    same_bytes(elements * np.repeat(scale, 32, axis=1)[:, :100], q.dequantize())
    assert q.nbytes == sum(tensor.nbytes for tensor in tensors.values())


def test_nvfp4_by_its_formula(rng):
    """E2M1 values in groups of 16, E4M3 scales of these, and one float32 scale of those: the casts are ml_dtypes'."""
    w = block_data(rng)[:, :96].astype(np.float32)
    q = ql.quantize(w, grid="nvfp4")
    blocks = w.reshape(len(w), 6, 16)
    scale = np.abs(blocks).max(axis=2) / np.float32(6)
    outer = scale.max() / np.float32(448)
    inner = np.maximum((scale / outer).astype(ml_dtypes.float8_e4m3fn), np.float32(2.0**-9))  # E4M3's least over 0
    same_bytes(q.scale, inner.astype(np.float32) * outer)
    elements = (blocks / q.scale[..., None]).astype(ml_dtypes.float4_e2m1fn)
    np.testing.assert_array_equal(
        q.dequantize().reshape(blocks.shape), elements.astype(np.float32) * q.scale[..., None]
    )
    assert (q.bits, q.group_size, q.qparams.scale_dtype, q.nbytes) == (
        4,
        16,
        "fp8_e4m3",
        w.size // 2 + w.size // 16 + 4,
    )
    same = ql.quantize(w, grid="fp4", group_size=16, scale_dtype="fp8_e4m3")
    same_bytes(q.dequantize(), same.dequantize())


# ---- packed integers --------------------------------------------------------------------------------


@pytest.mark.parametrize("bits, signed", INTEGERS)
@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 5), (16,), (1,)])
def test_packed_bytes_as_onnx(rng, bits, signed, shape):
    """Without an axis codes stand one after the other, low bits first: what onnx calls raw data."""
    onnx = extra("onnx")
    dtype, name = INTEGERS[bits, signed]
    if not hasattr(onnx.TensorProto, name):
        pytest.skip(f"this onnx has no {name}")
    q = ql.quantize(rng.normal(size=shape), bits, signed=signed)
    tensor = onnx.helper.make_tensor("w", getattr(onnx.TensorProto, name), shape, q.stored.tobytes(), raw=True)
    theirs = onnx.numpy_helper.to_array(tensor)
    assert theirs.dtype == dtype
    same_bytes(theirs.astype(q.codes.dtype), q.codes)
    assert onnx.numpy_helper.from_array(q.codes.astype(dtype)).raw_data == q.stored.tobytes()


def test_packed_fp4_as_onnx(rng):
    onnx = extra("onnx")
    q = ql.quantize(rng.normal(size=(6, 9)), grid="fp4")
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT4E2M1, q.shape, q.stored.tobytes(), raw=True)
    same_bytes(onnx.numpy_helper.to_array(tensor).astype(np.float32) * q.scale, q.dequantize())


@pytest.mark.parametrize("axis, block_size", [(0, 8), (1, 32), (1, 10), (0, 5), (-1, 64)])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_as_onnxruntime(rng, bits, symmetric, axis, block_size):
    """ONNX's blocked quantization is group_size without an axis; its `axis` is the one that is cut."""
    onnx = extra("onnx")
    w = rng.normal(0.5, 2, (24, 96)).astype(np.float32)
    q = ql.quantize(w, bits, symmetric=symmetric, group_size=block_size, group_axis=axis)
    tensor = {
        (4, True): lambda c: onnx.numpy_helper.from_array(c.astype(ml_dtypes.int4)),
        (4, False): lambda c: onnx.numpy_helper.from_array(c.astype(ml_dtypes.uint4)),
    }.get((bits, symmetric), onnx.numpy_helper.from_array)
    parameters = [onnx.numpy_helper.from_array(q.scale.copy()), tensor(q.zero_point.astype(q.codes.dtype))]
    attributes = {"axis": axis, "block_size": block_size}
    back = onnx_nodes([("DequantizeLinear", attributes)], [tensor(q.codes.copy())], parameters)
    same_bytes(q.dequantize(), back)
    if not symmetric:  # onnx has no range without the lowest code
        both = [("QuantizeLinear", attributes), ("DequantizeLinear", attributes)]
        same_bytes(ql.fake_quantize(w, q.qparams), onnx_nodes(both, [onnx.numpy_helper.from_array(w)], parameters))


@pytest.mark.parametrize("grid, dtype", [("fp8_e4m3", ml_dtypes.float8_e4m3fn), ("fp8_e5m2", ml_dtypes.float8_e5m2)])
def test_fp8_as_onnxruntime(rng, grid, dtype):
    onnx = extra("onnx")
    w = rng.standard_t(2, (7, 30)).astype(np.float32)
    scale = np.float32(np.abs(w).max() / 100)
    parameters = [onnx.numpy_helper.from_array(v) for v in (scale, np.zeros((), dtype))]
    theirs = onnx_nodes(
        [("QuantizeLinear", {}), ("DequantizeLinear", {})], [onnx.numpy_helper.from_array(w)], parameters
    )
    np.testing.assert_array_equal(ql.quantize(w, grid=grid, scale=scale).dequantize(), theirs)  # theirs has -0


# ---- normal floats ----------------------------------------------------------------------------------


def test_nf4_as_published(rng):
    table = np.float32(NF4)
    w = rng.normal(size=(8, 64)).astype(np.float32)
    q = ql.quantize(w, grid="nf4", group_size=64)
    same_bytes(q.codebook, table)
    same_bytes(q.scale, np.abs(w).max(axis=1, keepdims=True))
    nearest = np.abs((w / q.scale)[..., None].astype(np.float64) - table).argmin(axis=-1)
    same_bytes(q.codes, nearest.astype(np.uint8))
    same_bytes(q.dequantize(), table[nearest] * q.scale)


@pytest.mark.parametrize("bits", [3, 4])
def test_normal_floats_by_their_formula(bits):
    """bitsandbytes' create_normal_map: quantiles of evenly spaced probabilities, one more above zero than below."""
    normal, half = extra("scipy.stats").norm, 1 << bits - 1
    offset = 1 - (1 / (2 << bits) + 1 / ((2 << bits) - 2)) / 2
    above = normal.ppf(np.linspace(offset, 0.5, half + 1)[:-1])
    below = normal.ppf(np.linspace(offset, 0.5, half)[:-1])
    expected = np.concatenate([-below, [0], above[::-1]]) / above[0]
    book = ql.quantize([1.0], grid=f"nf{bits}").codebook
    np.testing.assert_allclose(book, expected, rtol=0, atol=NF4_TOLERANCE)
