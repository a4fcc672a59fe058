/* Weights into panels, and sums over these: one loop for each depth of a group. */
#include "kernels/portable/portable.h"

#include <string.h>

static inline __attribute__((always_inline)) void pack(const uint8_t *restrict b, size_t b_stride, size_t k,
                                                       size_t cols, uint8_t flip, size_t nr, const size_t kr,
                                                       int8_t *restrict panel)
{
    for (size_t p = 0; p < k; p += kr, b += kr * b_stride, panel += nr * kr) {
        const size_t rows = k - p < kr ? k - p : kr;
        if (rows < kr || cols < nr)
            memset(panel, 0, nr * kr);
        for (size_t q = 0; q < rows; q++) {
            for (size_t j = 0; j < cols; j++)
                panel[j * kr + q] = (int8_t)(b[q * b_stride + j] ^ flip);
        }
    }
}

void QL_KERNEL(ql_pack_panel_x8)(const uint8_t *b, size_t b_stride, size_t k, size_t cols, uint8_t flip, size_t nr,
                                 size_t kr, int8_t *panel)
{
    if (kr == 1)
        pack(b, b_stride, k, cols, flip, nr, 1, panel);
    else if (kr == 2)
        pack(b, b_stride, k, cols, flip, nr, 2, panel);
    else if (kr == 4)
        pack(b, b_stride, k, cols, flip, nr, 4, panel);
    else
        pack(b, b_stride, k, cols, flip, nr, 8, panel);
}

static inline __attribute__((always_inline)) void sum(const int8_t *restrict panel, size_t groups, size_t nr,
                                                      const size_t kr, const int32_t *restrict zero_point,
                                                      int32_t *restrict total, int32_t *restrict reach)
{
    for (size_t g = 0; g < groups; g++, panel += nr * kr) {
        for (size_t j = 0; j < nr; j++) {
            int32_t codes = 0, distances = 0;
            for (size_t q = 0; q < kr; q++) {
                const int32_t code = panel[j * kr + q], distance = code - zero_point[j];
                codes += code;
                distances += distance < 0 ? -distance : distance;
            }
            total[j] += codes;
            reach[j] += distances;
        }
    }
}

void QL_KERNEL(ql_sum_panel_s8)(const int8_t *panel, size_t groups, size_t nr, size_t kr, const int32_t *zero_point,
                                int32_t *total, int32_t *reach)
{
    if (kr == 1)
        sum(panel, groups, nr, 1, zero_point, total, reach);
    else if (kr == 2)
        sum(panel, groups, nr, 2, zero_point, total, reach);
    else if (kr == 4)
        sum(panel, groups, nr, 4, zero_point, total, reach);
    else
        sum(panel, groups, nr, 8, zero_point, total, reach);
}
