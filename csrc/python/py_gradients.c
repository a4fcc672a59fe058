/* Gradients through grids: quantize_gradient and requantize_gradient. They write over the gradient that they take. */
#include "python/glue.h"

/* Borrows the elements of an array to be written, of this shape; NULL with an exception. */
static float *writable(PyObject *object, int ndim, const npy_intp *shape, const char *name)
{
    PyArrayObject *array = ql_py_writable_f32(object, name);
    return array && ql_py_shape(array, ndim, shape, name) == 0 ? PyArray_DATA(array) : NULL;
}

/* Takes the matrix x and the gradient of its shape. Returns a new reference to x, or NULL with an exception. */
static PyArrayObject *matrix(PyObject *object, int typenum, const char *name, PyObject *gradient_object,
                             float **gradient)
{
    PyArrayObject *x = ql_py_exact(object, typenum, name);
    if (!x)
        return NULL;
    if (PyArray_NDIM(x) != 2 || PyArray_SIZE(x) == 0) {
        PyErr_Format(PyExc_ValueError, "%s: expected a matrix that is not empty", name);
        Py_CLEAR(x);
    } else if (!(*gradient = writable(gradient_object, 2, PyArray_DIMS(x), "gradient"))) {
        Py_CLEAR(x);
    }
    return x;
}

static PyObject *quantize_gradient(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *gradient_object, *scale_object, *zero_point_object, *scale_gradient_object, *result = NULL;
    int group, qmin, qmax, moves_inside;
    if (!PyArg_ParseTuple(args, "OOOOiiipO", &x_object, &gradient_object, &scale_object, &zero_point_object, &group,
                          &qmin, &qmax, &moves_inside, &scale_gradient_object))
        return NULL;
    float *gradient, *scale_gradient;
    PyArrayObject *scale = NULL, *zero_point = NULL,
                  *x = matrix(x_object, NPY_FLOAT32, "x", gradient_object, &gradient);
    if (!x)
        return NULL;
    const npy_intp rows = PyArray_DIM(x, 0), cols = PyArray_DIM(x, 1);
    if (group < 1) {
        PyErr_Format(PyExc_ValueError, "group_size: expected at least 1, got %d", group);
        goto done;
    }
    const npy_intp shape[] = {rows / group + (rows % group != 0), cols};
    if (!(scale = ql_py_exact(scale_object, NPY_FLOAT32, "scale")) || ql_py_shape(scale, 2, shape, "scale") < 0 ||
        !(zero_point = ql_py_exact(zero_point_object, NPY_INT32, "zero_point")) ||
        ql_py_shape(zero_point, 2, shape, "zero_point") < 0 ||
        !(scale_gradient = writable(scale_gradient_object, 2, shape, "scale_gradient")))
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status =
            ql_quantize_gradient_f32(PyArray_DATA(x), (size_t)rows, (size_t)cols, (size_t)group, PyArray_DATA(scale),
                                     PyArray_DATA(zero_point), qmin, qmax, moves_inside, gradient, scale_gradient);
    Py_END_ALLOW_THREADS
    result = status == QL_OK ? Py_NewRef(Py_None) : ql_py_raise(status, "scale");
done:
    Py_XDECREF(zero_point);
    Py_XDECREF(scale);
    Py_DECREF(x);
    return result;
}

static PyObject *requantize_gradient(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *sums_object, *gradient_object, *multiplier_object, *column_sum_object, *result = NULL;
    ql_steps_range range;
    int moves_inside;
    if (!PyArg_ParseTuple(args, "OOO(ffff)pO", &sums_object, &gradient_object, &multiplier_object, &range.low,
                          &range.high, &range.floor, &range.ceiling, &moves_inside, &column_sum_object))
        return NULL;
    float *gradient, *column_sum;
    PyArrayObject *multiplier = NULL, *sums = matrix(sums_object, NPY_INT32, "sums", gradient_object, &gradient);
    if (!sums)
        return NULL;
    const npy_intp rows = PyArray_DIM(sums, 0), cols = PyArray_DIM(sums, 1);
    if (!(multiplier = ql_py_exact(multiplier_object, NPY_FLOAT32, "multiplier")) ||
        ql_py_vector(multiplier, cols, "multiplier") < 0 ||
        !(column_sum = writable(column_sum_object, 1, &cols, "column_sum")))
        goto done;
    ql_status status;
    double scale_gradient;
    Py_BEGIN_ALLOW_THREADS
        status = ql_requantize_gradient_s32(PyArray_DATA(sums), (size_t)rows, (size_t)cols, PyArray_DATA(multiplier),
                                            &range, moves_inside, gradient, column_sum, &scale_gradient);
    Py_END_ALLOW_THREADS
    result = status == QL_OK ? PyFloat_FromDouble(scale_gradient) : ql_py_raise(status, "range");
done:
    Py_XDECREF(multiplier);
    Py_DECREF(sums);
    return result;
}

PyMethodDef ql_py_gradients_methods[] = {
    {"quantize_gradient", quantize_gradient, METH_VARARGS, NULL},
    {"requantize_gradient", requantize_gradient, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
