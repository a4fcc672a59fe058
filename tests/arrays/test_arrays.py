"""Arrays to codes and back through the public API: the formulas, the defaults, an independent peer, and QArray."""

import copy
import pickle

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models import onnxruntime
from samples import LAYOUTS, same_bytes

import qlite as ql

PROPERTY = settings(derandomize=True, deadline=None, database=None, max_examples=150)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=9)
# symmetric, signed, narrow -> the codes that a grid of 8 bits has
GRIDS = {
    (True, None, None): (-127, 127),
    (True, True, False): (-128, 127),
    (True, False, None): (0, 255),
    (True, False, True): (1, 255),
    (False, None, None): (0, 255),
    (False, True, None): (-128, 127),
    (False, True, True): (-127, 127),
}
SHAPES_AND_AXES = [((), None), ((1,), None), ((33,), 0), ((5, 7), None), ((5, 7), 0), ((5, 7), -1), ((3, 4, 5), 1)]
SHAPES_AND_AXES += [((3, 4, 5), -3), ((2, 3, 2, 3), 2)]
METHODS = ["minmax", "percentile", "mse", "entropy"]


def options(grid):
    return dict(zip(("symmetric", "signed", "narrow"), grid, strict=True))


def expected_qparams(w, axis, grid):
    """Scale and zero point of the min-max grid, in the rank of the data."""
    low, high = reference.minmax(w, axis)
    shape = [1] * np.ndim(w)
    if axis is not None:
        shape[axis] = -1
    scale, zero_point = reference.range_qparams(low, high, *GRIDS[grid], grid[0])
    return np.reshape(scale, shape), np.reshape(zero_point, shape)


# ---- the formulas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape, axis", SHAPES_AND_AXES)
def test_quantize_and_back(rng, shape, axis, grid):
    w = rng.normal(0.3, 2, shape).astype(np.float32)
    front = None if axis is None else axis % len(shape)
    scale, zero_point = expected_qparams(w, front, grid)
    qp = ql.choose_qparams(w, axis=axis, **options(grid))
    same_bytes(qp.scale, scale)
    same_bytes(qp.zero_point, zero_point.astype(np.int32))
    assert (qp.qmin, qp.qmax, qp.axis, qp.bits) == (*GRIDS[grid], front, 8)

    q = ql.quantize(w, axis=axis, **options(grid))
    same_bytes(q.codes, reference.quantize(w, scale, zero_point, *GRIDS[grid]))
    back = reference.dequantize(q.codes, scale, zero_point)
    for values in (
        ql.dequantize(q),
        q.dequantize(),
        np.asarray(q),
        ql.fake_quantize(w, qp),
        ql.quantize(w, qp).dequantize(),
    ):
        same_bytes(values, back)


@PROPERTY
@given(data=st.data(), w=hnp.arrays(np.float32, SHAPES, elements=FLOATS), grid=st.sampled_from(list(GRIDS)))
def test_any_finite_array(data, w, grid):
    axis = data.draw(st.none() | st.integers(-w.ndim, w.ndim - 1)) if w.ndim else None
    q = ql.quantize(w, axis=axis, **options(grid))
    scale, zero_point = expected_qparams(w, None if axis is None else axis % w.ndim, grid)
    same_bytes(q.codes, reference.quantize(w, scale, zero_point, *GRIDS[grid]))
    same_bytes(ql.fake_quantize(w, q.qparams), q.dequantize())
    assert np.all((q.scale >= reference.TINY) & np.isfinite(q.scale))
    assert not ql.fake_quantize(np.zeros_like(w), q.qparams).any()  # zero is on every grid


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("method", METHODS)
def test_constant_channels_come_back_exactly(method, grid):
    constants = np.float32([0, 1, -1, 0.1, -3.7e-5, 1e30, -1e-30, -0.0])
    w = np.repeat(constants[:, None], 6, axis=1)
    np.testing.assert_array_equal(ql.quantize(w, axis=0, method=method, **options(grid)).dequantize(), w)
    np.testing.assert_array_equal(ql.quantize(w.T, axis=-1, method=method, **options(grid)).dequantize(), w.T)
    for constant in constants:
        x = np.full((2, 3), constant)
        np.testing.assert_array_equal(ql.quantize(x, method=method, **options(grid)).dequantize(), x)


def test_a_zero_channel_leaves_the_others_alone(rng):
    w = rng.normal(size=(8, 3)).astype(np.float32)
    with_zeros = np.hstack([w, np.zeros((8, 1), np.float32)])
    q = ql.quantize(with_zeros, axis=1)
    assert not q.codes[:, 3].any()
    same_bytes(q.codes[:, :3].copy(), ql.quantize(w, axis=1).codes)


def test_defaults():
    w = np.float32([-1.0, 0.5, 1.27])
    q = ql.quantize(w)
    assert (q.codes.dtype, q.qparams.qmin, q.qparams.qmax, q.zero_point.item()) == (np.int8, -127, 127, 0)
    asymmetric = ql.quantize(np.float32([1.0, 2.55]), symmetric=False)
    assert asymmetric.codes.dtype == np.uint8
    assert (asymmetric.zero_point.item(), asymmetric.scale.item()) == (0, np.float32(2.55) / np.float32(255))
    assert ql.choose_qparams(np.float32([-2.55, -1.0]), symmetric=False).zero_point.item() == 255


def test_the_range_of_a_grid(rng):
    qp = ql.choose_qparams(rng.normal(size=(50, 3)), axis=1, symmetric=False)
    low, high = qp.range
    for bound, code in ((low, 0), (high, 255)):
        same_bytes(ql.QArray(np.full((1, 3), code, np.uint8), qp).dequantize(), bound.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4", ">f8"])
def test_floating_dtypes(rng, dtype):
    w = rng.normal(size=(6, 5)).astype(dtype)
    expected = ql.quantize(w.astype(np.float32), axis=1)
    same_bytes(ql.quantize(w, axis=1).codes, expected.codes)
    same_bytes(ql.quantize(w.tolist(), axis=1).codes, expected.codes)
    same_bytes(ql.fake_quantize(w, expected.qparams), expected.dequantize())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(rng, layout):
    w = rng.normal(size=(6, 5)).astype(np.float32)
    same_bytes(
        ql.quantize(LAYOUTS[layout](w), axis=0, symmetric=False).codes, ql.quantize(w, axis=0, symmetric=False).codes
    )


def test_a_given_scale(rng):
    w = rng.normal(size=(4, 3)).astype(np.float32)
    one = ql.quantize(w, scale=0.02, zero_point=7, symmetric=False)
    same_bytes(one.codes, reference.quantize(w, np.float32(0.02), 7, 0, 255))
    assert one.scale.shape == (1, 1)
    for scale in ([0.1, 0.2, 0.3], np.float64([[0.1, 0.2, 0.3]])):
        q = ql.quantize(w, scale=scale, axis=1)
        same_bytes(q.codes, reference.quantize(w, np.float32([[0.1, 0.2, 0.3]]), 0, -127, 127))
        assert q.axis == 1
    assert ql.quantize(w, scale=0.1, signed=False).zero_point.item() == 128
    assert ql.quantize([-1e9, 1e9], scale=1.0).codes.tolist() == [-127, 127]
    assert ql.quantize([-1e9, 1e9], scale=1.0, narrow=False).codes.tolist() == [-128, 127]


def test_saturating(rng):
    w = rng.normal(size=100).astype(np.float32)
    w[[3, 50, 99]] = np.nan, np.inf, -np.inf
    finite = np.where(np.isfinite(w), w, 0)
    q = ql.quantize(w, nonfinite="saturate")
    same_bytes(q.scale, ql.quantize(finite).scale)
    assert q.codes[[3, 50, 99]].tolist() == [0, 127, -127]
    same_bytes(ql.fake_quantize(w, q.qparams, nonfinite="saturate"), q.dequantize())


def test_out(rng):
    w = rng.normal(size=(4, 3)).astype(np.float32)
    codes, values = np.zeros((4, 3), np.int8), np.zeros((4, 3), np.float32)
    q = ql.quantize(w, out=codes)
    same_bytes(codes, ql.quantize(w).codes)
    assert np.shares_memory(q.codes, codes)
    assert ql.dequantize(q, values) is values
    assert ql.fake_quantize(w, q.qparams, out=w) is w
    same_bytes(w, values)


# ---- requantize -------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_requantize(rng, axis, signed):
    acc = rng.integers(-(2**20), 2**20, (40, 6), dtype=np.int32)
    qmin, qmax = (-128, 127) if signed else (0, 255)
    count = 1 if axis is None else acc.shape[axis]
    multiplier = rng.uniform(1e-5, 1e-3, count)
    along = multiplier.reshape(-1, 1) if axis == 0 else multiplier
    z = qmin + 100
    given_multiplier = multiplier if axis is not None else multiplier.item()
    got = ql.requantize(acc, given_multiplier, z, signed=signed, axis=axis)
    same_bytes(got, reference.requantize_float(acc, along.astype(np.float32), z, qmin, qmax))
    mantissa, exponent = np.array([reference.quantize_multiplier(m) for m in multiplier]).T.reshape(2, *along.shape)
    fixed = ql.requantize(acc, given_multiplier, z, signed=signed, axis=axis, requant="fixed", out=np.empty_like(got))
    same_bytes(fixed, reference.requantize_fixed(acc, mantissa, exponent, z, qmin, qmax))


# ---- an independent peer ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_quantize_as_onnxruntime(rng, axis, dtype):
    info, count = np.iinfo(dtype), 1 if axis is None else (300, 17)[axis]
    scale = rng.uniform(0.01, 0.3, count).astype(np.float32)
    zero_point = rng.integers(info.min, info.max + 1, count).astype(dtype)
    x = rng.normal(0, 20, (300, 17)).astype(np.float32)
    x[::3] = (rng.integers(-300, 300, x[::3].shape) + np.float32(0.5)) * np.float32(0.25)
    scale[0] = 0.25  # ties
    x[0, :4] = np.inf, -np.inf, 3e38, -3e38
    attributes = {} if axis is None else {"axis": axis}
    peer = [x, *((scale[0], zero_point[0]) if axis is None else (scale, zero_point))]
    q = ql.quantize(
        x, scale=peer[1], zero_point=peer[2], axis=axis, signed=dtype == np.int8, narrow=False, nonfinite="saturate"
    )
    same_bytes(q.codes, onnxruntime("QuantizeLinear", peer, dtype, **attributes))
    same_bytes(q.dequantize(), onnxruntime("DequantizeLinear", [q.codes, *peer[1:]], np.float32, **attributes))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("m, k, n", [(1, 5, 3), (33, 64, 10), (7, 301, 17)])
def test_requantize_as_onnxruntime(rng, m, k, n, dtype):
    # Weights in 7 bits: without VNNI the peer adds pairs of products in 16 bits, which saturate.
    a = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, (m, k)).astype(dtype)
    b = rng.integers(-63, 64, (k, n)).astype(np.int8)
    za, zy = dtype(3), dtype(90)
    acc = ql.matmul_integer(a, b, za)
    same_bytes(acc, onnxruntime("MatMulInteger", [a, b, za, np.int8(0)], np.int32))
    sa, sb, sy = np.float32(0.02), rng.uniform(0.001, 0.01, n).astype(np.float32), np.float32(0.017 * k**0.5)
    got = ql.requantize(acc, sa * sb / sy, int(zy), signed=dtype == np.int8, axis=1)
    same_bytes(got, onnxruntime("QLinearMatMul", [a, sa, za, b, sb, np.zeros(n, np.int8), sy, zy], dtype))


# ---- QArray -----------------------------------------------------------------------------------------


INDICES = {
    "int": 1, "negative": -1, "slice": slice(1, 3), "step": slice(None, None, -2), "empty": slice(0, 0), "all": ...,
    "column": (slice(None), 2), "columns": (slice(None), slice(1, 4)), "last": (..., 1), "element": (1, 2), "new": None,
    "new_middle": (slice(None), None), "list": [0, 2], "mask": np.array([True, False, True, True]),
    "column_list": (slice(None), [3, 0]), "pairs": ([0, 1], [2, 3]), "one_row": slice(1, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize(
    "shape, axis", [((4, 5), None), ((4, 5), 0), ((4, 5), 1), ((4, 5, 3), 0), ((4, 5, 3), 1), ((4, 5, 3), 2)]
)
def test_indexing(rng, shape, axis, name):
    q = ql.quantize(rng.normal(size=shape), axis=axis, symmetric=False)
    part = q[INDICES[name]]
    values = q.dequantize()[INDICES[name]]
    same_bytes(part.codes, np.asarray(q.codes[INDICES[name]]))
    same_bytes(part.dequantize(), np.asarray(values))
    assert part.shape == values.shape
    assert part.scale.ndim == values.ndim


def test_as_a_sequence(rng):
    q = ql.quantize(rng.normal(size=(4, 5)), axis=1)
    assert len(q) == 4
    for row, values in zip(q, q.dequantize(), strict=True):
        same_bytes(np.asarray(row), values)
    for index, said in (
        (4, "out of bounds for axis 0"),
        ((0, 9), "out of bounds for axis 1"),
        ("a", "^index: expected integers"),
    ):
        with pytest.raises(IndexError, match=said):
            q[index]
    with pytest.raises(TypeError, match="without dimensions"):
        len(ql.quantize(1.5))


@pytest.mark.parametrize("axis, symmetric", [(None, True), (None, False), (1, True), (1, False)])
def test_weight_only_product(rng, axis, symmetric):
    q = ql.quantize(rng.normal(size=(33, 7)), axis=axis, symmetric=symmetric)
    for x in (rng.normal(size=(5, 33)), rng.normal(size=(1, 33)).astype(np.float32), np.zeros((0, 33))):
        expected = reference.matmul_float(x, q.codes, q.scale, q.zero_point)
        same_bytes(x @ q, expected)
        same_bytes(x @ q, expected)  # from the packed form
        if len(x):
            same_bytes(x.tolist() @ q, expected)


@pytest.mark.parametrize("scale", [np.ones((4, 1)), [[1.0], [10.0], [100.0], [1000.0]]])
def test_products_never_take_scales_of_rows_for_those_of_columns(rng, scale):
    codes = rng.integers(-128, 128, (4, 4), dtype=np.int8)
    x = rng.normal(size=(2, 4))
    for make in (
        lambda: ql.QArray.from_codes(codes, scale),
        lambda: ql.QArray.from_codes(codes, scale, axis=0),
        lambda: ql.QArray(codes, ql.QParams(np.float32(scale), np.zeros((4, 1), np.int32))),
    ):
        for name, product in (("q", lambda q: x @ q), ("w", lambda q: ql.linear(x, q)), ("b", ql.pack)):
            with pytest.raises(ValueError, match=rf"^{name}: expected 2 dimensions"):
                product(make())


def test_conversion(rng):
    q = ql.quantize(rng.normal(size=(3, 4)))
    assert np.asarray(q).dtype == np.float32
    assert np.asarray(q, np.float64).dtype == np.float64
    same_bytes(np.array(q, copy=True), q.dequantize())
    with pytest.raises(ValueError, match=r"^copy: "):
        np.array(q, copy=False)


def test_size():
    w = np.linspace(-1, 1, 1000).reshape(50, 20)
    assert (ql.quantize(w).nbytes, ql.quantize(w, axis=1).nbytes) == (1000 + 4, 1000 + 20 * 4)
    assert ql.quantize(w, axis=1).bits_per_value == 8 * 1080 / 1000
    assert ql.quantize(w + 2, axis=1, symmetric=False).nbytes == 1000 + 20 * 4  # all zero points are 0
    assert ql.quantize(w, axis=1, symmetric=False).nbytes == 1000 + 20 * 5
    q = ql.quantize(w, axis=0)
    assert (q.shape, q.ndim, q.size, q.bits, q.axis, q.group_size) == ((50, 20), 2, 1000, 8, 0, None)


def pickled(q):
    return pickle.loads(pickle.dumps(q))


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, pickled])
def test_copies(rng, clone):
    q, x = ql.quantize(rng.normal(size=(6, 4)), axis=1, symmetric=False), rng.normal(size=(3, 6))
    for original in (q, ql.quantize(np.asarray(q), q.qparams)):
        _ = x @ q  # the packed form is there now
        twin = clone(original)
        same_bytes(twin.dequantize(), original.dequantize())
        same_bytes(x @ twin, x @ original)
        assert (twin.axis, twin.bits, twin.nbytes) == (original.axis, original.bits, original.nbytes)
        assert not twin.codes.flags.writeable


def test_nothing_can_be_changed(rng):
    q = ql.quantize(rng.normal(size=(3, 4)))
    with pytest.raises(ValueError, match="read-only"):
        q.codes[0, 0] = 1
    with pytest.raises(AttributeError, match="'scale'"):
        q.qparams.scale = np.ones(1)


def test_representations(rng):
    q = ql.quantize(rng.normal(size=(3, 4)), axis=1, symmetric=False)
    for text in ("(3, 4)", "uint8", "4 scales along axis 1", "32 bytes"):
        assert text in repr(q)
    assert "1 scale" in repr(ql.quantize([1.0]))
    html = q._repr_html_()
    assert html.startswith("<table") and html.endswith("</table>") and "3 x 4" in html
    assert ql.quantize(np.zeros((0, 4)), ql.choose_qparams([1.0]))._repr_html_().startswith("<table")
    assert "uint8 [0, 255], 4 scales along axis 1" in repr(q.qparams)


@pytest.mark.parametrize("requant", ["float", "fixed"])
def test_case_f_requantize_clips(requant):
    acc = np.array([2**30, 2**31 - 1, -(2**31), -(2**30)], np.int32)
    assert ql.requantize(acc, 1.0, requant=requant).tolist() == [127, 127, -128, -128]
    assert ql.requantize(acc, 3e8, 128, signed=False, requant=requant).tolist() == [255, 255, 0, 0]


def test_case_g_a_zero_point_that_is_given_means_the_full_range():
    x = np.array([-1000.0])
    assert ql.quantize(x, scale=0.1, zero_point=3).codes == -128
    assert ql.quantize(x, scale=0.1, zero_point=0).codes == -128
    assert ql.quantize(x, 4, scale=0.1, zero_point=[3], axis=0).codes == -8
    assert ql.quantize(x, scale=0.1, zero_point=3, narrow=True).codes == -127
    assert ql.quantize(x, scale=0.1).codes == -127
    assert ql.quantize(x, scale=0.1, zero_point=3, symmetric=False).codes == 0


@pytest.mark.parametrize("grid", ["nf4", "log2", "kmeans", "mxfp4", "mxint8", [-1.0, 0.0, 2.0]], ids=str)
def test_case_g_symmetric_has_no_effect_on_grids_with_their_own_zero(rng, grid):
    w = rng.normal(size=(4, 32))
    with pytest.raises(ValueError, match=r"^symmetric: "):
        ql.quantize(w, grid=grid, symmetric=False)
    with pytest.raises(ValueError, match=r"^symmetric: "):
        ql.choose_qparams(w, grid=grid, symmetric=False)
    if grid != "kmeans":
        with pytest.raises(ValueError, match=r"^symmetric: "):
            ql.quantize(w, grid=grid, scale=1.0, symmetric=False)
        with pytest.raises(ValueError, match=r"^symmetric: "):
            ql.QParams.from_range(-1.0, 1.0, grid=grid, symmetric=False)


def test_case_m_nothing_in_place():
    x = np.zeros(0, np.float32)
    for shape in ((0,), (0, 3), (3, 0)):
        x = np.zeros(shape, np.float32)
        assert ql.fake_quantize(x, ql.QParams(np.float32([0.5]), 0), out=x) is x
