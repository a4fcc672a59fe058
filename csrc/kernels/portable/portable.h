/* Kernels written once, in plain C that compilers vectorize: compiled with the baseline's flags they are the scalar
 * ones, and once more with the flags of every instruction set whose folder has no file for the same operation.
 *
 * What vectorizes: one loop over neighbours, one store per turn, parameters by an index that is a constant multiple of
 * the loop's, restrict on what is never written through another name, and choices as `?:`. What does not: a division
 * (i / group) for an index, a float minimum over a whole run, a call that is not inlined. */
#ifndef QL_PORTABLE_H
#define QL_PORTABLE_H

#include "kernels/kernels.h"

#ifndef QL_ISA
#define QL_ISA scalar
#endif

#define QL_NAME_FOR(name, isa) name##__##isa
#define QL_EXPANDED_NAME_FOR(name, isa) QL_NAME_FOR(name, isa)

/* ql_<operation>_<types> -> ql_<operation>_<types>__<isa> */
#define QL_KERNEL(name) QL_EXPANDED_NAME_FOR(name, QL_ISA)

#define QL_DECLARE_EXPANDED(isa) QL_DECLARE_KERNELS(isa)
QL_DECLARE_EXPANDED(QL_ISA);

#endif
