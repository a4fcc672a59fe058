#ifndef QL_NEONDOT_H
#define QL_NEONDOT_H

#include "kernels/kernels.h"

QL_DECLARE_KERNELS(neondot);

#endif
