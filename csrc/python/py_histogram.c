/* State of a calibrator: a structured array with one ql_histogram per channel, and its counts. */
#include "python/glue.h"

PyArrayObject *ql_py_state(PyObject *object, const char *name)
{
    if (!PyArray_Check(object) || PyArray_ITEMSIZE((PyArrayObject *)object) != (npy_intp)sizeof(ql_histogram) ||
        PyArray_TYPE((PyArrayObject *)object) != NPY_VOID || !PyArray_ISCARRAY((PyArrayObject *)object)) {
        PyErr_Format(PyExc_TypeError, "%s: expected a contiguous array of HISTOGRAM_DTYPE", name);
        return NULL;
    }
    return (PyArrayObject *)object;
}

PyArrayObject *ql_py_counts(PyObject *object, PyArrayObject *state, const char *name)
{
    PyArrayObject *counts = (PyArrayObject *)object;
    if (!PyArray_Check(object) || PyArray_TYPE(counts) != NPY_INT64 || !PyArray_ISCARRAY(counts) ||
        PyArray_NDIM(counts) != 2 || PyArray_DIM(counts, 0) != PyArray_SIZE(state)) {
        PyErr_Format(PyExc_TypeError, "%s: expected contiguous int64 counts of shape (%zd, bins)", name,
                     PyArray_SIZE(state));
        return NULL;
    }
    return counts;
}

static PyObject *histogram_clear(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *state_object, *counts_object;
    if (!PyArg_ParseTuple(args, "OO", &state_object, &counts_object))
        return NULL;
    PyArrayObject *state = ql_py_state(state_object, "state");
    PyArrayObject *counts = state ? ql_py_counts(counts_object, state, "counts") : NULL;
    if (!counts)
        return NULL;
    ql_status status = ql_histogram_clear(PyArray_DATA(state), PyArray_DATA(counts), (size_t)PyArray_SIZE(state),
                                          (size_t)PyArray_DIM(counts, 1));
    if (status != QL_OK)
        return ql_py_raise(status, "counts");
    Py_RETURN_NONE;
}

static PyObject *histogram_update(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *state_object, *counts_object;
    int axis;
    const char *name = "x";
    if (!PyArg_ParseTuple(args, "OiOO|s", &x_object, &axis, &state_object, &counts_object, &name))
        return NULL;
    PyArrayObject *state = ql_py_state(state_object, "state");
    PyArrayObject *counts = state ? ql_py_counts(counts_object, state, "counts") : NULL;
    PyArrayObject *x = counts ? ql_py_f32_dense(x_object, name) : NULL;
    ql_layout layout;
    if (!x)
        return NULL;
    if (ql_py_axis_layout(x, axis, &layout) < 0) {
        Py_DECREF(x);
        return NULL;
    }
    npy_intp channels = axis < 0 ? 1 : PyArray_DIM(x, axis);
    if (channels != PyArray_SIZE(state)) {
        PyErr_Format(PyExc_ValueError, "%s: expected %zd channels along axis %d, got %zd", name, PyArray_SIZE(state),
                     axis, channels);
        Py_DECREF(x);
        return NULL;
    }
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_histogram_update(PyArray_DATA(x), &layout, PyArray_DATA(state), PyArray_DATA(counts),
                                     (size_t)PyArray_DIM(counts, 1));
    Py_END_ALLOW_THREADS
    Py_DECREF(x);
    if (status != QL_OK)
        return ql_py_raise(status, name);
    Py_RETURN_NONE;
}

static PyObject *histogram_merge(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *objects[4];
    if (!PyArg_ParseTuple(args, "OOOO", &objects[0], &objects[1], &objects[2], &objects[3]))
        return NULL;
    PyArrayObject *state = ql_py_state(objects[0], "state"), *other = state ? ql_py_state(objects[2], "other") : NULL;
    PyArrayObject *counts = other ? ql_py_counts(objects[1], state, "counts") : NULL;
    PyArrayObject *other_counts = counts ? ql_py_counts(objects[3], other, "other counts") : NULL;
    if (!other_counts)
        return NULL;
    size_t bins = (size_t)PyArray_DIM(counts, 1);
    if (PyArray_SIZE(state) != PyArray_SIZE(other) || PyArray_DIM(other_counts, 1) != (npy_intp)bins) {
        PyErr_SetString(PyExc_ValueError, "other: expected as many channels and bins");
        return NULL;
    }
    ql_status status = ql_histogram_merge(PyArray_DATA(state), PyArray_DATA(counts), PyArray_DATA(other),
                                          PyArray_DATA(other_counts), (size_t)PyArray_SIZE(state), bins);
    if (status != QL_OK)
        return ql_py_raise(status, "other");
    Py_RETURN_NONE;
}

PyMethodDef ql_py_histogram_methods[] = {
    {"histogram_clear", histogram_clear, METH_VARARGS, NULL},
    {"histogram_update", histogram_update, METH_VARARGS, NULL},
    {"histogram_merge", histogram_merge, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
