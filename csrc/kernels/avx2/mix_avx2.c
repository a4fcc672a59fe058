#include "kernels/avx2/lanes_avx2.h"

#include "kernels/x86/mix_x86.h"
