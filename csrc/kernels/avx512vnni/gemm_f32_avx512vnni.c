/* Tile 6 x 64: 24 accumulators. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"
#include "kernels/tiles.h"

enum { MAX_MR = 6 };

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x64__avx512vnni
#define ROWS QL_ROWS_6

#include "kernels/x86/gemm_f32_x86.h"
