/* Tables without kernels for the dispatcher: with them it can be built alone, and asked about tiles. */
#include "kernels/amxint8/amxint8.h"
#include "kernels/scalar/scalar.h"

const ql_kernels ql_kernels_scalar = {.isa = "scalar"};
const ql_kernels ql_kernels_amxint8 = {.isa = "amxint8", .parent = &ql_kernels_scalar};
