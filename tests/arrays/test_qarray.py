"""Quantized arrays as arrays: how codes are stored, indexing, copies, equality, and integers from elsewhere."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from qarrays import KINDS, SHAPE, quantized
from samples import same_bytes, unpacked

import qlite as ql
from qlite import _core

W = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
INDICES = {
    "int": 1, "negative": -2, "slice": slice(1, 4), "step": slice(None, None, -2), "empty": slice(2, 2), "all": ...,
    "rows of 1": (slice(None), slice(2, 9)), "last": (..., -1), "ends": (..., slice(1, 5)), "element": (1, 2, 3),
    "new": None, "new inside": (slice(None), None, slice(2, 4)), "list": [4, 0, 0], "columns": (slice(None), [3, 0]),
    "mask": np.arange(6) % 2 == 0, "mask of 1": (slice(None), np.arange(10) > 6), "mask of 2": (..., np.arange(7) == 2),
    "array of 2": (slice(None), slice(None), np.array([6, 1, -7])), "pairs": ([0, 1], [2, 3]), "one row": slice(3, 4),
    "int and slice": (2, slice(None, None, 3)), "backwards": (..., *2 * (slice(None, None, -1),)), "no rows": [],
    "whole mask": np.arange(420).reshape(SHAPE) % 5 == 0, "table": np.array([[0, 5], [1, 1]]),
}  # fmt: skip


# ---- storage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_storage(rng, bits, axis):
    """The kept axis first, a row for each of its indices, padded with zeros to a byte; low bits first."""
    w = rng.normal(size=(3, 5, 7)).astype(np.float32)
    for symmetric in (True, False):
        q = ql.quantize(w, bits, axis=axis, symmetric=symmetric)
        if bits in (8, 16):
            assert q.codes is q.stored
            continue
        rows = q.codes.reshape(1, -1) if axis is None else np.moveaxis(q.codes, axis, 0).reshape(w.shape[axis], -1)
        assert q.stored.dtype == np.uint8 and q.stored.shape == (len(rows), -(-rows.shape[1] * bits // 8))
        same_bytes(unpacked(q.stored, bits, rows.shape[1], q.qparams.signed), rows)
        spare = np.unpackbits(q.stored, axis=1, bitorder="little")[:, rows.shape[1] * bits :]
        assert not spare.any()


def test_known_bytes():
    codes = np.array([[1, -2, 3], [-4, 5, -6]], np.int8)
    four = ql.QArray.from_codes(codes, 1.0, bits=4, axis=0)
    assert four.stored.tolist() == [[0xE1, 0x03], [0x5C, 0x0A]]
    assert ql.QArray.from_codes(codes, 1.0, bits=4).stored.tolist() == [[0xE1, 0xC3, 0xA5]]
    columns = ql.QArray.from_codes(codes, [1.0, 1.0, 1.0], bits=4, axis=1)
    assert columns.stored.tolist() == [[0xC1], [0x5E], [0xA3]]
    ternary = ql.QArray.from_codes(np.array([1, 0, -1, 1, -1], np.int8), 1.0, bits=2)
    assert ternary.stored.tolist() == [[0b01_11_00_01, 0b11]]
    wide = ql.QArray.from_codes(np.array([0x123, 0x456], np.uint16), 1.0, bits=12)
    assert wide.stored.tolist() == [[0x23, 0x61, 0x45]]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_can_be_changed(rng, kind):
    q = quantized(rng, kind)
    arrays = [
        q.codes,
        q.stored,
        q.scale,
        q.zero_point,
        q[1:3].stored,
        q.copy().stored,
        pickle.loads(pickle.dumps(q)).scale,
    ]
    for array in (*arrays, *([] if q.codebook is None else [q.codebook])):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_parameters_and_codes_do_not_change():
    scale, codes = np.ones(1, np.float32), np.ones((2, 2), np.int8)
    p, q = ql.QParams(scale, 0), ql.QArray.from_codes(codes, 1.0)
    scale[:], codes[:] = 5, 5
    assert p.scale == 1 and (q.codes == 1).all()
    for array in (p.scale, p.zero_point, q.codes, pickle.loads(pickle.dumps(p)).scale):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 2


# ---- indexing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_indexing_is_numpys(rng, kind):
    q = quantized(rng, kind)
    values, codes = np.asarray(q), q.codes
    for name, index in INDICES.items():
        part = q[index]
        assert part.shape == values[index].shape, name
        same_bytes(np.asarray(part), np.asarray(values[index]))
        same_bytes(part.codes, np.asarray(codes[index]))
        assert (part.bits, part.qparams.grid) == (q.bits, q.qparams.grid)
        assert part.scale.size == 1 or part.scale.ndim == part.ndim


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_arrays_too(rng, kind, tmp_path):
    """What an index leaves can be indexed again, saved and used as a grid."""
    q = quantized(rng, kind)
    for index in ((slice(1, 5),), (slice(None), slice(3, 8), slice(1, None)), (..., [0, 3]), (2,)):
        part = q[index]
        same_bytes(np.asarray(part[-1]), np.asarray(q)[index][-1])
        assert part[...] == part
        part.save(tmp_path / "part")
        assert ql.load(tmp_path / "part") == part
        same_bytes(ql.fake_quantize(np.asarray(part), part.qparams), np.asarray(part))


@pytest.mark.parametrize("kind", ["int4 groups of axis 1", "uint2 groups", "int4 blocks", "quantile groups"])
def test_whole_groups_stay_groups(rng, kind):
    """Parts that begin where a group begins take no more scales than they need."""
    q = quantized(rng, kind)
    cut, size = q.qparams.group_axis, q.group_size
    for index in (
        (slice(2, 5),),
        (slice(None),) * cut + (slice(0, size + 1),),
        (slice(None),) * cut + (slice(size, None),),
    ):
        part = q[index]
        groups = [-(-n // size) if i == cut else 1 if q.scale.shape[i] == 1 else n for i, n in enumerate(part.shape)]
        assert part.scale.shape == tuple(groups)
        assert part.nbytes <= q.nbytes


@pytest.mark.parametrize(
    "kind, axis", [("int4 axis 0", 0), ("uint5 axis 1", 1), ("int3 axis 2", 2), ("kmeans axis 1", 1)]
)
def test_taking_rows_unpacks_nothing(rng, monkeypatch, kind, axis):
    q = quantized(rng, kind)
    values = np.asarray(q)
    unpacked_codes = []
    unpack = _core.unpack_bits

    def counting(packed, *arguments):
        codes = unpack(packed, *arguments)
        unpacked_codes.append(codes.size)
        return codes

    monkeypatch.setattr(_core, "unpack_bits", counting)
    for rows in (slice(1, 3), [2, 0], np.arange(SHAPE[axis]) == 1, slice(None, None, -1), np.array([1])):
        index = (slice(None),) * axis + (rows,)
        part = q[index]
        assert not unpacked_codes
        same_bytes(np.asarray(part), values[index])
        assert sum(unpacked_codes) == part.size
        unpacked_codes.clear()


def test_as_a_sequence(rng):
    q = quantized(rng, "int4 groups of axis 1")
    assert len(q) == 6
    for row, values in zip(q, np.asarray(q), strict=True):
        same_bytes(np.asarray(row), values)
    for index, said in (
        (6, "out of bounds for axis 0"),
        ((0, 10), "out of bounds for axis 1"),
        (-7, "out of bounds for axis 0"),
        ("a", "^index: expected integers"),
        ((0, 0, 0, 0), "too many indices"),
    ):
        with pytest.raises(IndexError, match=said):
            q[index]


INDICES_OF_THREE = [  # axes
    ([0, 1],),
    (slice(None), [2, 0]),
    (np.array([True, False, True]),),
    (slice(3, 3),),
    (slice(None, None, -1),),
    (..., slice(None, None, -2)),
    (slice(None), [1, 1, 2]),
    (1, slice(None), 2),
    (None, slice(0, 1)),
    ([0, 2], [1, 1]),
]


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("index", INDICES_OF_THREE, ids=str)
def test_indexing_is_that_of_the_values(rng, axis, index):
    q = ql.quantize(rng.normal(size=(3, 4, 5)) * np.arange(1, 6), axis=axis)
    same_bytes(q[index].dequantize(), q.dequantize()[index])
    same_bytes(np.asarray(q[index]), q.dequantize()[index])


def test_a_shared_codebook_is_not_indexed(rng):
    q = ql.quantize(rng.normal(size=5), grid=[-1.0, -0.2, 0.1, 0.5, 1.0], axis=0)
    for index in (slice(None, None, -1), [4, 0], slice(0, 0), np.arange(5) > 2):
        same_bytes(np.asarray(q[index]), np.asarray(q)[index])
        same_bytes(q[index].codebook, q.codebook)


@pytest.mark.parametrize("scale_dtype", ["uint8", "fp8_e4m3"])
def test_one_scale_of_two_levels_at_any_rank(rng, scale_dtype):
    w = rng.normal(size=(4, 6))
    p = ql.choose_qparams(w, 4, scale_dtype=scale_dtype)
    q = ql.quantize(w, p)
    for index in (0, (1, 2), None, [[0, 1], [2, 3]]):
        same_bytes(np.asarray(q[index]), np.asarray(q)[index])
        assert q[index].qparams.scale_dtype == scale_dtype
    same_bytes(ql.quantize(w[0], p).codes, q.codes[0])


@pytest.mark.parametrize("options", [{"bits": 4}, {"bits": 3, "group_size": 2}, {"grid": "kmeans"}], ids=str)
@pytest.mark.parametrize("index", [1, -3, (1, 2), (slice(1, 3), 0, -1), (slice(0, 0), 0), (0, slice(None, None, -2))])
def test_rows_are_taken_before_the_rest(rng, options, index):
    q = ql.quantize(rng.normal(size=(3, 4, 5)), axis=0, **options)
    same_bytes(np.asarray(q[index]), np.asarray(q)[index])
    same_bytes(q[index].codes, q.codes[index])
    with pytest.raises(IndexError, match="out of bounds for axis 0"):
        q[3]


def test_nothing_to_iterate_over():
    with pytest.raises(TypeError, match="without dimensions"):
        list(ql.quantize(np.float32(3)))
    assert [row.shape for row in ql.quantize(W)] == [(5,)] * 6


# ---- copies and equality ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_equal(rng, kind):
    q = quantized(rng, kind)
    for twin in (q.copy(), copy.copy(q), copy.deepcopy(q), pickle.loads(pickle.dumps(q)), q[...]):
        assert (twin == q) is True and (twin != q) is False
        same_bytes(np.asarray(twin), np.asarray(q))
        assert (twin.nbytes, repr(twin), twin.axis, twin.group_size) == (q.nbytes, repr(q), q.axis, q.group_size)
    assert not np.shares_memory(q.copy().stored, q.stored)


@pytest.mark.parametrize("kind", KINDS)
def test_differences_are_seen(rng, kind):
    q = quantized(rng, kind)
    codes = q.codes.copy()
    codes[0, 0, 0] = q.qparams.qmax if codes[0, 0, 0] != q.qparams.qmax else q.qparams.qmin
    others = [ql.QArray(codes, q.qparams), q[:5], q[None], None]
    for other in others:
        assert (q == other) is False and (q != other) is True
    values = np.asarray(q)
    assert (q == values).all() and (values == q).all() and not (q != values).any()  # of an ndarray: value by value
    with pytest.raises(TypeError, match="unhashable"):
        hash(q)


def test_grids_with_nan_entries_are_equal():
    """Bit patterns of NaN are entries of a codebook, and NaN is not equal to itself."""
    one, other = (ql.quantize(np.float32([1, 2]), grid="fp8_e4m3") for _ in range(2))
    assert np.isnan(one.codebook).any() and one == other and one.qparams == other.qparams


def test_nothing_is_shared_with_what_came_in(rng):
    w, book, scale = rng.normal(size=20).astype(np.float32), np.float32([-1, 0, 1, 2]), np.float32([0.5])
    codes = np.array([1, -1], np.int8)
    made = [
        lambda: ql.quantize(w, grid=book),
        lambda: ql.quantize(w, grid=book, scale=scale),
        lambda: ql.quantize(w, 8, scale=scale),
        lambda: ql.QArray.from_codes(codes, scale),
        lambda: ql.QArray.from_codes(codes.astype(np.uint8) % 4, 1.0, grid=book),
        lambda: ql.QArray.from_stored(codes, (2,), ql.QParams(scale, 0)),
    ]
    for make in made:
        q = make()
        before = np.asarray(q).tobytes()
        for source in (book, scale, codes):
            kept = source.copy()
            source[...] = 0
            assert np.asarray(q).tobytes() == before
            source[...] = kept


# ---- from elsewhere ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_stored_codes_make_the_array_again(rng, kind):
    q = quantized(rng, kind)
    assert ql.QArray.from_stored(q.stored, q.shape, q.qparams) == q
    assert ql.QArray(q.codes, q.qparams) == q


@pytest.mark.parametrize("kind", ["int4", "uint5 axis 1", "nf4", "fp8_e4m3", "mxfp4", "codebook", "int6 float16"])
def test_codes_make_the_array_again(rng, kind):
    q = quantized(rng, kind)
    grid = q.codebook if q.qparams.grid == "codebook" else q.qparams.grid
    options = {"axis": q.axis, "group_size": q.group_size, "group_axis": q.qparams.group_axis}
    again = ql.QArray.from_codes(
        q.codes, q.scale, q.zero_point, bits=q.bits, grid=grid, scale_dtype=q.qparams.scale_dtype, **options
    )
    same_bytes(np.asarray(again), np.asarray(q))
    assert again.nbytes == q.nbytes and again.stored.tobytes() == q.stored.tobytes()


INT4 = ql.QParams(np.float32([1]), 0, 4)
NARROW = ql.QParams(np.float32([1]), 0, 4, narrow=True)
FIVE = ql.QParams(np.float32([1]), 0, 3, False, codebook=np.float32([-2, -1, 0, 1, 2]), grid="codebook")
PACKED = np.array([[0x87, 0x01]], np.uint8)
BAD_STORED = [
    (TypeError, "stored", lambda: ql.QArray.from_stored(PACKED.astype(np.int8), (3,), INT4)),
    (ValueError, "stored", lambda: ql.QArray.from_stored(PACKED, (5,), INT4)),
    (ValueError, "stored", lambda: ql.QArray.from_stored(PACKED[0], (3,), INT4)),
    (ValueError, "stored", lambda: ql.QArray.from_stored(PACKED, (3,), NARROW)),
    (ValueError, "stored", lambda: ql.QArray.from_stored(np.array([[0x07]], np.uint8), (2,), FIVE)),
    (TypeError, "shape", lambda: ql.QArray.from_stored(PACKED, (3.0,), INT4)),
    (ValueError, "shape", lambda: ql.QArray.from_stored(PACKED, (-3,), INT4)),
    (TypeError, "shape", lambda: ql.QArray.from_stored(PACKED, 3, INT4)),
    (TypeError, "qparams", lambda: ql.QArray.from_stored(PACKED, (3,), None)),
    (ValueError, "codes", lambda: ql.QArray.from_codes(np.array([8], np.int8), 1.0, bits=4)),
    (ValueError, "codes", lambda: ql.QArray.from_codes(np.array([16], np.uint8), 1.0, bits=4)),
    (ValueError, "codes", lambda: ql.QArray.from_codes(np.array([5], np.uint8), 1.0, grid=[-2, -1, 0, 1, 2])),
    (ValueError, "codes", lambda: ql.QArray(np.array([-8], np.int8), NARROW)),
    (ValueError, "codes", lambda: ql.QArray(np.array([5], np.uint8), FIVE)),
    (TypeError, "codes", lambda: ql.QArray.from_codes(np.array([1], np.int8), 1.0, bits=12)),
    (TypeError, "codes", lambda: ql.QArray.from_codes(np.array([1], np.int8), 1.0, grid="nf4")),
    (TypeError, "codes", lambda: ql.QArray.from_codes(np.array([1], np.int32), 1.0)),
    (ValueError, "grid", lambda: ql.QArray.from_codes(np.array([1], np.uint8), 1.0, grid="kmeans")),
    (ValueError, "scale_dtype", lambda: ql.QArray.from_codes(np.array([1], np.int8), 1.0, scale_dtype="uint8")),
    (ValueError, "scale", lambda: ql.QArray.from_codes(np.array([1], np.int8), 0.1, scale_dtype="float16")),
    (ValueError, "scale", lambda: ql.QArray.from_codes(np.array([1], np.uint8), 3.0, grid="mxfp4")),
    (ValueError, "group_size", lambda: ql.QArray.from_codes(np.array([1], np.uint8), 1.0, grid="mxfp4", group_size=16)),
    (ValueError, "scale", lambda: ql.QArray.from_codes(np.ones((4, 6), np.int8), np.ones((4, 3)), group_size=3)),
]


def test_codes_with_a_grid_are_told_the_constructor():
    p = ql.QParams.from_range(-6, 6, symmetric=False)
    assert p == ql.QParams.from_range(-6.0, 6.0, symmetric=False)
    assert ql.QParams.from_range(np.int64([-1, 0]), [1, 2], symmetric=True, axis=0).scale.shape == (2,)
    with pytest.raises(TypeError, match=r"^low: "):
        ql.QParams.from_range(False, True, symmetric=False)
    with pytest.raises(TypeError, match=r"^scale: .* use QArray\(codes, qparams\)"):
        ql.QArray.from_codes(np.zeros(3, np.uint8), p)


@pytest.mark.parametrize("error, name, call", BAD_STORED)
def test_codes_that_do_not_fit(error, name, call):
    with pytest.raises(error, match=rf"^{name}: expected .*got "):
        call()


def test_stored_codes_of_another_rank():
    q = ql.quantize(W, 4, axis=0)
    with pytest.raises(ValueError, match=r"^scale: "):
        ql.QArray.from_stored(q.stored, (), q.qparams)


# ---- indices, axes and shapes -----------------------------------------------------------------------

DIVISIONS = {
    "one": {},
    "axis": {"axis": 0},
    "groups": {"group_size": 8},
    "uneven groups": {"group_size": 5},
    "groups of an axis": {"axis": 1, "group_size": 8},
    "groups across": {"group_size": 3, "group_axis": 0},
    "two levels": {"group_size": 8, "scale_dtype": "uint8"},
    "two levels of an axis": {"axis": 0, "group_size": 8, "scale_dtype": "fp8_e4m3"},
    "codebooks": {"grid": "kmeans", "axis": 2},
    "codebooks of groups": {"grid": "kmeans", "group_size": 8},
    "blocks": {"grid": "mxfp4"},
    "zero points": {"axis": 2, "symmetric": False},
}


@pytest.fixture
def images(rng):
    return rng.normal(size=(6, 4, 24)).astype(np.float32)


@pytest.mark.parametrize("division", DIVISIONS)
def test_case_g_every_index_keeps_the_values(images, division):
    q = ql.quantize(images, 4, **DIVISIONS[division])
    values = q.dequantize()
    indices = [
        np.s_[:, 1:3],
        np.s_[0],
        np.s_[:, :, 8:16],
        np.s_[:, :, 4:20],
        np.s_[:, :, 1:],
        np.s_[..., 3],
        np.s_[[0, 2]],
        np.s_[:, [0, 0]],
        np.s_[:, :, [1, 9, 17]],
        np.s_[[0, 1], [0, 1]],
        np.s_[:, None],
        np.s_[::-1],
        np.s_[:, :, ::-1],
        np.s_[0:0],
        np.s_[:, :, 0:0],
        np.s_[0, 0, 0],
        images > 0,
    ]
    for index in indices:
        same_bytes(q[index].dequantize(), values[index])


@pytest.mark.parametrize(
    "index",
    [np.s_[:, 1:3], np.s_[0], np.s_[2, 1:], np.s_[:, :, 8:16], np.s_[:, :, :8], np.s_[::2, ::-1], np.s_[[0, 3]]],
    ids=str,
)
def test_case_g_slices_keep_their_groups(images, index):
    q = ql.quantize(images, 4, group_size=8)
    assert q[index] == ql.quantize(images[index], 4, group_size=8)


def test_case_g_slices_through_groups_make_smaller_ones(images):
    for options in ({}, {"scale_dtype": "uint8"}, {"scale_dtype": "float16"}):
        q = ql.quantize(images, 4, group_size=8, **options)
        assert (q[:, :, 4:20].group_size, q[:, :, 4:20].scale.shape) == (4, (6, 4, 4))
        assert (q[:, :, 6:].group_size, q[:, :, 6:].scale.shape) == (2, (6, 4, 9))
        assert (q[:, :, 3:].group_size, q[:, :, 3:].scale.shape) == (None, (6, 4, 21))
        assert q[:, :, 4:20].qparams.scale_dtype == q.qparams.scale_dtype


def test_case_m_groups_under_one_scale():
    """A scale of length 1 along the axis that is cut is shared by all groups."""
    q = ql.quantize(np.ones((8, 70)), scale=1.0, group_size=8)
    assert q[0:1].shape == (1, 70) and q[:, 3:9].dequantize().all()
    same_bytes(np.ones((2, 8), np.float32) @ q, np.full((2, 70), 8, np.float32))
    same_bytes(ql.linear(np.ones((2, 8)), q), np.full((2, 70), 8, np.float32))
    same_bytes(ql.linear(np.ones((2, 8)), ql.pack(q)), np.full((2, 70), 8, np.float32))
    with pytest.raises(ValueError, match=r"^b: "):
        ql.matmul_integer(np.ones((2, 8), np.int8), q)
    codes = ql.QArray.from_codes(np.ones((8, 70), np.int8), 1.0, group_size=8)
    assert codes[0:1].dequantize().all() and codes.T[3:4].dequantize().all()


def test_case_m_codes_that_repeat_are_held_once(rng):
    q = ql.QArray(np.broadcast_to(np.uint8(1), (3, 4)), ql.QParams(np.float32([1]), 0, signed=False))
    assert q.stored.strides == (4, 1) and q.nbytes == 16


@pytest.mark.parametrize("division", DIVISIONS)
def test_case_o_axes_in_another_order(images, division):
    q = ql.quantize(images, 4, **DIVISIONS[division])
    values = q.dequantize()
    same_bytes(q.T.dequantize(), values.T)
    for order in itertools.permutations(range(3)):
        moved = q.transpose(order)
        same_bytes(moved.dequantize(), values.transpose(order))
        assert moved.transpose(*np.argsort(order)) == q
        assert moved.nbytes == q.nbytes or q.axis is not None  # each row is padded to a byte


def test_case_o_weights_out_in_become_in_out(images):
    w = images[0]
    assert ql.quantize(w.T, axis=1) == ql.quantize(w, axis=0).T
    q = ql.quantize(w, 4, axis=0, group_size=8)
    assert ql.quantize(w.T, 4, axis=1, group_size=8) == q.T
    same_bytes(ql.linear(np.ones((1, 24)), q.T), ql.linear(np.ones((1, 24)), ql.quantize(w.T, 4, axis=1, group_size=8)))


@pytest.mark.parametrize("axes", [(0, 0, 1), (0, 1), (0, 1, 3), (0, 1, 2, 3)])
def test_case_o_axes_that_are_no_order(images, axes):
    with pytest.raises(ValueError, match=r"^axes: "):
        ql.quantize(images).transpose(*axes)


@pytest.mark.parametrize("division", DIVISIONS)
def test_case_o_shapes(images, division):
    """What is possible has the same values; what would take values apart that share a scale is refused."""
    q = ql.quantize(images, 4, **DIVISIONS[division])
    possible = 0
    for shape in ((24, 24), (6, 96), (-1,), (6, 2, 2, 24), (1, 6, 4, 24), (3, 2, 4, 24), (6, 4, 3, 8), (4, 6, 24)):
        try:
            new = q.reshape(shape)
        except ValueError as error:
            assert str(error).startswith("shape: expected one that takes no values apart that share a scale")
            continue
        same_bytes(new.dequantize(), q.dequantize().reshape(shape))
        assert new.scale.size == q.scale.size
        possible += 1
    assert possible >= 3
    with pytest.raises(ValueError, match=r"^shape: "):
        q.reshape(7, -1)


def test_case_o_images_become_rows(images):
    assert ql.quantize(images, 4, group_size=8).reshape(24, -1) == ql.quantize(images.reshape(24, 24), 4, group_size=8)
    assert ql.quantize(images, axis=2).reshape(-1, 24) == ql.quantize(images.reshape(24, 24), axis=1)
    assert ql.quantize(images).reshape(6, 96) == ql.quantize(images.reshape(6, 96))


def test_case_i_numpy_works_on_the_values(images):
    q = ql.quantize(images, 4, axis=2)
    values = np.asarray(q)
    for function in (
        lambda v: images - v,
        lambda v: v - images,
        lambda v: -v * 2 + v**2,
        lambda v: v > images,
        np.abs,
        np.max,
        np.sum,
        np.mean,
        np.add.reduce,
        lambda v: np.multiply.outer(v[0, 0], v[0, 0]),
        lambda v: np.concatenate([v, images]),
        lambda v: np.linalg.norm(v[0, 0]),
        lambda v: np.where(v > 0, v, np.float32(0)),
        lambda v: np.subtract(images, v, out=images.copy()),
    ):
        got = function(q)
        assert not isinstance(got, ql.QArray)
        same_bytes(np.asarray(got), np.asarray(function(values)))


def test_case_i_products_stay_products_of_codes(rng):
    q, x = ql.quantize(rng.normal(size=(64, 5)), axis=1), rng.normal(size=(3, 64)).astype(np.float32)
    same_bytes(np.matmul(x, q), x @ q)
    assert (x @ q != x @ np.asarray(q)).any()  # the scale comes after the sum
    for product in (lambda: q @ x, lambda: np.matmul(q, x), lambda: np.matmul(q, q)):
        with pytest.raises(TypeError, match=r"^q @ x: expected the quantized weights on the right"):
            product()


def test_case_i_numpy_does_not_write_to_an_array(rng):
    q, values = ql.quantize(rng.normal(size=5)), rng.normal(size=5)
    with pytest.raises(TypeError, match=r"^out: expected an ndarray, got a QArray"):
        q += 1
    with pytest.raises(TypeError, match=r"^out: expected an ndarray, got a QArray"):
        np.add(values, values, out=q)
    with pytest.raises(TypeError, match=r"^out: expected an ndarray, got a QArray"):
        np.add.at(q, 0, 1)


def test_case_i_dlpack_gives_the_values(rng):
    q = ql.quantize(rng.normal(size=(4, 6)), 4, axis=0)
    same_bytes(np.from_dlpack(q), np.asarray(q))
    same_bytes(np.from_dlpack(q, copy=True), np.asarray(q))
    with pytest.raises(BufferError, match=r"^copy: "):
        np.from_dlpack(q, copy=False)


def test_indices_of_other_kinds(rng):
    q = ql.quantize(rng.normal(size=(4, 6)), axis=0)
    for index in (1.5, [0.5], "a", {1: 2}, ([0, 1], "b")):
        with pytest.raises((TypeError, IndexError), match=r"^index: expected "):
            q[index]
    assert q[[]].shape == (0, 6)
    assert q[..., np.newaxis][:, [2, 0]] == q[:, [2, 0]][..., None]
