#include "core/images/transposed_f32.h"

#include "core/base/memory.h"

ql_status ql_transposed_f32_init(const ql_expansion *shape, ql_transposed_f32 *t)
{
    const size_t count[] = {ql_phase_count(shape, 0), ql_phase_count(shape, 1)};
    bool is_there = true;
    *t = (ql_transposed_f32){.shape = *shape,
                             .windows = {ql_phase_windows_of(shape, 0), ql_phase_windows_of(shape, 1)},
                             .phases = calloc(count[0] * count[1], sizeof *t->phases)};
    if (!t->phases)
        return QL_ENOMEM;
    for (t->count = 0; t->count < count[0] * count[1] && is_there; t->count++) {
        ql_filter_f32 *f = t->phases + t->count;
        const size_t sizes[] = {ql_phase_stretch(shape, 0, t->windows, t->count / count[1]).count,
                                ql_phase_stretch(shape, 1, t->windows + 1, t->count % count[1]).count, shape->in,
                                shape->channels};
        ql_filter_f32_begin(f, sizes, 1);
        f->weight = ql_alloc(ql_filter_f32_size(f), sizeof *f->weight);
        f->bias = ql_alloc(f->out, sizeof *f->bias);
        is_there = f->weight && f->bias;
    }
    if (!is_there)
        ql_transposed_f32_free(t);
    return is_there ? QL_OK : QL_ENOMEM;
}

void ql_transposed_f32_free(ql_transposed_f32 *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->phases[i].weight);
        free(t->phases[i].bias);
    }
    free(t->phases);
    *t = (ql_transposed_f32){.phases = NULL};
}

size_t ql_transposed_f32_bytes(const ql_transposed_f32 *t)
{
    size_t size = 0;
    for (size_t i = 0; i < t->count; i++)
        size += ql_filter_f32_size(t->phases + i);
    return size * sizeof(float);
}

void ql_transposed_f32_clear(ql_transposed_f32 *t, const float *bias, ql_clamps clamps)
{
    for (size_t i = 0; i < t->count; i++) {
        ql_filter_f32_clear(t->phases + i, bias);
        t->phases[i].clamps = clamps;
    }
}

void ql_transposed_f32_put(ql_transposed_f32 *t, size_t p, const float *row)
{
    const ql_expansion *shape = &t->shape;
    const size_t tap = p / shape->in;
    size_t y, x, i, j;
    if (!ql_phase_of_tap(shape, 0, t->windows, tap / shape->kernel[1], &y, &i) ||
        !ql_phase_of_tap(shape, 1, t->windows + 1, tap % shape->kernel[1], &x, &j))
        return;
    ql_filter_f32 *f = t->phases + y * ql_phase_count(shape, 1) + x;
    i -= ql_phase_stretch(shape, 0, t->windows, y).first;
    j -= ql_phase_stretch(shape, 1, t->windows + 1, x).first;
    ql_filter_f32_put(f, (i * f->kernel[1] + j) * shape->in + p % shape->in, row);
}

/* The windows that blocks are made of. */
static ql_image_windows windows_of(const ql_transposed_f32 *t, size_t images)
{
    const ql_expansion *shape = &t->shape;
    return (ql_image_windows){.count = images,
                              .height = shape->height,
                              .width = shape->width,
                              .channels = shape->in,
                              .kernel = {t->windows[0].size, t->windows[1].size},
                              .window = {.stride = {1, 1},
                                         .dilation = {1, 1},
                                         .before = {t->windows[0].before, t->windows[1].before},
                                         .out = {ql_phase_blocks(shape, 0, 0), ql_phase_blocks(shape, 1, 0)}}};
}

static size_t offsets_bytes(const ql_transposed_f32 *t)
{
    return ql_round_up(t->windows[0].size * sizeof(size_t), QL_ALIGNMENT);
}

bool ql_transposed_f32_workspace(const ql_transposed_f32 *t, size_t images, size_t *bytes)
{
    const ql_image_windows windows = windows_of(t, images);
    ql_image_stage s;
    size_t copy;
    return ql_image_stage_plan(&windows, 1, &s, &copy) && !__builtin_add_overflow(copy, offsets_bytes(t), bytes);
}

static uint64_t phase_ns(const ql_transposed_f32 *t, size_t images, size_t i)
{
    const ql_image_windows windows = windows_of(t, images);
    return ql_conv_f32_cost_ns(&windows, t->phases + i);
}

uint64_t ql_transposed_f32_cost_ns(const ql_transposed_f32 *t, size_t images)
{
    uint64_t ns = 0;
    for (size_t i = 0; i < t->count; i++)
        ns += phase_ns(t, images, i);
    return ns;
}

/* Computes a phase for the stage's windows. */
static void run_phase(const ql_transposed_f32 *t, const ql_image_stage *s, size_t i, size_t *offset, float *y,
                      uint64_t cost_ns)
{
    const ql_expansion *shape = &t->shape;
    const size_t count = ql_phase_count(shape, 1), at[] = {i / count, i % count};
    const size_t row = shape->out[1] * shape->channels;
    const size_t from[] = {ql_phase_stretch(shape, 0, t->windows, at[0]).first,
                           ql_phase_stretch(shape, 1, t->windows + 1, at[1]).first};
    ql_products_f32 p = {.stage = s,
                         .segments = {.offset = offset},
                         .f = t->phases + i,
                         .from = from[0] * s->row + from[1] * s->pixel,
                         .out = {ql_phase_blocks(shape, 0, at[0]), ql_phase_blocks(shape, 1, at[1])},
                         .y = y + at[0] * row + at[1] * shape->channels,
                         .image = shape->out[0] * row,
                         .row = shape->stride[0] * row,
                         .pixel = shape->stride[1] * shape->channels};
    ql_image_stage_segments(s, 1, p.f->kernel, &p.segments);
    ql_products_f32_run(&p, cost_ns);
}

void ql_transposed_f32_run(const ql_transposed_f32 *t, const float *x, size_t images, float *y, void *workspace)
{
    const ql_image_windows windows = windows_of(t, images);
    ql_image_stage s;
    size_t copy_bytes;
    if (images == 0 || !ql_image_stage_plan(&windows, 1, &s, &copy_bytes))
        return;
    s.x = x;
    s.copy = copy_bytes ? (float *)((char *)workspace + offsets_bytes(t)) : NULL;
    const uint64_t all_ns = ql_transposed_f32_cost_ns(t, images), rows = s.shape.count * s.shape.window.out[0];
    while (ql_image_stage_next(&s, all_ns * ql_least(rows, s.images * s.rows) / rows)) {
        for (size_t i = 0; i < t->count; i++)
            run_phase(t, &s, i, workspace, y, phase_ns(t, images, i) * ql_image_stage_rows(&s) / rows);
    }
}
