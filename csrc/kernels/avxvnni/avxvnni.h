#ifndef QL_AVXVNNI_H
#define QL_AVXVNNI_H

#include "kernels/kernels.h"

QL_DECLARE_KERNELS(avxvnni);

#endif
