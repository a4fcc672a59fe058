"""What every file of qlite's own has in common: how it replaces another."""

import os
import stat

import numpy as np
import pytest
from samples import same_bytes

import qlite as ql

W = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


@pytest.mark.parametrize(
    "classes",
    [["no", "yes!", "?yes"], np.array(["a", "b", "c"], "U9"), np.array([1, 2, 3], np.int16), np.float16([0, 0.1, 0.3])],
    ids=str,
)
def test_labels_keep_their_dtype(tmp_path, classes):
    m = ql.quantize_model(ql.Sequential([ql.Dense(W[:, :3])], classes=np.sort(classes)), "w8")
    m.save(tmp_path / "m")
    same_bytes(ql.load(tmp_path / "m").classes, m.classes)


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_saving_over_a_link_keeps_it_and_the_mode(tmp_path):
    m = ql.quantize_model(ql.Sequential([ql.Dense(W)]), "w8")
    m.save(tmp_path / "file")
    os.chmod(tmp_path / "file", 0o640)
    os.symlink("file", tmp_path / "link")
    m.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o640
    assert ql.load(tmp_path / "link").nbytes == m.nbytes
