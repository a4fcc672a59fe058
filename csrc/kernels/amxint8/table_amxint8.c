#include "kernels/amxint8/amxint8.h"
#include "kernels/avx512vbmi/avx512vbmi.h"

const ql_kernels ql_kernels_amxint8 = {
    .isa = "amxint8",
    .parent = &ql_kernels_avx512vbmi,
};
