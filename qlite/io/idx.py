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
