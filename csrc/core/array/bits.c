/* Codes of 1 to 16 bits, packed row by row: low bits first, each row filled up to a byte, so that rows can be taken out
 * one by one. Rows that end with a byte anyway are one long row.
 *
 * Codes of one byte have kernels. Those of two are rare: up to 8 bits they are made bytes first, above that four of
 * them move together in a 64-bit word, and two words make eight. */
#include <string.h>

#include "core/base/sizes.h"
#include "kernels/kernels.h"
#include "qlite.h"

enum { CODES = 8, MAX_BITS = 16, PIECE = 1024 };

static size_t bytes_of(size_t codes, int bits)
{
    return codes / CODES * (size_t)bits + (codes % CODES * (size_t)bits + 7) / 8;
}

static size_t codes_in(size_t bytes, int bits)
{
    return bytes / (size_t)bits * CODES + bytes % (size_t)bits * CODES / (size_t)bits;
}

static bool is_valid(size_t code_size, int bits)
{
    return (code_size == 1 && bits >= 1 && bits <= 8) || (code_size == 2 && bits >= 1 && bits <= MAX_BITS);
}

/* Compilers make one instruction of each of these where the first byte is the lowest. */
static uint64_t load_bytes(const uint8_t *bytes)
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++)
        word |= (uint64_t)bytes[i] << 8 * i;
    return word;
}

static void store_bytes(uint8_t *bytes, uint64_t word)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(word >> 8 * i);
}

static uint64_t load_four(const uint16_t *codes)
{
    return (uint64_t)codes[0] | (uint64_t)codes[1] << 16 | (uint64_t)codes[2] << 32 | (uint64_t)codes[3] << 48;
}

static void store_four(uint16_t *codes, uint64_t word)
{
    for (int i = 0; i < 4; i++)
        codes[i] = (uint16_t)(word >> 16 * i);
}

static const uint64_t EACH = 0x0001000100010001, EVEN = 0x0000FFFF0000FFFF;

/* Four codes of 16 bits become 4 * bits bits, bits > 8; apart() is the reverse. */
static uint64_t together(uint64_t word, int bits)
{
    word &= EACH * ((1u << bits) - 1);
    word = (word & EVEN) | (word >> 16 & EVEN) << bits;
    return (word & UINT32_MAX) | word >> 32 << 2 * bits;
}

static uint64_t apart(uint64_t word, bool is_signed, int bits)
{
    const uint64_t two = ((uint64_t)1 << 2 * bits) - 1, one = ((1u << bits) - 1) * (uint64_t)0x0000000100000001;
    word = (word & two) | (word >> 2 * bits & two) << 32;
    word = (word & one) | (word >> bits & one) << 16;
    return is_signed ? word | (word >> (bits - 1) & EACH) * (0xFFFF & 0xFFFFu << bits) : word;
}

/* Packs eight codes into `bits` bytes, by two words that overlap: the first eight bytes, and the last eight. */
static void pack_eight(const uint16_t *codes, int bits, uint8_t *packed)
{
    const uint64_t low = together(load_four(codes), bits), high = together(load_four(codes + 4), bits);
    store_bytes(packed + bits - 8, high << (64 - 4 * bits) | (bits < 16 ? low >> (8 * bits - 64) : 0));
    store_bytes(packed, bits < 16 ? low | high << 4 * bits : low);
}

static void unpack_eight(const uint8_t *packed, bool is_signed, int bits, uint16_t *codes)
{
    store_four(codes, apart(load_bytes(packed), is_signed, bits));
    store_four(codes + 4, apart(load_bytes(packed + bits - 8) >> (64 - 4 * bits), is_signed, bits));
}

static void pack_wide(const uint16_t *codes, size_t n, int bits, uint8_t *packed)
{
    size_t i = 0;
    for (; i + CODES <= n; i += CODES, packed += bits)
        pack_eight(codes + i, bits, packed);
    if (i < n) {
        uint16_t last[CODES] = {0};
        uint8_t bytes[MAX_BITS];
        memcpy(last, codes + i, (n - i) * sizeof *codes);
        pack_eight(last, bits, bytes);
        memcpy(packed, bytes, bytes_of(n - i, bits));
    }
}

static void unpack_wide(const uint8_t *packed, size_t n, bool is_signed, int bits, uint16_t *codes)
{
    size_t i = 0;
    for (; i + CODES <= n; i += CODES, packed += bits)
        unpack_eight(packed, is_signed, bits, codes + i);
    if (i < n) {
        uint16_t last[CODES];
        uint8_t bytes[MAX_BITS] = {0};
        memcpy(bytes, packed, bytes_of(n - i, bits));
        unpack_eight(bytes, is_signed, bits, last);
        memcpy(codes + i, last, (n - i) * sizeof *codes);
    }
}

static void pack_narrow(const uint8_t *codes, size_t n, int bits, uint8_t *packed)
{
    if (bits == 8)
        memcpy(packed, codes, n);
    else
        ql_kernels_active()->pack_bits_x8(codes, n, false, bits, packed);
}

static uint16_t pack_row_x16(const uint16_t *codes, size_t n, bool is_signed, int bits, uint8_t *packed)
{
    uint8_t narrow[PIECE];
    uint16_t seen = 0;
    for (size_t i = 0; i < n; i += PIECE) {
        const size_t length = ql_least(n - i, PIECE);
        uint8_t *to = packed + i / CODES * (size_t)bits;
        for (size_t k = 0; k < length; k++) {
            const uint16_t code = codes[i + k];
            seen |= is_signed && code >> 15 ? (uint16_t)~code : code;
            narrow[k] = (uint8_t)code;
        }
        if (bits > 8)
            pack_wide(codes + i, length, bits, to);
        else
            pack_narrow(narrow, length, bits, to);
    }
    return seen;
}

/* Returns the codes or-ed together, negative ones as ~code. */
static uint32_t pack_row(const uint8_t *codes, size_t code_size, size_t n, bool is_signed, int bits, uint8_t *packed)
{
    if (code_size == 2)
        return pack_row_x16((const uint16_t *)(const void *)codes, n, is_signed, bits, packed);
    if (bits == 8) {
        memcpy(packed, codes, n);
        return 0;
    }
    return ql_kernels_active()->pack_bits_x8(codes, n, is_signed, bits, packed);
}

static void unpack_row(const uint8_t *packed, size_t n, bool is_signed, int bits, uint8_t *codes)
{
    if (bits > 8)
        unpack_wide(packed, n, is_signed, bits, (uint16_t *)(void *)codes);
    else if (bits == 8)
        memcpy(codes, packed, n);
    else
        ql_kernels_active()->unpack_bits_x8(packed, n, is_signed, bits, codes);
}

size_t ql_bits_row_bytes(size_t n, int bits)
{
    return bytes_of(n, bits);
}

ql_status ql_pack_bits(const void *codes, size_t code_size, bool is_signed, size_t rows, size_t n, int bits,
                       uint8_t *packed)
{
    if (!is_valid(code_size, bits))
        return QL_EINVAL;
    if (n == 0 || rows == 0)
        return QL_OK;
    const size_t row_bytes = bytes_of(n, bits);
    const bool one_row = n % CODES * (size_t)bits % 8 == 0;
    const size_t length = one_row ? rows * n : n;
    uint32_t seen = 0;
    for (size_t row = 0; row < (one_row ? 1 : rows); row++)
        seen |= pack_row((const uint8_t *)codes + row * n * code_size, code_size, length, is_signed, bits,
                         packed + row * row_bytes);
    return seen >> (is_signed ? bits - 1 : bits) ? QL_EINVAL : QL_OK;
}

ql_status ql_unpack_bits(const uint8_t *packed, size_t rows, size_t row_bytes, int bits, bool is_signed, size_t first,
                         size_t count, void *codes)
{
    if (bits < 1 || bits > MAX_BITS)
        return QL_EINVAL;
    const size_t capacity = codes_in(row_bytes, bits);
    if (first > capacity || count > capacity - first)
        return QL_EINVAL;
    if (count == 0 || rows == 0)
        return QL_OK;
    const size_t code_size = bits > 8 ? 2 : 1;
    uint8_t *to = codes;
    if (first == 0 && count % CODES * (size_t)bits % 8 == 0 && bytes_of(count, bits) == row_bytes) {
        count *= rows;
        rows = 1;
    }
    const size_t skipped = first % CODES, head = skipped == 0 ? 0 : CODES - skipped < count ? CODES - skipped : count;
    for (size_t row = 0; row < rows; row++, to += count * code_size) {
        const uint8_t *from = packed + row * row_bytes + first / CODES * (size_t)bits;
        if (head > 0) {
            _Alignas(uint16_t) uint8_t begin[2 * CODES];
            unpack_row(from, skipped + head, is_signed, bits, begin);
            memcpy(to, begin + skipped * code_size, head * code_size);
            from += bits;
        }
        unpack_row(from, count - head, is_signed, bits, to + head * code_size);
    }
    return QL_OK;
}
