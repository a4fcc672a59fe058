#include "kernels/avx512vnni/lanes_avx512vnni.h"

#include "kernels/x86/mix_x86.h"
