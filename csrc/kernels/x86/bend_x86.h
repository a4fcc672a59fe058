/* Codes along lines with a bend. Four vectors of products go on as bytes together, and are clamped as these. */

typedef struct ends {
    ints zero_point, above_factor, above_start, qmin, qmax; /* qmin, qmax: bytes */
} ends;

static inline ends make_ends(const ql_bend *b)
{
    return (ends){.zero_point = set_s32(b->zero_point),
                  .above_factor = set_s32(b->above_factor),
                  .above_start = set_s32(b->above_start),
                  .qmin = set_s8((char)b->qmin),
                  .qmax = set_s8((char)b->qmax)};
}

static inline ints bend_first(const uint8_t *x, const ql_bend *b, size_t j, size_t left, const ends *e)
{
    const ints codes = load_first_u8(x + j, left);
    const lane_mask below = less_s32(codes, e->zero_point);
    const ints factor = where_s32(below, load_first_s32(b->factor + j, left), e->above_factor);
    const ints start = where_s32(below, load_first_s32(b->start + j, left), e->above_start);
    return shift_right_s32(add_s32(mul_s32(codes, factor), start), b->shift);
}

static inline void bend_four(const uint8_t *x, const ql_bend *b, size_t j, const ends *e, uint8_t *y)
{
    const ints first = pack_s32(bend_first(x, b, j, LANES, e), bend_first(x, b, j + LANES, LANES, e));
    const ints second = pack_s32(bend_first(x, b, j + 2 * LANES, LANES, e), bend_first(x, b, j + 3 * LANES, LANES, e));
    const ints codes = in_order(pack_u8(first, second));
    store_s32(y + j, min_u8(max_u8(codes, e->qmin), e->qmax));
}

static inline void bend_row(const uint8_t *x, size_t n, const ql_bend *b, const ends *e, uint8_t *y)
{
    const ints qmin = set_s32(b->qmin), qmax = set_s32(b->qmax);
    size_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES)
        bend_four(x, b, j, e, y);
    for (; j < n; j += LANES)
        store_first_u8(y + j, n - j, min_s32(max_s32(bend_first(x, b, j, n - j, e), qmin), qmax));
}

void QL_KERNEL(ql_bend_u8)(const uint8_t *x, size_t rows, size_t n, const ql_bend *bend, uint8_t *y)
{
    const ends e = make_ends(bend);
    for (size_t i = 0; i < rows; i++)
        bend_row(x + i * n, n, bend, &e, y + i * n);
}
