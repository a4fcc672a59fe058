"""Files that are read: regular ones alone, and what a file of another format is.

A pipe gives its bytes once and never says how many there are, a device may give them without end, and opening either
may wait for ever. Only the size of a regular file can bound what is read and allocated.
"""

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
#: Bytes at the start of files of other formats.
_MAGICS = {
    b"\x93NUMPY": "an array of NumPy (.npy), which numpy.load opens and qlite.quantize takes",
    b"GGUF": "a GGUF file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, such as .h5 of Keras",
    b"\x1f\x8b": "a gzipped file",
    b"\x80\x02": "a pickle, such as old .pt files of PyTorch",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle, such as .joblib of scikit-learn",
    b"\x80\x05": "a pickle, such as .joblib of scikit-learn",
    b"{": "a JSON text",
}
_LOCAL_HEADER, _LOCAL_HEADER_BYTES = b"PK\x03\x04", 30  # of a member of a ZIP archive; its name follows
_ONNX_VERSIONS = range(1, 32)
_ONNX_FIELDS = (0x12, 0x3A, 0x42)  # tags of the producer, the graph and the operator sets


def open_regular(path: Path, follow_links: bool = True) -> BufferedReader:
    """Open a file to read; OSError for a folder, pipe, socket or device, or a symbolic link that shall not be followed.

    Never waits: a pipe that nobody writes to is refused like any other.
    """
    if not follow_links and path.is_symlink():
        target = os.readlink(path)
        raise OSError(f"expected a regular file, got a symbolic link to {target} (follow_links=True reads it): {path}")
    if path.exists() and not path.is_file():  # opening a device may have effects
        error = IsADirectoryError if path.is_dir() else OSError
        raise error(f"expected a regular file, got {kind(path)}: {path}")
    return open(path, "rb", opener=_open_at_once)


def _open_at_once(path: Any, flags: int) -> int:
    """Open without waiting; what has become another kind of file since it was looked at is refused here."""
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(f"expected a regular file, got another kind of file: {path}")
    return number


def kind(path: Path) -> str:
    """What stands at a path that is no regular file, in words."""
    return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "another kind of file")


def read_regular(path: Path, follow_links: bool = True) -> bytes:
    """The content of a regular file."""
    with open_regular(path, follow_links) as file:
        return file.read()


def format_of(head: bytes) -> str | None:
    """Name of the other format that a file with this start has; None if it is not known."""
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model, which qlite.from_tflite reads"
    if head.startswith(_LOCAL_HEADER):
        length = int.from_bytes(head[26:28], "little")
        member = head[_LOCAL_HEADER_BYTES : _LOCAL_HEADER_BYTES + length]
        if member.endswith(b".npy"):
            return "an archive of NumPy (.npz), which numpy.load opens"
        if member.endswith(b"/data.pkl"):
            return "a file of PyTorch (.pt), which torch.load opens"
        return "a ZIP archive"
    if len(head) > 2 and head[0] == 8 and head[1] in _ONNX_VERSIONS and head[2] in _ONNX_FIELDS:
        return "an ONNX model"
    return next((name for magic, name in _MAGICS.items() if head.startswith(magic)), None)
