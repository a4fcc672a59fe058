/* Packing, eight codes of b bits <-> b bytes in one 64-bit word: neighbours move together by bytes, by pairs, by fours,
 * each step one mask, one shift. First code in the low bits, whatever the machine's byte order. */
#include "kernels/portable/portable.h"

enum { CODES = 8 };

static const uint64_t EACH_BYTE = 0x0101010101010101, EVEN_BYTES = 0x00FF00FF00FF00FF, EVEN_PAIRS = 0x0000FFFF0000FFFF;

static uint64_t load(const uint8_t *bytes, size_t n)
{
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)bytes[i] << 8 * i;
    return word;
}

static void store(uint8_t *bytes, size_t n, uint64_t word)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(word >> 8 * i);
}

static uint64_t together(uint64_t word, int bits)
{
    word &= EACH_BYTE * ((1u << bits) - 1);
    word = (word & EVEN_BYTES) | (word >> 8 & EVEN_BYTES) << bits;
    word = (word & EVEN_PAIRS) | (word >> 16 & EVEN_PAIRS) << 2 * bits;
    return (word & UINT32_MAX) | word >> 32 << 4 * bits;
}

static uint64_t apart(uint64_t word, int bits)
{
    const uint64_t four = ((uint64_t)1 << 4 * bits) - 1, two = ((1u << 2 * bits) - 1) * (uint64_t)0x0000000100000001;
    const uint64_t one = ((1u << bits) - 1) * (uint64_t)0x0001000100010001;
    word = (word & four) | (word >> 4 * bits & four) << 32;
    word = (word & two) | (word >> 2 * bits & two) << 16;
    return (word & one) | (word >> bits & one) << 8;
}

/* ~code in every byte that is negative. */
static uint64_t folded(uint64_t word)
{
    return word ^ (word >> 7 & EACH_BYTE) * 0xFF;
}

static uint64_t sign_extended(uint64_t word, int bits)
{
    return word | (word >> (bits - 1) & EACH_BYTE) * (0xFF & 0xFFu << bits);
}

uint8_t QL_KERNEL(ql_pack_bits_x8)(const uint8_t *codes, size_t n, bool is_signed, int bits, uint8_t *packed)
{
    uint64_t seen = 0;
    for (size_t i = 0; i < n; i += CODES, packed += bits) {
        const size_t some = n - i < CODES ? n - i : CODES;
        const uint64_t word = some == CODES ? load(codes + i, CODES) : load(codes + i, some);
        seen |= is_signed ? folded(word) : word;
        store(packed, (some * (size_t)bits + 7) / 8, together(word, bits));
    }
    seen |= seen >> 32;
    seen |= seen >> 16;
    return (uint8_t)(seen | seen >> 8);
}

void QL_KERNEL(ql_unpack_bits_x8)(const uint8_t *packed, size_t n, bool is_signed, int bits, uint8_t *codes)
{
    for (size_t i = 0; i < n; i += CODES, packed += bits) {
        const size_t some = n - i < CODES ? n - i : CODES;
        const uint64_t word = apart(load(packed, (some * (size_t)bits + 7) / 8), bits);
        const uint64_t code = is_signed ? sign_extended(word, bits) : word;
        if (some == CODES)
            store(codes + i, CODES, code);
        else
            store(codes + i, some, code);
    }
}
