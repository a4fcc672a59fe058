/* Training: steps of optimizers, losses with their gradients. */
#include "python/glue.h"

/* Borrows an array to be written of the shape of `like`, or None: *array is NULL. Returns 0, or -1 with an exception.
 */
static int optional(PyObject *object, PyArrayObject *like, const char *name, PyArrayObject **array)
{
    *array = NULL;
    if (object == Py_None)
        return 0;
    *array = ql_py_writable_f32(object, name);
    return *array ? ql_py_shape(*array, PyArray_NDIM(like), PyArray_DIMS(like), name) : -1;
}

static PyObject *optimize(PyObject *module, PyObject *args)
{
    (void)module;
    static const char *const names[] = {[QL_SGD] = "sgd", [QL_ADAM] = "adam", [QL_RMSPROP] = "rmsprop"};
    const char *name;
    PyObject *parameter_object, *gradient_object, *first_object, *second_object;
    ql_update u;
    int nesterov;
    if (!PyArg_ParseTuple(args, "sOOOO(dddddddddp)", &name, &parameter_object, &gradient_object, &first_object,
                          &second_object, &u.gradient_scale, &u.limit, &u.decay, &u.shrink, &u.rate, &u.momentum,
                          &u.memory, &u.root, &u.epsilon, &nesterov))
        return NULL;
    u.nesterov = nesterov;
    const int optimizer = ql_py_option("optimizer", name, names, sizeof names / sizeof *names);
    PyArrayObject *first, *second, *parameter = ql_py_writable_f32(parameter_object, "parameter");
    if (optimizer < 0 || !parameter)
        return NULL;
    if (optional(first_object, parameter, "first", &first) < 0 ||
        optional(second_object, parameter, "second", &second) < 0)
        return NULL;
    PyArrayObject *gradient = ql_py_exact(gradient_object, NPY_FLOAT32, "gradient");
    if (!gradient || ql_py_shape(gradient, PyArray_NDIM(parameter), PyArray_DIMS(parameter), "gradient") < 0) {
        Py_XDECREF(gradient);
        return NULL;
    }
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_optimize_f32((ql_optimizer)optimizer, &u, PyArray_DATA(parameter), PyArray_DATA(gradient),
                                 ql_py_data(first), ql_py_data(second), (size_t)PyArray_SIZE(parameter));
    Py_END_ALLOW_THREADS
    Py_DECREF(gradient);
    return status == QL_OK ? Py_NewRef(Py_None) : ql_py_raise(status, "first, second");
}

/* Takes labels or probabilities of rows of n classes. A new reference, or NULL with an exception. */
static PyArrayObject *take_targets(PyObject *object, npy_intp rows, npy_intp n, ql_targets *targets)
{
    const bool is_label = PyArray_Check(object) && PyArray_TYPE((PyArrayObject *)object) == NPY_INT32;
    PyArrayObject *array = ql_py_exact(object, is_label ? NPY_INT32 : NPY_FLOAT32, "target");
    const npy_intp shape[] = {rows, n};
    if (array && ql_py_shape(array, is_label ? 1 : 2, shape, "target") < 0)
        Py_CLEAR(array);
    if (array) {
        targets->label = is_label ? PyArray_DATA(array) : NULL;
        targets->probability = is_label ? NULL : PyArray_DATA(array);
    }
    return array;
}

static PyObject *cross_entropy(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *target_object, *share_object, *result = NULL;
    ql_targets targets;
    if (!PyArg_ParseTuple(args, "OOOd", &x_object, &target_object, &share_object, &targets.smoothing))
        return NULL;
    PyArrayObject *target = NULL, *share = NULL, *gradient = NULL, *x = ql_py_exact(x_object, NPY_FLOAT32, "raw");
    if (!x)
        return NULL;
    if (PyArray_NDIM(x) != 2) {
        PyErr_Format(PyExc_ValueError, "raw: expected 2 dimensions, got %d", PyArray_NDIM(x));
        goto done;
    }
    const npy_intp rows = PyArray_DIM(x, 0), n = PyArray_DIM(x, 1);
    if (!(target = take_targets(target_object, rows, n, &targets)) ||
        !(share = ql_py_exact(share_object, NPY_FLOAT32, "share")) || ql_py_vector(share, rows, "share") < 0)
        goto done;
    gradient = (PyArrayObject *)PyArray_SimpleNew(2, PyArray_DIMS(x), NPY_FLOAT32);
    if (!gradient)
        goto done;
    ql_status status;
    double loss;
    Py_BEGIN_ALLOW_THREADS
        status = ql_cross_entropy_f32(PyArray_DATA(x), (size_t)rows, (size_t)n, &targets, PyArray_DATA(share),
                                      PyArray_DATA(gradient), &loss);
    Py_END_ALLOW_THREADS
    result = status == QL_OK ? Py_BuildValue("dO", loss, (PyObject *)gradient) : ql_py_raise(status, "target");
done:
    Py_XDECREF(gradient);
    Py_XDECREF(share);
    Py_XDECREF(target);
    Py_DECREF(x);
    return result;
}

PyMethodDef ql_py_training_methods[] = {
    {"optimize", optimize, METH_VARARGS, NULL},
    {"cross_entropy", cross_entropy, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
