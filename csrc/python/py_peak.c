/* What benchmarks hold the products' speed against. */
#include "python/glue.h"

static PyObject *peak(PyObject *module, PyObject *args)
{
    (void)module;
    Py_ssize_t rounds;
    unsigned char a;
    int b;
    if (!PyArg_ParseTuple(args, "nbi", &rounds, &a, &b))
        return NULL;
    if (rounds < 0 || b < INT8_MIN || b > INT8_MAX) {
        PyErr_SetString(PyExc_ValueError, "rounds, b: expected a count and an int8");
        return NULL;
    }
    int32_t sum;
    uint64_t multiply_adds;
    Py_BEGIN_ALLOW_THREADS
        multiply_adds = ql_peak_u8s8s32((size_t)rounds, a, (int8_t)b, &sum);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("Ki", (unsigned long long)multiply_adds, (int)sum);
}

PyMethodDef ql_py_peak_methods[] = {
    {"peak", peak, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
