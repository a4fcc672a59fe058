"""What every file of qlite's own has in common: how it replaces another."""

import os
import stat

import numpy as np
import pytest
from models import extra
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


def test_a_file_that_was_cut_off_is_told_with_both_sizes(tmp_path):
    path = tmp_path / "m.qlite"
    for thing in (ql.quantize(W), ql.Sequential([ql.Dense(W)]), ql.quantize_model(ql.Sequential([ql.Dense(W)]), "w8")):
        thing.save(path)
        content = path.read_bytes()
        for missing in (1, 10):
            path.write_bytes(content[:-missing])
            sizes = (
                f"expected {len(content):,} bytes, as its header says, got {len(content) - missing:,}: it was cut off"
            )
            with pytest.raises(ValueError, match=f"m.qlite: .*{sizes}"):
                ql.load(path)


def test_a_shard_that_was_cut_off_is_told_with_both_sizes(tmp_path):
    extra("safetensors.numpy").save_file({"w": W}, tmp_path / "s.safetensors")
    content = (tmp_path / "s.safetensors").read_bytes()
    (tmp_path / "s.safetensors").write_bytes(content[:-3])
    sizes = f"expected {len(content):,} bytes, as its header says, got {len(content) - 3:,}: it was cut off"
    with pytest.raises(ValueError, match=rf"src: .*\n  shard s.safetensors: {sizes}"):
        ql.quantize_checkpoint(tmp_path / "s.safetensors", tmp_path / "dst")
