/* Tile 8 x 32: 16 accumulators, enough chains to hide the instruction's latency; one row has two. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"
#include "kernels/tiles.h"

enum { NR = 32, MAX_MR = 8 };

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x32__avx512vnni
#define ROWS QL_ROWS_8

#include "kernels/x86/gemm_f32_add_x86.h"
