"""Scales and zero points as they are given: which axis they belong to, and what is no grid."""

import numpy as np
import pytest

import qlite as ql


def test_the_axis_is_that_of_the_scales():
    assert ql.QParams(np.ones((1, 3), np.float32), 0).axis == 1
    assert ql.QParams(np.ones((1, 1), np.float32), 0).axis is None
    for axis, shape in ((0, (1, 3)), (0, (2, 3)), (2, (1, 3))):
        with pytest.raises(ValueError, match=r"^(axis|scale): "):
            ql.QParams(np.ones(shape, np.float32), 0, axis=axis)
    with pytest.raises(TypeError, match=r"^axis: "):
        ql.QParams(np.ones((1, 3), np.float32), 0, axis=1.0)


def test_groups_are_plain_integers(tmp_path):
    p = ql.QParams(np.ones((1, 2), np.float32), 0, group_size=np.int64(16), group_axis=np.int32(1))
    assert (type(p.group_size), type(p.group_axis)) == (int, int)
    q = ql.QArray(np.ones((1, 32), np.int8), p)
    q.save(tmp_path / "array")
    assert ql.load(tmp_path / "array") == q


@pytest.mark.parametrize("low, high", [(1.0, -1.0), (np.nan, 1.0), (0.0, np.inf), (0.0, 1e300)])
def test_ranges_that_are_none(low, high):
    with pytest.raises(ValueError, match=r"^(low|high): "):
        ql.QParams.from_range(low, high, symmetric=False)


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 6, "grid": "apot", "codebook": [-1.0, 1.0]},
        {"bits": 5, "grid": "nf4", "codebook": np.arange(16.0)},
        {"bits": 4, "grid": "mxint8"},
        {"bits": 16, "grid": "kmeans", "codebook": [-1.0, 1.0]},
        {"codebook": [3.0, 1.0, 2.0]},
        {"codebook": [1.0, 1.0]},
        {"codebook": [1.0, np.nan]},
        {"codebook": [1.0, 1e300]},
        {"codebook": "abc"},
        {"codebook": [1j, 2.0]},
    ],
    ids=str,
)
def test_grids_that_there_are_not(options):
    options = {"bits": 2, "grid": "codebook"} | options
    name = "codebook" if options["grid"] == "codebook" else "bits"
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: "):
        ql.QParams(1.0, 0, signed=options["grid"] == "mxint8", **options)


def test_scale_codes_are_an_array():
    with pytest.raises(TypeError, match=r"^scale_codes: "):
        ql.QParams(1.0, 0, scale_dtype="uint8", scale_codes=5)
