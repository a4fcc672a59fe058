"""Codes of few bits come out of their bytes as they went in, and the bytes are those of the reference."""

import numpy as np
import pytest
import reference
from samples import LAYOUTS, LENGTHS, same_bytes

from qlite import _core

WIDTHS = [(np.dtype(dtype), bits) for dtype in (np.int8, np.uint8, np.int16, np.uint16) for bits in range(1, 17)]
WIDTHS = [(dtype, bits) for dtype, bits in WIDTHS if bits <= 8 * dtype.itemsize]


def narrow_codes(rng, shape, dtype, bits):
    low = -(1 << (bits - 1)) if dtype.kind == "i" else 0
    return rng.integers(low, low + (1 << bits), shape).astype(dtype)


def unpacked_like(codes, bits):
    """codes in the dtype that unpacking gives."""
    return codes.astype(f"{codes.dtype.kind}{1 if bits <= 8 else 2}")


@pytest.mark.parametrize("dtype, bits", WIDTHS)
def test_every_length(isa, rng, dtype, bits):
    for n in LENGTHS:
        for shape in ((n,), (3, n), (2, 0, n), (2, 3, n)):
            codes = narrow_codes(rng, shape, dtype, bits)
            packed = _core.pack_bits(codes, bits)
            same_bytes(packed, reference.pack_bits(codes, bits))
            assert packed.shape == (*shape[:-1], (n * bits + 7) // 8)
            same_bytes(_core.unpack_bits(packed, bits, dtype.kind == "i", 0, n), unpacked_like(codes, bits))


@pytest.mark.parametrize("dtype, bits", WIDTHS)
def test_parts_of_rows(isa, rng, dtype, bits):
    codes = narrow_codes(rng, (3, 201), dtype, bits)
    packed = _core.pack_bits(codes, bits)
    for first in (0, 1, 3, 7, 8, 9, 64, 100, 200, 201):
        for count in {0, 1, 2, 7, 8, 9, 63, 101, 201 - first} - {*range(202 - first, 202)}:
            part = _core.unpack_bits(packed, bits, dtype.kind == "i", first, count)
            same_bytes(part, unpacked_like(codes[:, first : first + count], bits))
            same_bytes(part, reference.unpack_bits(packed, bits, dtype.kind == "i", first, count))


@pytest.mark.parametrize("bits", range(1, 17))
def test_any_bytes_are_codes(isa, rng, bits):
    """Bytes that nobody packed, the last bits not zero."""
    packed = rng.integers(0, 256, (5, 131), dtype=np.uint8)
    for is_signed in (False, True):
        for count in (131 * 8 // bits, 40):
            expected = reference.unpack_bits(packed, bits, is_signed, 0, count)
            same_bytes(_core.unpack_bits(packed, bits, is_signed, 0, count), expected)


@pytest.mark.parametrize("dtype, bits", [(dtype, bits) for dtype, bits in WIDTHS if bits < 8 * dtype.itemsize])
def test_codes_out_of_range(isa, dtype, bits):
    low = -(1 << (bits - 1)) if dtype.kind == "i" else 0
    info = np.iinfo(dtype)
    for n in (1, 9, 200):
        for where in {0, n // 2, n - 1}:
            for bad in {low - 1, low + (1 << bits), info.min, info.max} - {*range(low, low + (1 << bits))}:
                if info.min <= bad <= info.max:
                    codes = np.zeros(n, dtype)
                    codes[where] = bad
                    with pytest.raises(ValueError, match=rf"^codes: expected (signed )?{bits}-bit codes"):
                        _core.pack_bits(codes, bits)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(isa, rng, layout):
    for dtype, bits in ((np.dtype(np.int8), 3), (np.dtype(np.uint16), 11)):
        codes = narrow_codes(rng, (6, 11), dtype, bits)
        packed = _core.pack_bits(LAYOUTS[layout](codes), bits)
        same_bytes(packed, reference.pack_bits(codes, bits))
        same_bytes(_core.unpack_bits(LAYOUTS[layout](packed), bits, dtype.kind == "i", 0, 11), codes)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_codes_of_every_layout(isa, rng, layout, dtype):
    ends = np.iinfo(dtype)
    codes = rng.integers(ends.min, ends.max, (6, 11), dtype, endpoint=True)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.int32)
    values = codes.astype(np.float32)
    same_bytes(_core.dequantize(LAYOUTS[layout](codes), one, zero, None), values)
    (sums,) = _core.error_sums(values, LAYOUTS[layout](codes), one, zero, None, ends.min, ends.max, -1)
    assert not sums[[1, 2, 5, 6]].any()  # clipping, rounding, greatest, clipped


def test_bad_arguments():
    codes, packed = np.zeros((2, 8), np.uint8), np.zeros((2, 3), np.uint8)
    cases = [
        (TypeError, "codes: ", lambda: _core.pack_bits(codes.astype(np.int32), 4)),
        (ValueError, "codes: ", lambda: _core.pack_bits(np.uint8(3), 4)),
        (ValueError, "bits: ", lambda: _core.pack_bits(codes, 0)),
        (ValueError, "bits: ", lambda: _core.pack_bits(codes, 9)),
        (ValueError, "bits: ", lambda: _core.pack_bits(codes.astype(np.int16), 17)),
        (TypeError, "packed: ", lambda: _core.unpack_bits(packed.view(np.int8), 3, False, 0, 8)),
        (ValueError, "packed: ", lambda: _core.unpack_bits(np.uint8(3), 3, False, 0, 2)),
        (ValueError, "packed: ", lambda: _core.unpack_bits(packed, 3, False, 0, 9)),
        (ValueError, "packed: ", lambda: _core.unpack_bits(packed, 3, False, 8, 1)),
        (ValueError, "packed: ", lambda: _core.unpack_bits(packed, 16, False, 2**62, 1)),
        (ValueError, "packed: ", lambda: _core.unpack_bits(packed[:0], 16, False, 2**62, 7)),
        (ValueError, "bits: ", lambda: _core.unpack_bits(packed, 17, False, 0, 1)),
        (ValueError, "first, count: ", lambda: _core.unpack_bits(packed, 3, False, -1, 1)),
        (ValueError, "first, count: ", lambda: _core.unpack_bits(packed, 3, False, 0, -1)),
    ]
    for error, message, case in cases:
        with pytest.raises(error, match=f"^{message}"):
            case()
