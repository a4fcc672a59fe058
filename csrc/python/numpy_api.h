/* Python and NumPy, once for all glue files; module.c defines QL_IMPORT_NUMPY and calls import_array(). */
#ifndef QL_NUMPY_API_H
#define QL_NUMPY_API_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL ql_numpy_api
#ifndef QL_IMPORT_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#endif
