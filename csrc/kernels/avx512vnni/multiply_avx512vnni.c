#include "kernels/avx512vnni/lanes_avx512vnni.h"

#include "kernels/x86/multiply_x86.h"
