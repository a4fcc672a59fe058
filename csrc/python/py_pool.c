/* Pooling: max_pool and avg_pool. */
#include "python/glue.h"

typedef ql_status pool_function(const uint8_t *x, const ql_pool *shape, bool is_signed, uint8_t *y);

static PyObject *pool(PyObject *args, pool_function *function)
{
    PyObject *x_object, *out, *result = NULL;
    Py_ssize_t kernel[2], stride[2], before[2], size[2];
    if (!PyArg_ParseTuple(args, "O(nn)(nn)(nn)(nn)O", &x_object, kernel, kernel + 1, stride, stride + 1, before,
                          before + 1, size, size + 1, &out))
        return NULL;
    PyArrayObject *y, *x = ql_py_x8(x_object, "x");
    if (!x)
        return NULL;
    if (PyArray_NDIM(x) != 4) {
        PyErr_Format(PyExc_ValueError, "x: expected 4 dimensions, got %d", PyArray_NDIM(x));
        goto done;
    }
    const npy_intp *in = PyArray_DIMS(x), shape[] = {in[0], size[0], size[1], in[3]};
    y = ql_py_result(out, PyArray_TYPE(x), 4, shape, &x, false);
    if (!y)
        goto done;
    in = PyArray_DIMS(x); /* again: ql_py_result may have replaced x by a copy */
    const ql_pool p = {(size_t)in[0],     (size_t)in[1],     (size_t)in[2],     (size_t)in[3],
                       (size_t)kernel[0], (size_t)kernel[1], (size_t)stride[0], (size_t)stride[1],
                       (size_t)before[0], (size_t)before[1], (size_t)size[0],   (size_t)size[1]};
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = function(PyArray_DATA(x), &p, ql_py_is_signed(x), PyArray_DATA(y));
    Py_END_ALLOW_THREADS
    result = ql_py_give(out, y, status, status == QL_EINVAL ? "size, stride, padding" : "size");
done:
    Py_DECREF(x);
    return result;
}

static PyObject *max_pool(PyObject *module, PyObject *args)
{
    (void)module;
    return pool(args, ql_max_pool_x8);
}

static PyObject *avg_pool(PyObject *module, PyObject *args)
{
    (void)module;
    return pool(args, ql_avg_pool_x8);
}

PyMethodDef ql_py_pool_methods[] = {
    {"max_pool", max_pool, METH_VARARGS, NULL},
    {"avg_pool", avg_pool, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
