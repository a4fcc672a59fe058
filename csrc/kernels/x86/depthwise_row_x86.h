/* A row of a depthwise convolution of floats: two vectors of channels by four neighbouring pixels at a time, which
 * share the loads of weights and hide the instruction's latency. */
enum { PIXELS = 4 };

static inline floats clamped(const ql_depthwise_row *r, floats sum, floats bias)
{
    return min_f32(set_f32(r->high), max_f32(set_f32(r->low), sum + bias));
}

/* Pixels i..i + n - 1, of `vectors` whole vectors of channels. */
static inline __attribute__((always_inline)) void block(const ql_depthwise_row *r, size_t i, size_t c, const int n,
                                                        const int vectors)
{
    floats sum[PIXELS][2];
    for (int p = 0; p < n; p++) {
        for (int v = 0; v < vectors; v++)
            sum[p][v] = set_f32(0.0f);
    }
    const float *x = r->x + i * r->x_step + c, *w = r->w + c;
    for (size_t t = 0; t < r->taps; t++, w += r->channels) {
        const float *from = x + r->offset[t];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            const floats weight = load_f32(w + v * LANES);
#pragma GCC unroll 4
            for (int p = 0; p < n; p++)
                sum[p][v] = fma_f32(load_f32(from + (size_t)p * r->x_step + v * LANES), weight, sum[p][v]);
        }
    }
    for (int p = 0; p < n; p++) {
        for (int v = 0; v < vectors; v++)
            store_f32(r->y + (i + (size_t)p) * r->channels + c + v * LANES,
                      clamped(r, sum[p][v], load_f32(r->bias + c + v * LANES)));
    }
}

static inline __attribute__((always_inline)) void blocks(const ql_depthwise_row *r, size_t c, const int vectors)
{
    size_t i = 0;
    for (; i + PIXELS <= r->n; i += PIXELS)
        block(r, i, c, PIXELS, vectors);
    for (; i < r->n; i++)
        block(r, i, c, 1, vectors);
}

/* The last channels, less than a vector. */
static void last_channels(const ql_depthwise_row *r, size_t c)
{
    const size_t left = r->channels - c;
    for (size_t i = 0; i < r->n; i++) {
        floats sum = set_f32(0.0f);
        for (size_t t = 0; t < r->taps; t++)
            sum = fma_f32(load_first_f32(r->x + i * r->x_step + r->offset[t] + c, left),
                          load_first_f32(r->w + t * r->channels + c, left), sum);
        store_first_f32(r->y + i * r->channels + c, left, clamped(r, sum, load_first_f32(r->bias + c, left)));
    }
}

void QL_KERNEL(ql_depthwise_row_f32)(const ql_depthwise_row *r)
{
    size_t c = 0;
    for (; c + 2 * LANES <= r->channels; c += 2 * LANES)
        blocks(r, c, 2);
    for (; c + LANES <= r->channels; c += LANES)
        blocks(r, c, 1);
    if (c < r->channels)
        last_channels(r, c);
}
