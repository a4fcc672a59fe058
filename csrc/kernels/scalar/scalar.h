#ifndef QL_SCALAR_H
#define QL_SCALAR_H

#include "kernels/kernels.h"

QL_DECLARE_KERNELS(scalar);

#endif
