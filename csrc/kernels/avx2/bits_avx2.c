/* Packing, 32 codes at a time: in each half of a vector sixteen codes of b bits become 2b bytes. Neighbours move
 * together by bytes, by pairs, by fours; then a shuffle closes the gaps, and sixteen bytes are stored of which the next
 * store overwrites those beyond 2b. So the last codes, behind which there is no room for that, go through the scalar
 * kernel.
 *
 * Four bits have no gaps: two codes fill a byte, and 64 codes a vector. */
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/scalar/scalar.h"

enum { HALF = 16, CODES = 32 };

/* Bytes 0..b-1 and 8..8+b-1 of each half, one after the other; zeros behind them. */
static __m256i closing(int bits)
{
    uint8_t from[HALF];
    for (int i = 0; i < HALF; i++)
        from[i] = (uint8_t)(i < bits ? i : i < 2 * bits ? 8 + i - bits : 0x80);
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)from));
}

static __m256i opening(int bits)
{
    uint8_t from[HALF];
    for (int i = 0; i < HALF; i++)
        from[i] = (uint8_t)(i % 8 < bits ? i / 8 * bits + i % 8 : 0x80);
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)from));
}

static inline __m256i folded(__m256i codes)
{
    return _mm256_xor_si256(codes, _mm256_cmpgt_epi8(_mm256_setzero_si256(), codes));
}

static uint8_t bytes_ored(__m256i v)
{
    __m128i half = _mm_or_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    uint64_t word = (uint64_t)_mm_cvtsi128_si64(_mm_or_si128(half, _mm_unpackhi_epi64(half, half)));
    word |= word >> 32;
    word |= word >> 16;
    return (uint8_t)(word | word >> 8);
}

static inline __m256i load(const uint8_t *bytes)
{
    return _mm256_loadu_si256((const __m256i *)bytes);
}

static size_t pack_nibbles(const uint8_t *codes, size_t n, bool is_signed, uint8_t *packed, __m256i *seen)
{
    const __m256i nibble = _mm256_set1_epi8(15), weights = _mm256_set1_epi16(0x1001);
    size_t i = 0;
    for (; i + 2 * CODES <= n; i += 2 * CODES) {
        __m256i a = load(codes + i), b = load(codes + i + CODES);
        *seen = _mm256_or_si256(*seen, is_signed ? _mm256_or_si256(folded(a), folded(b)) : _mm256_or_si256(a, b));
        a = _mm256_maddubs_epi16(_mm256_and_si256(a, nibble), weights);
        b = _mm256_maddubs_epi16(_mm256_and_si256(b, nibble), weights);
        __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xD8);
        _mm256_storeu_si256((__m256i *)(packed + i / 2), bytes);
    }
    return i;
}

static size_t pack_any(const uint8_t *codes, size_t n, bool is_signed, int bits, uint8_t *packed, __m256i *seen)
{
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1)), low_byte = _mm256_set1_epi16(0xFF);
    const __m256i pairs = _mm256_set1_epi32(1 | 1 << (16 + 2 * bits)), low_half = _mm256_set1_epi64x(UINT32_MAX);
    const __m256i close = closing(bits);
    const __m128i one = _mm_cvtsi32_si128(8 - bits), four = _mm_cvtsi32_si128(32 - 4 * bits);
    const size_t half_bytes = 2 * (size_t)bits, bytes = n * (size_t)bits / 8;
    size_t i = 0;
    for (; i + CODES <= n && i / 8 * (size_t)bits + half_bytes + HALF <= bytes; i += CODES) {
        __m256i v = load(codes + i);
        *seen = _mm256_or_si256(*seen, is_signed ? folded(v) : v);
        v = _mm256_and_si256(v, mask);
        v = _mm256_or_si256(_mm256_and_si256(v, low_byte), _mm256_srl_epi16(_mm256_andnot_si256(low_byte, v), one));
        v = _mm256_madd_epi16(v, pairs);
        v = _mm256_or_si256(_mm256_and_si256(v, low_half), _mm256_srl_epi64(_mm256_andnot_si256(low_half, v), four));
        v = _mm256_shuffle_epi8(v, close);
        uint8_t *to = packed + i / 8 * (size_t)bits;
        _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(v));
        _mm_storeu_si128((__m128i *)(to + half_bytes), _mm256_extracti128_si256(v, 1));
    }
    return i;
}

uint8_t ql_pack_bits_x8__avx2(const uint8_t *codes, size_t n, bool is_signed, int bits, uint8_t *packed)
{
    __m256i seen = _mm256_setzero_si256();
    size_t i = bits == 4 ? pack_nibbles(codes, n, is_signed, packed, &seen)
                         : pack_any(codes, n, is_signed, bits, packed, &seen);
    uint8_t rest = ql_pack_bits_x8__scalar(codes + i, n - i, is_signed, bits, packed + i / 8 * (size_t)bits);
    return bytes_ored(seen) | rest;
}

static size_t unpack_nibbles(const uint8_t *packed, size_t n, bool is_signed, uint8_t *codes)
{
    const __m256i nibble = _mm256_set1_epi8(15), sign = _mm256_set1_epi8(is_signed ? 8 : 0);
    size_t i = 0;
    for (; i + CODES <= n; i += CODES) {
        __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(packed + i / 2)));
        v = _mm256_and_si256(_mm256_or_si256(v, _mm256_slli_epi16(v, 4)), nibble);
        v = _mm256_sub_epi8(_mm256_xor_si256(v, sign), sign);
        _mm256_storeu_si256((__m256i *)(codes + i), v);
    }
    return i;
}

static size_t unpack_any(const uint8_t *packed, size_t n, bool is_signed, int bits, uint8_t *codes)
{
    const __m256i sign = _mm256_set1_epi8((char)(is_signed ? 1 << (bits - 1) : 0)), open = opening(bits);
    const __m256i four = _mm256_set1_epi64x(((int64_t)1 << 4 * bits) - 1), two = _mm256_set1_epi32((1 << 2 * bits) - 1);
    const __m256i mask = _mm256_set1_epi16((short)((1 << bits) - 1));
    const __m128i by_one = _mm_cvtsi32_si128(8 - bits), by_two = _mm_cvtsi32_si128(16 - 2 * bits);
    const __m128i by_four = _mm_cvtsi32_si128(32 - 4 * bits);
    const size_t half_bytes = 2 * (size_t)bits, bytes = (n * (size_t)bits + 7) / 8;
    size_t i = 0;
    for (; i + CODES <= n && i / 8 * (size_t)bits + half_bytes + HALF <= bytes; i += CODES) {
        const uint8_t *from = packed + i / 8 * (size_t)bits;
        __m256i v = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)from));
        v = _mm256_inserti128_si256(v, _mm_loadu_si128((const __m128i *)(from + half_bytes)), 1);
        v = _mm256_shuffle_epi8(v, open);
        v = _mm256_or_si256(_mm256_and_si256(v, four), _mm256_sll_epi64(_mm256_andnot_si256(four, v), by_four));
        v = _mm256_or_si256(_mm256_and_si256(v, two), _mm256_sll_epi32(_mm256_andnot_si256(two, v), by_two));
        v = _mm256_or_si256(_mm256_and_si256(v, mask), _mm256_sll_epi16(_mm256_andnot_si256(mask, v), by_one));
        v = _mm256_sub_epi8(_mm256_xor_si256(v, sign), sign);
        _mm256_storeu_si256((__m256i *)(codes + i), v);
    }
    return i;
}

void ql_unpack_bits_x8__avx2(const uint8_t *packed, size_t n, bool is_signed, int bits, uint8_t *codes)
{
    size_t i = bits == 4 ? unpack_nibbles(packed, n, is_signed, codes) : unpack_any(packed, n, is_signed, bits, codes);
    ql_unpack_bits_x8__scalar(packed + i / 8 * (size_t)bits, n - i, is_signed, bits, codes + i);
}
