/* Tile 6 x 16: 12 accumulators, enough chains to hide the instruction's latency; one row has two. */
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/tiles.h"

enum { NR = 16, MAX_MR = 6 };

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x16__avx2
#define ROWS QL_ROWS_6

#include "kernels/x86/gemm_f32_add_x86.h"
