#ifndef QL_AMXINT8_H
#define QL_AMXINT8_H

#include "kernels/kernels.h"

QL_DECLARE_KERNELS(amxint8);

#endif
