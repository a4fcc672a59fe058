/* Sums of the values that share a parameter, over any layout. */
#include <string.h>

#include "core/base/layout.h"
#include "kernels/kernels.h"

void ql_moments_f32(const float *x, const ql_layout *layout, double *sum, double *square, double *magnitude)
{
    const ql_kernels *kernels = ql_kernels_active();
    const size_t parameters = ql_layout_parameters(layout);
    memset(sum, 0, parameters * sizeof *sum);
    memset(square, 0, parameters * sizeof *square);
    memset(magnitude, 0, parameters * sizeof *magnitude);
    for (size_t i = 0; i < ql_run_count(layout); i++) {
        ql_run run = ql_run_at(layout, i);
        kernels->add_moments_f32(x + run.offset, run.length, run.group, sum + run.parameter, square + run.parameter,
                                 magnitude + run.parameter);
    }
}
