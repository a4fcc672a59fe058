"""Codes of any width packed into bytes."""

import numpy as np


def pack_bits(codes, bits):
    """The low bits of the codes one after the other along the last axis, low bits first, filled up to a byte."""
    each = codes[..., None].astype(np.int32) >> np.arange(bits) & 1
    rows = each.reshape(*codes.shape[:-1], codes.shape[-1] * bits).astype(np.uint8)
    return np.packbits(rows, axis=-1, bitorder="little")


def unpack_bits(packed, bits, is_signed, first, count):
    """Codes first .. first + count - 1 of each row."""
    each = np.unpackbits(packed, axis=-1, bitorder="little")[..., first * bits : (first + count) * bits]
    codes = each.reshape(*packed.shape[:-1], count, bits).astype(np.int32) @ (1 << np.arange(bits, dtype=np.int32))
    if is_signed:
        codes = np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes)
    return codes.astype(f"{'i' if is_signed else 'u'}{1 if bits <= 8 else 2}")
