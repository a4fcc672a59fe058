"""IDX files, the format of MNIST and the data sets that follow it.

    00 00 | type code | number of dimensions | each dimension, uint32 | the data      all of it big-endian

The header says how many bytes must follow. This is compared with the file before memory is taken, and no more is read,
so a damaged file takes no more memory than its own size. Deflate turns a byte into at most 1032, which bounds the data
of a gzipped file before it is inflated; memory then grows with what comes out.
"""

import gzip
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np

from qlite import _check
from qlite.io.regular_file import open_regular

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_MAX_RATIO = 1032
_MAX_NDIM = 64  # what NumPy can hold
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an array from an IDX file, gzipped or not; its first bytes tell.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    ndarray
        In the shape that the file declares, native byte order: uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    ValueError
        The file is no IDX file, is damaged, or holds fewer or more bytes than its header says.
    TypeError
        `path` is no path.
    OSError
        The file cannot be read, or is no regular file.

    References
    ----------
    Y. LeCun, C. Cortes, C. Burges, *The MNIST database of handwritten digits*, section "the IDX file format".

    Examples
    --------
    >>> import os, tempfile
    >>> from qlite.io.idx import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    name = _check.path("path", path)
    path = os.fspath(name)
    with open_regular(name) as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        if not zipped:
            return _read(path, file, size)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(path, stream, size * _GZIP_MAX_RATIO)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected intact gzip data, got: {error}") from error


def load_mnist(folder: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load MNIST, or a data set in its format, from the four files that it consists of.

    They are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
    ``t10k-labels-idx1-ubyte``; ``.idx`` for ``-idx`` is as good, and so is ``.gz`` at the end.

    Parameters
    ----------
    folder : path-like
        Where they are.

    Returns
    -------
    x_train, y_train, x_test, y_test : ndarray
        Images as float32 in [0, 1], one row each (``(n, 784)`` for 28 x 28 pixels); labels as int64.

    Raises
    ------
    FileNotFoundError
        A file is missing; the message lists the names that were looked for.
    ValueError
        A file is damaged (`read_idx`), does not hold images or labels, or the files don't belong together.
    """
    folder = _check.path("folder", folder)
    paths = [_find(folder, f"{part}-{kind}") for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    x_train, y_train = _load_part(*paths[:2])
    x_test, y_test = _load_part(*paths[2:])
    if x_train.shape[1] != x_test.shape[1]:
        raise ValueError(f"{paths[2]}: expected {x_train.shape[1]} pixels per image, got {x_test.shape[1]}")
    return x_train, y_train, x_test, y_test


def _read(path: str, stream: io.BufferedIOBase, limit: int) -> np.ndarray:
    """Read the array. `limit` is what the stream can hold at most."""
    dtype, shape = _read_header(path, stream)
    needed = math.prod(shape) * dtype.itemsize
    room = limit - 4 - 4 * len(shape)
    expected = f"{path}: expected {needed} bytes of data for {dtype.name} {shape}"
    if needed > room:
        raise ValueError(f"{expected}, got a file that can hold {room}")
    raw = bytearray()
    while len(raw) < needed:
        piece = stream.read(min(_CHUNK, needed - len(raw)))
        if not piece:
            raise ValueError(f"{expected}, got {len(raw)}")
        raw += piece
    if stream.read(1):  # also makes gzip compare its checksum
        raise ValueError(f"{expected}, got more")
    array = np.frombuffer(raw, dtype)
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder())
    try:
        return array.reshape(shape)
    except ValueError:  # a length of 0 beside others that no array can have
        raise ValueError(f"{path}: expected dimensions that an array can have, got {shape}") from None


def _read_header(path: str, stream: io.BufferedIOBase) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"{path}: expected an IDX file, which starts with 00 00, type, rank; got {_hex(magic)}")
    code, ndim = magic[2:]
    if code not in _DTYPES:
        known = ", ".join(f"{known:#04x} ({np.dtype(name).name})" for known, name in _DTYPES.items())
        raise ValueError(f"{path}: expected one of the type codes {known}, got {code:#04x}")
    if not 1 <= ndim <= _MAX_NDIM:
        raise ValueError(f"{path}: expected 1 to {_MAX_NDIM} dimensions, got {ndim}")
    lengths = stream.read(4 * ndim)
    if len(lengths) < 4 * ndim:
        raise ValueError(f"{path}: expected {4 * ndim} bytes for {ndim} dimensions, got {len(lengths)}")
    return np.dtype(_DTYPES[code]), tuple(np.frombuffer(lengths, ">u4").tolist())


def _hex(data: bytes) -> str:
    return data.hex(" ") or "an empty file"


def _find(folder: Path, name: str) -> Path:
    names = [f"{stem}-ubyte{end}" for stem in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    raise FileNotFoundError(f"{folder}: expected one of {', '.join(names)}, got none of them")


def _load_part(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, ndim in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.dtype != np.uint8 or array.ndim != ndim:
            raise ValueError(f"{path}: expected uint8 of {ndim} dimensions, got {array.dtype} {array.shape}")
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: expected a label for each of {len(images)} images, got {len(labels)}")
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    return np.divide(flat, 255, dtype=np.float32), labels.astype(np.int64)
