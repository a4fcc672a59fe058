"""Arrays to test with, the ways in which they can lie in memory, and what equal means."""

import numpy as np

from qlite import _core

LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000]


def same_bytes(got, expected):
    assert got.dtype == expected.dtype, f"dtype {got.dtype}, expected {expected.dtype}"
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    if got.tobytes() != expected.tobytes():
        where = np.argwhere(got != expected)
        first = tuple(where[0]) if len(where) else "in the bits of equal values"
        values = f": {got[first]!r}, expected {expected[first]!r}" if len(where) else ""
        raise AssertionError(f"{len(where)} of {got.size} differ, first at {first}{values}")


def one(value, dtype=np.float32):
    return np.array([value], dtype)


def codes(rng, shape, dtype, fill="random"):
    info = np.iinfo(dtype)
    if fill == "random":
        return rng.integers(info.min, info.max + 1, shape, dtype=dtype)
    if fill == "extreme":
        return rng.choice(np.array([info.min, info.max], dtype), shape)
    return np.full(shape, info.min if fill == "lowest" else info.max, dtype)


def zero_points(rng, count, dtype):
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, count, dtype=np.int32)


def scales_of_ties(bound):
    """Scales of which the bound is so many steps and a half, and the next float32 on both sides of each."""
    for steps in (0.5, 1.5, 2.5, 7.5, 63.5, 126.5):
        scale = np.float32(bound / steps)
        for near in (np.nextafter(scale, np.float32(0)), scale, np.nextafter(scale, np.float32(np.inf))):
            yield float(near)


def unpacked(packed, bits, count, signed=False):
    """The codes of rows of bytes, low bits first, one bit at a time."""
    bit = np.unpackbits(packed, axis=-1, bitorder="little", count=count * bits).reshape(*packed.shape[:-1], count, bits)
    weight = 1 << np.arange(bits)
    weight[-1] *= -1 if signed else 1
    return (bit * weight).sum(axis=-1).astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


# ---- layouts ----------------------------------------------------------------------------------------


def misaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def every_other(x):
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def columns_of_wider(x):
    wide = np.zeros((*x.shape[:-1], x.shape[-1] + 5), x.dtype)
    wide[..., 2:-3] = x
    return wide[..., 2:-3]


def reversed_everywhere(x):
    back = (slice(None, None, -1),) * x.ndim
    return x[back].copy()[back]


def field_of_record(x):
    record = np.zeros(x.shape, [("tag", np.uint8), ("value", x.dtype)])
    record["value"] = x
    return record["value"]


def read_only(x):
    view = x.copy()
    view.flags.writeable = False
    return view


LAYOUTS = {
    "contiguous": np.copy,
    "fortran": np.asfortranarray,
    "every_other": every_other,
    "columns_of_wider": columns_of_wider,
    "reversed_everywhere": reversed_everywhere,
    "byte_swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "misaligned": misaligned,
    "field_of_record": field_of_record,
    "read_only": read_only,
}


def dynamic_linear(x, packed, scale, bias, activation, out):
    """The core's, per row."""
    return _core.linear(x, packed, scale, bias, activation, False, out)
