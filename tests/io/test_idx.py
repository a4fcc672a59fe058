"""IDX files, whole and damaged. Every file is made on the fly."""

import gzip
import random
import re
import tracemalloc

import numpy as np
import pytest
from samples import same_bytes

from qlite.io.idx import read_idx

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
# A damaged file may cost its declared size, bounded by what it can hold, and this for buffers.
BUFFERS = 4 << 20


def idx_bytes(array):
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(folder, data, name="file"):
    path = folder / name
    path.write_bytes(data)
    return path


def refuses(path, *said):
    """Reading is a ValueError that names the file and says all of this, and it costs no memory worth the name."""
    limit = 1032 * path.stat().st_size + BUFFERS
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(error.value)
    assert message.startswith(f"{path}: expected ")
    assert not [text for text in said if text not in message], message
    assert peak <= limit


# ---- whole files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 4), (2, 3, 5), (0,), (0, 28, 28), (2, 1, 2, 1, 2)], ids=str)
@pytest.mark.parametrize("dtype", CODES)
def test_reads_what_was_written(tmp_path, rng, dtype, shape, packed):
    count = int(np.prod(shape))
    raw = rng.integers(0, 256, count * np.dtype(dtype).itemsize, dtype=np.uint8)
    array = raw.view(dtype).reshape(shape)  # any bit pattern, NaN payloads too
    got = read_idx(write(tmp_path, packed(idx_bytes(array))))
    same_bytes(got, array)
    assert got.dtype.isnative
    assert got.flags.c_contiguous and got.flags.aligned and got.flags.writeable


def test_name_does_not_matter_only_the_first_bytes(tmp_path):
    array = np.arange(6, dtype=np.int32)
    same_bytes(read_idx(write(tmp_path, idx_bytes(array), "plain.gz")), array)
    same_bytes(read_idx(str(write(tmp_path, gzip.compress(idx_bytes(array)), "zipped.idx"))), array)


def test_gzip_of_several_members_and_larger_than_a_buffer(tmp_path):
    array = np.arange(3_000_000, dtype=np.uint8)
    data = idx_bytes(array)
    same_bytes(read_idx(write(tmp_path, gzip.compress(data[:1000], 1) + gzip.compress(data[1000:], 1))), array)


# ---- damaged files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("length", range(18))
def test_cut_short_anywhere(tmp_path, length, packed):
    data = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert len(data) == 18
    refuses(write(tmp_path, packed(data[:length])))


def test_messages_say_what_came_and_what_was_expected(tmp_path):
    data = idx_bytes(np.arange(12, dtype=np.int16).reshape(3, 4))
    refuses(write(tmp_path, b""), "an empty file", "IDX")
    refuses(write(tmp_path, b"\x89PNG\r\n"), "IDX", "got 89 50 4e 47")
    refuses(write(tmp_path, data[:2] + b"\x0a" + data[3:]), "0x08 (uint8)", "0x0e (float64)", "got 0x0a")
    refuses(write(tmp_path, data[:3] + b"\x00" + data[4:]), "1 to 64 dimensions", "got 0")
    refuses(write(tmp_path, data[:3] + b"\xff" + data[4:]), "1 to 64 dimensions", "got 255")
    refuses(write(tmp_path, data[:3] + b"\x05" + data[4:12]), "20 bytes for 5 dimensions", "got 8")
    refuses(write(tmp_path, data[:-1]), "24 bytes of data", "int16 (3, 4)", "can hold 23")
    refuses(write(tmp_path, data + b"\0"), "24 bytes of data", "got more")
    refuses(write(tmp_path, gzip.compress(data[:-1])), "24 bytes of data", "got 23")
    refuses(write(tmp_path, gzip.compress(data + b"\0")), "24 bytes of data", "got more")
    refuses(write(tmp_path, gzip.compress(gzip.compress(data))), "IDX", "got 1f 8b")


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "shape",
    [(2**32 - 1,), (2**32 - 1,) * 64, (2**31, 2**31, 4), (65536, 65537, 65536), (10**6,) * 3],
    ids=str,
)
def test_dimensions_beyond_the_file_are_refused_before_memory_is_taken(tmp_path, shape, packed):
    header = bytes([0, 0, CODES["float64"], len(shape)]) + np.array(shape, ">u4").tobytes()
    refuses(write(tmp_path, packed(header + bytes(100))), "bytes of data")


def test_no_data_but_dimensions_that_no_array_can_have(tmp_path):
    header = bytes([0, 0, CODES["uint8"], 3]) + np.array([2**32 - 1, 2**32 - 1, 0], ">u4").tobytes()
    refuses(write(tmp_path, header), "an array can have", "4294967295")


def test_gzip_bomb_is_not_inflated(tmp_path):
    bomb = gzip.compress(idx_bytes(np.zeros(100, np.uint8)) + bytes(100_000_000))
    path = write(tmp_path, bomb)
    tracemalloc.start()
    with pytest.raises(ValueError, match="got more"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= BUFFERS


def test_every_changed_byte_of_a_gzip_is_refused_or_changes_nothing(tmp_path):
    array = np.arange(40, dtype=np.uint8).reshape(5, 8)
    whole = gzip.compress(idx_bytes(array), mtime=0)
    draw = random.Random(0)
    for position in range(len(whole)):
        for value in {whole[position] ^ 1, whole[position] ^ 0x80, draw.randrange(256)} - {whole[position]}:
            path = write(tmp_path, whole[:position] + bytes([value]) + whole[position + 1 :])
            try:
                same_bytes(read_idx(path), array)  # the time stamp, or the name of the system
            except ValueError as error:
                assert str(error).startswith(f"{path}: expected ")


@pytest.mark.parametrize("tail", [b"\0", b"x", b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\0"], ids=repr)
def test_something_behind_the_gzip_data(tmp_path, tail):
    array = np.arange(40, dtype=np.uint8)
    path = write(tmp_path, gzip.compress(idx_bytes(array)) + tail)
    if tail == b"\0":  # padding, which the format allows
        same_bytes(read_idx(path), array)
    else:
        refuses(path, "intact gzip data")


@pytest.mark.parametrize("length", [2, 5, 9, 10, 15, 20, -9, -8, -4, -1])
def test_gzip_cut_short(tmp_path, length):
    path = write(tmp_path, gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8)))[:length])
    refuses(path, "intact gzip data")


def test_a_path_that_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        read_idx(tmp_path / "missing")
    with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))):
        read_idx(tmp_path)
    with pytest.raises(TypeError, match=r"^path: expected a path, .*, got int"):
        read_idx(3)
