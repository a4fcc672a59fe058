"""What `load` opens, and what it says of everything else."""

import gzip
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

import qlite as ql
from qlite.io.idx import read_idx
from qlite.io.mnist import load_mnist

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs pipes and devices")


def saved(write, *arguments, **options):
    """The bytes that a writer of files gives."""
    file = io.BytesIO()
    write(file, *arguments, **options)
    return file.getvalue()


def zipped(member):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, b"content")
    return file.getvalue()


FOREIGN = {
    "array of NumPy": saved(np.save, np.ones(3)),
    "archive of NumPy": saved(np.savez, w=np.ones(3)),
    "archive of NumPy ": saved(np.savez_compressed, w=np.ones(3)),
    "file of PyTorch": zipped("model/data.pkl"),
    "ZIP archive": zipped("metadata.json"),
    "pickle": pickle.dumps([1, 2]),
    "gzipped file": gzip.compress(b"something"),
    "GGUF file": b"GGUF\3\0\0\0" + bytes(16),
    "HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(16),
    "TensorFlow Lite model": b"\x1c\0\0\0TFL3" + bytes(16),
    "ONNX model": b"\x08\x0a\x12\x07pytorch" + bytes(16),
    "JSON text": b'{"version": 1, "tensors": {}}',
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_case_i_files_of_other_formats_are_named(tmp_path, kind):
    for content in (FOREIGN[kind], FOREIGN[kind] + bytes(5000)):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ValueError, match=f"file: not a usable qlite file: it is an? {kind.strip()}"):
            ql.load(tmp_path / "file")
        with pytest.raises(ValueError, match=f"\n  shard file: it is an? {kind.strip()}"):
            ql.quantize_checkpoint(tmp_path / "file", tmp_path / "dst")


def test_case_i_safetensors_of_others_are_named(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3)}, tmp_path / "file")
    with pytest.raises(ValueError, match=r"a safetensors file without a qlite description: .*quantize_checkpoint"):
        ql.load(tmp_path / "file")


@pytest.mark.parametrize("value", [1, None, 2.5, [], b"", "", "a\0b", np.ones(3)], ids=str)
def test_case_o_paths_that_are_none(value):
    q = ql.quantize(np.ones(3))
    model = ql.quantize_model(ql.from_weights([(np.eye(3), None)]), "w8")
    for function in (ql.load, ql.Checkpoint, q.save, model.save, read_idx, load_mnist):
        with pytest.raises((TypeError, ValueError), match=r"^path: expected a path.* got "):
            function(value)


def test_case_h_an_open_file_is_no_path(tmp_path):
    ql.quantize(np.ones(3)).save(tmp_path / "q")
    with open(tmp_path / "q", "rb") as file, pytest.raises(TypeError, match=r"^path: .*BufferedReader: give its name"):
        ql.load(file)


def test_paths_of_all_kinds(tmp_path):
    q = ql.quantize(np.ones(3))
    for path in (tmp_path / "q", str(tmp_path / "q"), os.fsencode(tmp_path / "q")):
        q.save(path)
        assert ql.load(path) == q


@POSIX
def test_case_l_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), ("/dev/zero", "a device"), ("/dev/null", "a device")):
        for read in (ql.load, read_idx):
            with pytest.raises(OSError, match=f"expected a regular file, got {kind}: {path}"):
                read(path)
    os.mkfifo(tmp_path / "qlite.index.json")
    with pytest.raises(OSError, match="got a pipe"):
        ql.load(tmp_path)


@POSIX
def test_case_l_a_pipe_among_the_files_of_a_checkpoint(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.eye(4, 64)}, tmp_path / "model.safetensors")
    ql.quantize_checkpoint(tmp_path, tmp_path / "dst")
    loaded = ql.load(tmp_path / "dst")
    (tmp_path / "dst" / "w.qlite").unlink()
    os.mkfifo(tmp_path / "dst" / "w.qlite")
    with pytest.raises(OSError, match="got a pipe"):
        loaded["w"]


def test_case_l_a_single_path_that_is_a_link_is_followed(tmp_path):
    q, link = ql.quantize(np.ones(3)), tmp_path / "link"
    try:
        link.symlink_to(tmp_path / "file")
    except OSError:
        pytest.skip("needs symbolic links")
    for _ in range(2):
        q.save(link)
        assert link.is_symlink() and ql.load(link) == ql.load(tmp_path / "file") == q
