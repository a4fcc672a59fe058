/* Sizes that no data stands behind: repeated elements, padding. Memory that the machine does not have may be promised
 * all the same, and taken back by the end of the process when it is written to. */
#include "python/glue.h"

#ifdef _WIN32
static size_t memory_bytes(void)
{
    return SIZE_MAX;
}
#else
#include <unistd.h>

static size_t memory_bytes(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (size_t)pages * (size_t)size : SIZE_MAX;
}
#endif

int ql_py_fits_memory(int ndim, const npy_intp *shape, int typenum, const char *name)
{
    enum { LARGEST = 8, SMALL = 1 << 28 }; /* of an element; what fits any machine, told without a look at the type */
    size_t count = 1;
    bool is_empty = false, is_huge = false;
    for (int i = 0; i < ndim; i++) {
        is_huge |= __builtin_mul_overflow(count, (size_t)shape[i], &count);
        is_empty |= shape[i] == 0;
    }
    if (is_empty || (!is_huge && count <= SMALL / LARGEST))
        return 0;
    PyArray_Descr *descr = PyArray_DescrFromType(typenum);
    const size_t size = (size_t)PyDataType_ELSIZE(descr), memory = memory_bytes();
    const bool fits = size == 0 || (!is_huge && count <= memory / size);
    PyObject *got = fits ? NULL : PyArray_IntTupleFromIntp(ndim, shape);
    if (got)
        PyErr_Format(PyExc_MemoryError, "%s: expected what %zu bytes of memory hold, got shape %S of %S", name, memory,
                     got, (PyObject *)descr);
    Py_XDECREF(got);
    Py_DECREF(descr);
    return fits ? 0 : -1;
}
