#ifndef QL_NEONI8MM_H
#define QL_NEONI8MM_H

#include "kernels/kernels.h"

QL_DECLARE_KERNELS(neoni8mm);

#endif
