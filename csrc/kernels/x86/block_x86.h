/* Four vectors at a time, for the kernels of this folder. They are read after an instruction set's lanes_<isa>.h, whose
 * words they are written in, and so compiled for each. */
#ifndef QL_BLOCK_X86_H
#define QL_BLOCK_X86_H

enum { BLOCK = 4 * LANES };

typedef struct block {
    floats v[4];
} block;

static inline block load_block(const float *x)
{
    block b;
    for (int u = 0; u < 4; u++)
        b.v[u] = load_f32(x + u * LANES);
    return b;
}

static inline void prefetch_ahead(const void *p, size_t ahead, size_t bytes)
{
    enum { LINE = 64 };
    for (size_t line = 0; line < bytes; line += LINE)
        _mm_prefetch((const char *)((uintptr_t)p + ahead + line), _MM_HINT_T0);
}

/* Reads ahead of what the processor sees coming by itself. From memory the least and greatest are found 1.3 times as
 * fast and codes 1.4 times (Zen 3; with AVX-512 12 % more speed from L3, 20 % from memory); from L2 it costs up to a
 * tenth. */
static inline void prefetch(const void *p, size_t bytes)
{
    prefetch_ahead(p, 8192, bytes);
}

/* The same for quantizing, whose codes and parameters of columns have to stay in the L1 cache, too: with 8192 bytes
 * codes of 1 M values take 1.05 times as long, of 2048 columns up to 1.08 times; without, from memory, 1.4 times (Zen
 * 3). */
static inline void prefetch_near(const void *p, size_t bytes)
{
    prefetch_ahead(p, 2048, bytes);
}

#endif
