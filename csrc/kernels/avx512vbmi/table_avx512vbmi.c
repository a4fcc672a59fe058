#include "kernels/avx512vbmi/avx512vbmi.h"
#include "kernels/avx512vnni/avx512vnni.h"

const ql_kernels ql_kernels_avx512vbmi = {
    .isa = "avx512vbmi",
    .parent = &ql_kernels_avx512vnni,
    .lookup_x8 = ql_lookup_x8__avx512vbmi,
};
