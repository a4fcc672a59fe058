/* Loss of quantized arrays: error_sums. */
#include "python/glue.h"

enum { FIELDS = sizeof(ql_error) / sizeof(double) };

/* Returns a new reference to a codebook, [entries] or the shape of scale with entries behind it; NULL with an
 * exception. */
static PyArrayObject *codebook_over(PyObject *object, PyArrayObject *scale, ql_coded *coded)
{
    PyArrayObject *codebook = ql_py_exact(object, NPY_FLOAT32, "codebook");
    if (!codebook)
        return NULL;
    const int ndim = PyArray_NDIM(codebook), scale_ndim = PyArray_NDIM(scale);
    coded->is_own = ndim > 1;
    bool fits = ndim == 1 || ndim == scale_ndim + 1;
    for (int i = 0; fits && ndim > 1 && i < scale_ndim; i++)
        fits = PyArray_DIM(codebook, i) == PyArray_DIM(scale, i);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "codebook: expected one dimension, or the shape of scale and one more");
        Py_DECREF(codebook);
        return NULL;
    }
    coded->codebook = PyArray_DATA(codebook);
    coded->entries = (size_t)PyArray_DIM(codebook, ndim - 1);
    return codebook;
}

static int take_axis(PyArrayObject *w, int axis, ql_axis *result)
{
    if (axis < -1 || axis >= PyArray_NDIM(w)) {
        PyErr_Format(PyExc_ValueError, "axis: expected -1 to %d, got %d", PyArray_NDIM(w) - 1, axis);
        return -1;
    }
    *result = (ql_axis){1, 1, 1};
    for (int i = 0; i < PyArray_NDIM(w); i++)
        *(i < axis ? &result->outer : i == axis ? &result->channels : &result->inner) *= (size_t)PyArray_DIM(w, i);
    return 0;
}

static PyObject *error_sums(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *w_object, *codes_object, *scale_object, *zero_point_object, *codebook_object;
    ql_py_groups groups = {0, 0};
    ql_coded coded = {.codebook = NULL};
    ql_axis along;
    int axis;
    if (!PyArg_ParseTuple(args, "OOOOOiii|ii", &w_object, &codes_object, &scale_object, &zero_point_object,
                          &codebook_object, &coded.qmin, &coded.qmax, &axis, &groups.size, &groups.axis))
        return NULL;
    PyArrayObject *codes = NULL, *scale = NULL, *zero_point = NULL, *codebook = NULL, *result = NULL;
    PyArrayObject *w = ql_py_f32(w_object, "w");
    int32_t least, greatest;
    if (!w || !(codes = ql_py_codes(codes_object, "codes", &least, &greatest)) ||
        !(scale = ql_py_exact(scale_object, NPY_FLOAT32, "scale")) ||
        !(zero_point = ql_py_exact(zero_point_object, NPY_INT32, "zero_point")))
        goto done;
    if (!PyArray_SAMESHAPE(codes, w)) {
        PyErr_SetString(PyExc_ValueError, "codes: expected the shape of w");
        goto done;
    }
    if (PyArray_SIZE(zero_point) != PyArray_SIZE(scale)) {
        PyErr_Format(PyExc_ValueError, "zero_point: expected as many elements as scale (%zd), got %zd",
                     PyArray_SIZE(scale), PyArray_SIZE(zero_point));
        goto done;
    }
    if (ql_py_layout(w, PyArray_NDIM(scale), PyArray_DIMS(scale), "scale", groups, &coded.layout) < 0 ||
        (codebook_object != Py_None && !(codebook = codebook_over(codebook_object, scale, &coded))) ||
        take_axis(w, axis, &along) < 0)
        goto done;
    coded.codes = PyArray_DATA(codes);
    coded.code_size = (size_t)PyArray_ITEMSIZE(codes);
    coded.is_signed = least < 0;
    coded.scale = PyArray_DATA(scale);
    coded.zero_point = PyArray_DATA(zero_point);
    npy_intp shape[] = {(npy_intp)along.channels, FIELDS};
    result = (PyArrayObject *)PyArray_SimpleNew(2, shape, NPY_FLOAT64);
    if (!result)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_error_sums(PyArray_DATA(w), &coded, &along, PyArray_DATA(result));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        Py_CLEAR(result);
        ql_py_raise(status, status == QL_EINVAL ? "codes, scale, zero_point, codebook" : "w");
    }
done:
    Py_XDECREF(codebook);
    Py_XDECREF(zero_point);
    Py_XDECREF(scale);
    Py_XDECREF(codes);
    Py_XDECREF(w);
    return (PyObject *)result;
}

PyMethodDef ql_py_error_methods[] = {
    {"error_sums", error_sums, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
