/* Quantizing rows at run time, shared by ql_linear and the program. */
#ifndef QL_LINEAR_H
#define QL_LINEAR_H

#include "kernels/kernels.h"
#include "qlite.h"

/* Row i of x[m][k] gets scale[i], zero_point[i] from its own range; codes[m][k] are u8. Infinities count as
 * the greatest floats, NaN becomes the zero point. Returns whether there was one or the other. */
bool ql_quantize_rows(const ql_kernels *kernels, const float *x, size_t m, size_t k, float *scale, int32_t *zero_point,
                      uint8_t *codes);

#endif
