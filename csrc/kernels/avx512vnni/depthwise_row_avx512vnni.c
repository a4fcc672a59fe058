#include "kernels/avx512vnni/lanes_avx512vnni.h"

#include "kernels/x86/depthwise_row_x86.h"
