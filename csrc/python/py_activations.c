/* Functions of codes: lookup and softmax. */
#include "python/glue.h"

static PyObject *lookup(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *codes_object, *table_object, *out, *result = NULL;
    if (!PyArg_ParseTuple(args, "OOO", &codes_object, &table_object, &out))
        return NULL;
    PyArrayObject *y, *table = NULL, *codes = ql_py_x8(codes_object, "codes");
    if (!codes || !(table = ql_py_x8(table_object, "table")))
        goto done;
    if (ql_py_vector(table, 256, "table") < 0)
        goto done;
    y = ql_py_result(out, PyArray_TYPE(table), PyArray_NDIM(codes), PyArray_DIMS(codes), &codes, true);
    if (!y)
        goto done;
    if (ql_py_separate(y, &table) < 0) {
        PyArray_DiscardWritebackIfCopy(y);
        Py_DECREF(y);
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
        ql_lookup_x8(PyArray_DATA(codes), (size_t)PyArray_SIZE(codes), PyArray_DATA(table), PyArray_DATA(y));
    Py_END_ALLOW_THREADS
    result = ql_py_finish(out, y);
done:
    Py_XDECREF(table);
    Py_XDECREF(codes);
    return result;
}

static PyObject *softmax(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *codes_object, *out, *result = NULL;
    float scale, beta;
    int fixed;
    if (!PyArg_ParseTuple(args, "OffpO", &codes_object, &scale, &beta, &fixed, &out))
        return NULL;
    PyArrayObject *y, *codes = ql_py_x8(codes_object, "x");
    if (!codes)
        return NULL;
    if (PyArray_NDIM(codes) == 0) {
        PyErr_SetString(PyExc_ValueError, "x: expected at least 1 dimension, got 0");
        goto done;
    }
    y = ql_py_result(out, PyArray_TYPE(codes), PyArray_NDIM(codes), PyArray_DIMS(codes), &codes, true);
    if (!y)
        goto done;
    const size_t n = (size_t)PyArray_DIM(codes, PyArray_NDIM(codes) - 1);
    const size_t rows = n ? (size_t)PyArray_SIZE(codes) / n : 0;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_softmax_x8(PyArray_DATA(codes), rows, n, ql_py_is_signed(codes), scale, beta,
                               fixed ? QL_SOFTMAX_FIXED : QL_SOFTMAX_FLOAT, PyArray_DATA(y));
    Py_END_ALLOW_THREADS
    result = ql_py_give(out, y, status, status == QL_EINVAL ? "scale, beta" : "x");
done:
    Py_DECREF(codes);
    return result;
}

PyMethodDef ql_py_activations_methods[] = {
    {"lookup", lookup, METH_VARARGS, NULL},
    {"softmax", softmax, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
