"""Arrays out of NumPy archives (.npz), without pickles and without more memory than the archive can fill.

`numpy.load` makes room for what an array's header declares before it has read a byte of it. Here the header is held
against the size of the archive's member, and that against its packed size, before anything is allocated.
"""

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from qlite.io.regular_file import open_regular

#: Deflate turns a byte into at most so many.
_MAX_RATIO = 1032
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Read arrays of these names.

    Raises
    ------
    ValueError
        No archive, a damaged one, one that lacks a name or holds something else than an array under it.
    OSError
        The file cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return [_read_member(path, archive, name) for name in names]
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"{path}: expected an intact archive of arrays (.npz), got: {error}") from error


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    where = f"{path}: {name}"
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        found = ", ".join(archive.namelist()) or "nothing"
        raise ValueError(f"{path}: expected the array {name!r}, got an archive of {found:.200}") from None
    if member.file_size > _MAX_RATIO * (member.compress_size + 1):
        raise ValueError(f"{where}: expected intact data, got {member.file_size} bytes out of {member.compress_size}")
    with archive.open(member) as stream:
        shape, is_fortran, dtype = _read_header(where, stream)
        needed = math.prod(shape) * dtype.itemsize
        if needed != member.file_size - stream.tell():
            raise ValueError(
                f"{where}: expected {needed} bytes for {dtype} {shape}, got {member.file_size - stream.tell()}"
            )
        data = stream.read(needed + 1)  # one more: the archive then compares its checksum
    if len(data) != needed:
        raise ValueError(f"{where}: expected {needed} bytes for {dtype} {shape}, got {len(data)}")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")
    return np.require(array.astype(dtype.newbyteorder("="), copy=False), requirements="C")


def _read_header(where: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"version {version}")
        shape, is_fortran, dtype = _HEADERS[version](stream)
        is_plain = dtype.kind in "biuf" and all(n >= 0 for n in shape)
    except (ValueError, TokenError) as error:  # NumPy reads headers of Python 2 by its tokens
        raise ValueError(f"{where}: expected an array of numbers, got: {error}") from None
    if not is_plain:
        raise ValueError(f"{where}: expected an array of numbers, got {dtype} {shape}")
    return shape, is_fortran, dtype
