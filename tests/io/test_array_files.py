"""Files of quantized arrays: what is written comes back, in the bytes that `nbytes` promises; what is damaged or makes
no sense is refused by name."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from models import extra
from qarrays import KINDS, quantized
from samples import same_bytes

import qlite as ql
from qlite.io import container
from qlite.io.array_file import save_arrays

SMALL = {
    "two levels": {"bits": 3, "axis": 0, "group_size": 2, "symmetric": False, "scale_dtype": "uint8"},
    "e8m0": {"grid": "mxfp4"},
    "kmeans": {"grid": "kmeans", "bits": 2, "axis": 1},
}
# What a description may not say, by field: of a 4-bit array (3, 5) with zero points in groups of 2 along axis 1.
NONSENSE = {
    "shape": [[3, 4], [5, 3], [3], [3, 5, 1], [3, -5], [3, 5.0], [True, 5], None, [2**62, 2**62], [3, 2**40], ["3", 5]],
    "bits": [3, 5, 8, 0, 17, 4.0, True, None, "4", 10**30],
    "signed": [1, None, "yes"],
    "narrow": [1, None, "false"],
    "axis": [2, -3, 1.0, False, "0", 10**30],
    "group_size": [0, -2, 1, 3, 6, None, 2.0, True, 10**30],
    "group_axis": [2, -3, "1", True],
    "grid": ["nf4", "uniformly", "codebook", "kmeans", "mxfp4", 5, None, ["uniform"]],
    "scale_dtype": ["float16", "e8m0", "uint8", "fp8_e4m3", "float64", None, 32],
    "scale_shape": [[3, 2], [9], [3, 3, 1], [1, 9], None, [3, -3], [2**40, 2**40]],
}


def small(kind):
    return ql.quantize(np.linspace(-1, 2, 15).reshape(3, 5), **SMALL[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_come_back(rng, tmp_path, kind):
    q = quantized(rng, kind)
    q.save(tmp_path / "array")
    back = ql.load(tmp_path / "array")
    assert back == q and repr(back) == repr(q)
    same_bytes(np.asarray(back), np.asarray(q))
    assert not back.codes.flags.writeable
    tensors = extra("safetensors.numpy").load_file(tmp_path / "array")
    assert sum(tensor.nbytes for tensor in tensors.values()) - q.nbytes in (0, 3)  # rows of zero points are padded


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (1, 1, 1, 1), (2,) * 10])
@pytest.mark.parametrize("bits", [3, 8, 12])
def test_any_shape_comes_back(tmp_path, shape, bits):
    q = ql.quantize(np.ones(shape, np.float32), bits, scale=0.5)
    q.save(tmp_path / "array")
    assert ql.load(tmp_path / "array") == q


def test_extreme_scales_come_back(tmp_path):
    tiny, huge = np.finfo(np.float32).smallest_normal, np.finfo(np.float32).max
    for dtype, scales in {
        "float32": [tiny, huge, 0.1],
        "float16": [2.0**-24, 65504, 2.0**-14],
        "e8m0": [tiny, 2.0**127, 1],
    }.items():
        q = ql.QArray.from_codes(np.eye(3, dtype=np.int8), scales, axis=0, scale_dtype=dtype)
        q.save(tmp_path / "array")
        assert ql.load(tmp_path / "array") == q


def test_many_arrays_in_a_file(rng, tmp_path):
    arrays = {kind: quantized(rng, kind) for kind in KINDS}
    arrays |= {"plain": rng.normal(size=3), "no axes": np.float32(2.0), "empty": np.zeros((0, 3), np.int64)}
    save_arrays(tmp_path / "many", arrays)
    back = ql.load(tmp_path / "many")
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        if isinstance(array, ql.QArray):
            assert back[name] == array
        else:
            same_bytes(back[name], np.asarray(array))
    with pytest.raises(ValueError, match=r"^arrays: expected names that differ.*int8\.codes"):
        save_arrays(tmp_path / "many", {"int8": arrays["int8"], "int8.codes": arrays["plain"]})
    assert set(ql.load(tmp_path / "many")) == set(arrays)


# ---- damage -----------------------------------------------------------------------------------------


def refused(path, content):
    """Whether loading these bytes is an error that names the file."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a usable qlite file") as caught:
        ql.load(path)
    assert str(path) in str(caught.value)


def test_every_byte_counts(tmp_path):
    path = tmp_path / "array"
    small("two levels").save(path)
    whole = path.read_bytes()
    for i in range(len(whole)):
        changed = bytearray(whole)
        changed[i] ^= 1 << i % 8
        refused(path, changed)


@pytest.mark.parametrize("kind", SMALL)
def test_files_cut_short(tmp_path, kind):
    path = tmp_path / "array"
    small(kind).save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 29):
        refused(path, whole[:length])
    refused(path, whole + b"\0")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ql.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"^path: expected a name in a folder that exists"):
        small("e8m0").save(tmp_path / "no" / "folder")


# ---- descriptions that make no sense, under a digest that is right ----------------------------------


def described(tmp_path):
    """The path, the description and the tensors of a file."""
    path = tmp_path / "array"
    w = np.linspace(-1, 2, 15).reshape(3, 5)
    ql.quantize(w, 4, group_size=2, symmetric=False).save(path)
    text, tensors = container.read(path)
    return path, json.loads(text), tensors


def refuses(path, description, tensors):
    container.write(path, json.dumps(description), tensors)
    refused(path, path.read_bytes())


@pytest.mark.parametrize("field", NONSENSE)
def test_nonsense_in_a_field(tmp_path, field):
    path, description, tensors = described(tmp_path)
    for value in NONSENSE[field]:
        changed = json.loads(json.dumps(description))
        assert field in changed["arrays"]["array"]
        changed["arrays"]["array"][field] = value
        refuses(path, changed, tensors)
    del description["arrays"]["array"][field]
    refuses(path, description, tensors)


def test_descriptions_of_something_else(tmp_path):
    path, description, tensors = described(tmp_path)
    array = description["arrays"]["array"]
    for changed in (
        {**description, "version": 2},
        {**description, "version": None},
        {**description, "alone": 1},
        {**description, "more": 1},
        {**description, "arrays": [array]},
        {**description, "arrays": {"array": None}},
        {**description, "arrays": {"other": array}},
        {**description, "arrays": {"array": {**array, "more": 1}}},
        {**description, "arrays": {"array": {**array, "scale": array}}},
        {**description, "arrays": {}},
        {"arrays": description["arrays"]},
        [description],
        "array",
    ):
        refuses(path, changed, tensors)


def test_tensors_that_do_not_fit(tmp_path):
    path, description, tensors = described(tmp_path)
    codes, scale, zero_point = (tensors[f"array.{part}"] for part in ("codes", "scale", "zero_point"))
    for name, values in {
        "codes": [codes.view(np.int8), codes[:2], codes[:, :2], codes.ravel(), codes.astype(np.float32)],
        "scale": [
            scale[:2],
            scale.ravel(),
            scale.astype(np.float64),
            scale * 0,
            -scale,
            scale * np.nan,
            scale * np.inf,
        ],
        "zero_point": [zero_point[:, :2], zero_point.astype(np.float32), zero_point[0], zero_point.view(np.int8)],
    }.items():
        for value in values:
            refuses(path, description, {**tensors, f"array.{name}": value})
        if name != "zero_point":  # which a file may lack
            refuses(path, description, {k: v for k, v in tensors.items() if k != f"array.{name}"})
    refuses(path, description, {**tensors, "array.codebook": np.arange(16, dtype=np.float32)})
    refuses(path, description, {**tensors, "stranger": scale})


@pytest.mark.parametrize("book", [np.float32([0, np.nan]), np.zeros((1, 9, 4)), np.zeros((2, 5, 4), np.float32)])
def test_codebooks_that_do_not_fit(tmp_path, book):
    path = tmp_path / "array"
    small("kmeans").save(path)
    text, tensors = container.read(path)
    refuses(path, json.loads(text), {**tensors, "array.codebook": book})


# SHA-256 of the values and codes of each array, as the qlite that wrote the file had them.
OLD_ARRAYS = {
    "two levels": "33c3f6685dde59f7e60cbba283d5299baf562af17ecdfbaa163c1a90a2deac39",
    "nvfp4": "3c7c77a8c626234a36ba6319f4e0875751c84df74d51f2e273b95db2ec552040",
    "asymmetric": "f36fd1ccca00ba93e66e591e9d5912ff7b5799e3a996f21269812dbcc50ff9a1",
    "mxfp4": "344943e17c31661b0abc2203a989bf9c6c1aeb361d99b55e972fc806b6c9bab1",
    "kmeans": "65522d35e2746985cbe4f9da5fd24e6ee0de5cf47fcf6a527de36efc5b713f05",
    "float16": "8e5af4c58b514210e6b41c47c78a6c38eaedb26b7a8b246967e4dcedd75f506c",
}


def test_an_old_file(tmp_path):
    """Its description says more of scales of two levels than today's; the arrays are the same to the bit."""
    arrays = ql.load(Path(__file__).parent / "version_1" / "arrays.qlite")
    assert set(arrays) == set(OLD_ARRAYS)
    save_arrays(tmp_path / "new.qlite", arrays)
    for loaded in (arrays, ql.load(tmp_path / "new.qlite")):
        for name, q in loaded.items():
            assert hashlib.sha256(q.dequantize().tobytes() + q.codes.tobytes()).hexdigest() == OLD_ARRAYS[name]


# ---- sizes that a description declares ---------------------------------------------------------------


@pytest.mark.parametrize("shape", [[8, 150_000_000], [1 << 40, 1], [8, 0], [1, 1], [8], [1 << 47] * 60])
def test_case_l_scales_that_are_not_in_the_file(tmp_path, shape):
    path = tmp_path / "array"
    ql.quantize(np.eye(8), 3, grid="kmeans", axis=0).save(path)
    text, tensors = container.read(path)
    description = json.loads(text)
    description["arrays"]["array"]["scale_shape"] = shape
    refuses(path, description, tensors)
    with pytest.raises(ValueError, match=r"scale"):
        ql.load(path)


def test_case_l_scales_of_1_that_share_a_codebook_come_back(tmp_path):
    p = ql.QParams(np.ones((8, 1), np.float32), 0, 1, False, codebook=np.float32([-1, 1]), grid="kmeans")
    q = ql.QArray(np.ones((8, 3), np.uint8), p)
    q.save(tmp_path / "array")
    assert ql.load(tmp_path / "array") == q


def test_case_l_a_description_that_could_not_be_read_is_not_written(tmp_path):
    arrays = {"x" * (container.MAX_HEADER // 2): np.ones(3), "y" * (container.MAX_HEADER // 2): np.ones(3)}
    with pytest.raises(ValueError, match="expected a description of at most"):
        save_arrays(tmp_path / "array", arrays)
    assert not list(tmp_path.iterdir())
