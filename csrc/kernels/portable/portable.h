/* Kernels written once, in plain C that compilers vectorize: compiled with the baseline's flags they are the scalar
 * ones, and once more with the flags of every instruction set whose folder has no file for the same operation.
 *
 * What GCC 12 vectorizes: a loop over neighbours with `restrict` on what no store may touch, choices as `?:` or `&`,
 * rintf, and parameters at i * step in a function that is inlined once for step 1 (each its own) and once for step 0
 * (one for all). What it does not: i / group, `&&`, floorf and truncf, a float minimum over a whole run. */
#ifndef QL_PORTABLE_H
#define QL_PORTABLE_H

#include "kernels/kernels.h"

#define QL_DECLARE_EXPANDED(isa) QL_DECLARE_KERNELS(isa)
QL_DECLARE_EXPANDED(QL_ISA);

#endif
