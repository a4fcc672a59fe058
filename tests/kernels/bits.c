/* Packed codes. */
#include "harness.h"

static results pack_bits(const ql_kernels *kernels, size_t n, size_t group)
{
    const int width = (int)(group % 7) + 1;
    const bool is_signed = bits() % 2;
    uint8_t *codes = any_codes(2, n), *packed = array(RESULT, (n * (size_t)width + 7) / 8);
    for (size_t i = 0; i < n && bits() % 8; i++) /* up to a code that may be too great */
        codes[i] =
            (uint8_t)(is_signed ? between(-(1 << (width - 1)), (1 << (width - 1)) - 1) : codes[i] % (1 << width));
    uint8_t seen = kernels->pack_bits_x8(codes, n, is_signed, width, packed);
    return (results){packed, (n * (size_t)width + 7) / 8, seen};
}

static results unpack_bits(const ql_kernels *kernels, size_t n, size_t group)
{
    const int width = (int)(group % 7) + 1;
    uint8_t *packed = any_codes(2, (n * (size_t)width + 7) / 8), *codes = array(RESULT, n);
    kernels->unpack_bits_x8(packed, n, bits() % 2, width, codes);
    return (results){codes, n, false};
}

const subject bits_subjects[] = {
    {"pack_bits_x8", pack_bits},
    {"unpack_bits_x8", unpack_bits},
    {0},
};
