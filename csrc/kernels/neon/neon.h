#ifndef QL_NEON_H
#define QL_NEON_H

#include "kernels/kernels.h"

QL_DECLARE_KERNELS(neon);

#endif
