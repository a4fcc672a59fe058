/* Tile 3 x 32: 12 accumulators. */
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/tiles.h"

enum { MAX_MR = 3 };

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x32__avx2
#define ROWS QL_ROWS_3

#include "kernels/x86/gemm_f32_x86.h"
