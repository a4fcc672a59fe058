/* Choice of ranges and codebooks: range_qparams, histogram_range, sorted_range, histogram_codebook, sorted_codebook. */
#include "python/glue.h"

static int take_method(const char *name)
{
    static const char *const options[] = {"percentile", "mse", "entropy"};
    return ql_py_option("method", name, options, 3);
}

static int take_kind(const char *name)
{
    static const char *const options[] = {"kmeans", "quantile"};
    return ql_py_option("kind", name, options, 2);
}

/* Fills in the scale type and the codebook; *array is the reference that keeps the codebook alive, or NULL. Returns 0,
 * or -1 with an exception. */
static int take_grid(ql_grid *grid, const char *scale_type, PyObject *codebook, PyArrayObject **array)
{
    static const char *const options[] = {"float32", "float16", "e8m0"};
    const int type = ql_py_option("scale_type", scale_type, options, 3);
    *array = NULL;
    if (type < 0)
        return -1;
    grid->scale_type = (ql_scale_type)type;
    if (codebook == Py_None)
        return 0;
    *array = ql_py_exact(codebook, NPY_FLOAT32, "codebook");
    if (!*array)
        return -1;
    grid->codebook = PyArray_DATA(*array);
    grid->entries = (size_t)PyArray_SIZE(*array);
    return 0;
}

static PyObject *raise_choice(ql_status status, const char *argument)
{
    if (status == QL_EINVAL)
        return PyErr_Format(PyExc_ValueError,
                            "%s: expected values that a grid of these codes, codebook and scale_dtype can hold",
                            argument);
    return ql_py_raise(status, argument);
}

static PyObject *range_qparams(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *low_object, *high_object, *codebook_object = Py_None, *result = NULL;
    const char *scale_type = "float32";
    int symmetric;
    ql_grid grid = {0};
    if (!PyArg_ParseTuple(args, "OOiip|sO", &low_object, &high_object, &grid.qmin, &grid.qmax, &symmetric, &scale_type,
                          &codebook_object))
        return NULL;
    grid.symmetric = symmetric;
    PyArrayObject *scale = NULL, *zero_point = NULL, *high = NULL, *codebook;
    PyArrayObject *low = ql_py_exact(low_object, NPY_FLOAT32, "low");
    if (take_grid(&grid, scale_type, codebook_object, &codebook) < 0 || !low ||
        !(high = ql_py_exact(high_object, NPY_FLOAT32, "high")))
        goto done;
    if (PyArray_SIZE(low) != PyArray_SIZE(high)) {
        PyErr_Format(PyExc_ValueError, "high: expected as many elements as low (%zd), got %zd", PyArray_SIZE(low),
                     PyArray_SIZE(high));
        goto done;
    }
    scale = (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(low), PyArray_DIMS(low), NPY_FLOAT32);
    zero_point = (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(low), PyArray_DIMS(low), NPY_INT32);
    if (!scale || !zero_point)
        goto done;
    ql_status status = ql_ranges_qparams(PyArray_DATA(low), PyArray_DATA(high), (size_t)PyArray_SIZE(low), &grid,
                                         PyArray_DATA(scale), PyArray_DATA(zero_point));
    result = status == QL_OK ? PyTuple_Pack(2, (PyObject *)scale, (PyObject *)zero_point)
                             : raise_choice(status, "low, high");
done:
    Py_XDECREF(codebook);
    Py_XDECREF(zero_point);
    Py_XDECREF(scale);
    Py_XDECREF(high);
    Py_XDECREF(low);
    return result;
}

static PyObject *histogram_range(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *state_object, *counts_object, *codebook_object = Py_None, *result = NULL;
    const char *method_name, *scale_type = "float32";
    int symmetric;
    double percentile;
    ql_grid grid = {0};
    if (!PyArg_ParseTuple(args, "OOsdiip|sO", &state_object, &counts_object, &method_name, &percentile, &grid.qmin,
                          &grid.qmax, &symmetric, &scale_type, &codebook_object))
        return NULL;
    grid.symmetric = symmetric;
    PyArrayObject *state = ql_py_state(state_object, "state"), *low = NULL, *high = NULL, *codebook = NULL;
    PyArrayObject *counts = state ? ql_py_counts(counts_object, state, "counts") : NULL;
    const int method = counts ? take_method(method_name) : -1;
    if (method < 0 || take_grid(&grid, scale_type, codebook_object, &codebook) < 0)
        goto done;
    npy_intp channels = PyArray_SIZE(state);
    low = (PyArrayObject *)PyArray_SimpleNew(1, &channels, NPY_FLOAT32);
    high = (PyArrayObject *)PyArray_SimpleNew(1, &channels, NPY_FLOAT32);
    if (!low || !high)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_histogram_range(PyArray_DATA(state), PyArray_DATA(counts), (size_t)channels,
                                    (size_t)PyArray_DIM(counts, 1), (ql_range_method)method, percentile, &grid,
                                    PyArray_DATA(low), PyArray_DATA(high));
    Py_END_ALLOW_THREADS
    result = status == QL_OK ? PyTuple_Pack(2, (PyObject *)low, (PyObject *)high)
                             : raise_choice(status, "state, percentile");
done:
    Py_XDECREF(codebook);
    Py_XDECREF(high);
    Py_XDECREF(low);
    return result;
}

/* Returns a new reference to float32 rows, or NULL with an exception. */
static PyArrayObject *take_rows(PyObject *object)
{
    PyArrayObject *x = ql_py_exact(object, NPY_FLOAT32, "x");
    if (x && (PyArray_NDIM(x) != 2 || PyArray_DIM(x, 1) == 0)) {
        PyErr_Format(PyExc_ValueError, "x: expected rows of values, got %d dimensions and %zd elements",
                     PyArray_NDIM(x), PyArray_SIZE(x));
        Py_CLEAR(x);
    }
    return x;
}

static PyObject *sorted_range(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *codebook_object = Py_None, *result = NULL;
    const char *method_name, *scale_type = "float32";
    int symmetric;
    double percentile;
    ql_grid grid = {0};
    if (!PyArg_ParseTuple(args, "Osdiip|sO", &x_object, &method_name, &percentile, &grid.qmin, &grid.qmax, &symmetric,
                          &scale_type, &codebook_object))
        return NULL;
    grid.symmetric = symmetric;
    PyArrayObject *x = take_rows(x_object), *low = NULL, *high = NULL, *codebook = NULL;
    const int method = x ? take_method(method_name) : -1;
    if (method < 0 || take_grid(&grid, scale_type, codebook_object, &codebook) < 0)
        goto done;
    low = (PyArrayObject *)PyArray_SimpleNew(1, PyArray_DIMS(x), NPY_FLOAT32);
    high = (PyArrayObject *)PyArray_SimpleNew(1, PyArray_DIMS(x), NPY_FLOAT32);
    if (!low || !high)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_sorted_range(PyArray_DATA(x), (size_t)PyArray_DIM(x, 0), (size_t)PyArray_DIM(x, 1),
                                 (ql_range_method)method, percentile, &grid, PyArray_DATA(low), PyArray_DATA(high));
    Py_END_ALLOW_THREADS
    result = status == QL_OK ? PyTuple_Pack(2, (PyObject *)low, (PyObject *)high)
                             : raise_choice(status, "x, method, percentile");
done:
    Py_XDECREF(codebook);
    Py_XDECREF(high);
    Py_XDECREF(low);
    Py_XDECREF(x);
    return result;
}

static PyObject *histogram_codebook(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *state_object, *counts_object;
    const char *kind_name;
    int entries;
    if (!PyArg_ParseTuple(args, "OOsi", &state_object, &counts_object, &kind_name, &entries))
        return NULL;
    PyArrayObject *state = ql_py_state(state_object, "state");
    PyArrayObject *counts = state ? ql_py_counts(counts_object, state, "counts") : NULL;
    const int kind = counts ? take_kind(kind_name) : -1;
    if (kind < 0)
        return NULL;
    const npy_intp shape[] = {PyArray_SIZE(state), entries > 0 ? entries : 0};
    PyArrayObject *codebook = (PyArrayObject *)PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    if (!codebook)
        return NULL;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_histogram_codebook(PyArray_DATA(state), PyArray_DATA(counts), (size_t)shape[0],
                                       (size_t)PyArray_DIM(counts, 1), (ql_codebook_kind)kind, (size_t)shape[1],
                                       PyArray_DATA(codebook));
    Py_END_ALLOW_THREADS
    if (status == QL_OK)
        return (PyObject *)codebook;
    Py_DECREF(codebook);
    return ql_py_raise(status, "state, entries");
}

static PyObject *sorted_codebook(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *weights_object, *result = NULL;
    const char *kind_name;
    int entries;
    if (!PyArg_ParseTuple(args, "OOsi", &x_object, &weights_object, &kind_name, &entries))
        return NULL;
    PyArrayObject *x = take_rows(x_object), *weights = NULL, *codebook = NULL;
    const int kind = x ? take_kind(kind_name) : -1;
    if (kind < 0)
        goto done;
    if (weights_object != Py_None && !(weights = ql_py_exact(weights_object, NPY_FLOAT64, "weights")))
        goto done;
    if (weights && PyArray_SIZE(weights) != PyArray_SIZE(x)) {
        PyErr_Format(PyExc_ValueError, "weights: expected as many elements as x (%zd), got %zd", PyArray_SIZE(x),
                     PyArray_SIZE(weights));
        goto done;
    }
    const npy_intp shape[] = {PyArray_DIM(x, 0), entries > 0 ? entries : 0};
    codebook = (PyArrayObject *)PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    if (!codebook)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_sorted_codebook(PyArray_DATA(x), weights ? PyArray_DATA(weights) : NULL, (size_t)shape[0],
                                    (size_t)PyArray_DIM(x, 1), (ql_codebook_kind)kind, (size_t)shape[1],
                                    PyArray_DATA(codebook));
    Py_END_ALLOW_THREADS
    result = status == QL_OK ? Py_NewRef(codebook) : ql_py_raise(status, "x, weights, entries");
done:
    Py_XDECREF(codebook);
    Py_XDECREF(weights);
    Py_XDECREF(x);
    return result;
}

PyMethodDef ql_py_choose_methods[] = {
    {"range_qparams", range_qparams, METH_VARARGS, NULL},
    {"histogram_range", histogram_range, METH_VARARGS, NULL},
    {"sorted_range", sorted_range, METH_VARARGS, NULL},
    {"histogram_codebook", histogram_codebook, METH_VARARGS, NULL},
    {"sorted_codebook", sorted_codebook, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
