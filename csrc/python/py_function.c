/* Functions of floats and the gradients through them. Arguments are taken one by one: in a step of training a call's
 * own cost counts. */
#include "python/glue.h"

static int take_function(PyObject *name_object, PyObject *slope, ql_function *function)
{
    const char *name = PyUnicode_Check(name_object) ? PyUnicode_AsUTF8(name_object) : NULL;
    if (PyErr_Occurred())
        return -1;
    if ((!name && name_object != Py_None) || !ql_function_from_name(name, &function->kind)) {
        PyErr_Format(PyExc_ValueError, "function: expected None or the name of a function, got %R", name_object);
        return -1;
    }
    function->slope = (float)PyFloat_AsDouble(slope);
    return PyErr_Occurred() ? -1 : 0;
}

static size_t row_length(PyArrayObject *array)
{
    return PyArray_NDIM(array) ? (size_t)PyArray_DIM(array, PyArray_NDIM(array) - 1) : 1;
}

static size_t row_count(PyArrayObject *array)
{
    const size_t n = row_length(array);
    return n ? (size_t)PyArray_SIZE(array) / n : 0;
}

/* Arguments: x, function, slope, out. */
static PyObject *apply(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    ql_function function;
    if (ql_py_count("apply", count, 4) < 0 || take_function(args[1], args[2], &function) < 0)
        return NULL;
    PyArrayObject *x = ql_py_f32(args[0], "x");
    if (!x)
        return NULL;
    PyArrayObject *y = ql_py_result(args[3], NPY_FLOAT32, PyArray_NDIM(x), PyArray_DIMS(x), &x, true);
    if (y) {
        Py_BEGIN_ALLOW_THREADS
            ql_apply_f32(PyArray_DATA(x), row_count(x), row_length(x), NULL, function, PyArray_DATA(y));
        Py_END_ALLOW_THREADS
    }
    Py_DECREF(x);
    return y ? ql_py_finish(args[3], y) : NULL;
}

/* Arguments: y, bias, function, slope. */
static PyObject *apply_bias(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    ql_function function;
    if (ql_py_count("apply_bias", count, 4) < 0 || take_function(args[2], args[3], &function) < 0)
        return NULL;
    PyArrayObject *bias, *y = ql_py_writable_f32(args[0], "y");
    if (!y || !(bias = ql_py_exact(args[1], NPY_FLOAT32, "bias")))
        return NULL;
    if (ql_py_vector(bias, (npy_intp)row_length(y), "bias") < 0 || ql_py_separate(y, &bias) < 0) {
        Py_DECREF(bias);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
        ql_apply_f32(PyArray_DATA(y), row_count(y), row_length(y), PyArray_DATA(bias), function, PyArray_DATA(y));
    Py_END_ALLOW_THREADS
    Py_DECREF(bias);
    return Py_NewRef(args[0]);
}

/* Arguments: gradient, z, function, slope, out. z is None for None. */
static PyObject *function_gradient(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    ql_function function;
    if (ql_py_count("function_gradient", count, 5) < 0 || take_function(args[2], args[3], &function) < 0)
        return NULL;
    PyArrayObject *gradient = ql_py_writable_f32(args[0], "gradient"), *z = NULL, *none = NULL;
    if (!gradient)
        return NULL;
    if (function.kind != QL_IDENTITY) {
        z = ql_py_exact(args[1], NPY_FLOAT32, "z");
        if (!z || ql_py_shape(z, PyArray_NDIM(gradient), PyArray_DIMS(gradient), "z") < 0 ||
            ql_py_separate(gradient, &z) < 0) {
            Py_XDECREF(z);
            return NULL;
        }
    }
    const npy_intp n = (npy_intp)row_length(gradient);
    PyArrayObject *sums = ql_py_result(args[4], NPY_FLOAT32, 1, &n, &none, false);
    if (sums) {
        Py_BEGIN_ALLOW_THREADS
            ql_function_gradient_f32(ql_py_data(z), row_count(gradient), (size_t)n, function, PyArray_DATA(gradient),
                                     PyArray_DATA(sums));
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(z);
    return sums ? ql_py_finish(args[4], sums) : NULL;
}

#define FAST(function) {#function, (PyCFunction)(void (*)(void))function, METH_FASTCALL, NULL}

PyMethodDef ql_py_function_methods[] = {
    FAST(apply),
    FAST(apply_bias),
    FAST(function_gradient),
    {NULL, NULL, 0, NULL},
};
