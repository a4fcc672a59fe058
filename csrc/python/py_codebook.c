/* Arrays on codebooks: quantize_codebook, dequantize_codebook. */
#include "python/glue.h"

/* A codebook and its scales as they lie over data. */
typedef struct codebook_arrays {
    PyArrayObject *scale, *values;
} codebook_arrays;

static void release(codebook_arrays *a)
{
    Py_CLEAR(a->scale);
    Py_CLEAR(a->values);
}

static int raise_shapes(PyArrayObject *scale, PyArrayObject *values)
{
    PyObject *parameters = PyArray_IntTupleFromIntp(PyArray_NDIM(scale), PyArray_DIMS(scale));
    PyObject *got = PyArray_IntTupleFromIntp(PyArray_NDIM(values), PyArray_DIMS(values));
    if (parameters && got)
        PyErr_Format(PyExc_ValueError, "codebook: expected shape (entries,), or that of scale %S and entries, got %S",
                     parameters, got);
    Py_XDECREF(parameters);
    Py_XDECREF(got);
    return -1;
}

/* Returns whether values has the shape of scale and one axis more. */
static bool is_own(PyArrayObject *scale, PyArrayObject *values)
{
    const int ndim = PyArray_NDIM(scale);
    return PyArray_NDIM(values) == ndim + 1 && PyArray_CompareLists(PyArray_DIMS(scale), PyArray_DIMS(values), ndim);
}

static int take_codebook(PyArrayObject *data, PyObject *scale, PyObject *values, ql_py_groups groups,
                         ql_codebook *codebook, codebook_arrays *a)
{
    a->scale = ql_py_exact(scale, NPY_FLOAT32, "scale");
    a->values = a->scale ? ql_py_exact(values, NPY_FLOAT32, "codebook") : NULL;
    if (!a->values ||
        ql_py_layout(data, PyArray_NDIM(a->scale), PyArray_DIMS(a->scale), "scale", groups, &codebook->layout) < 0)
        return -1;
    if (PyArray_NDIM(a->values) != 1 && !is_own(a->scale, a->values))
        return raise_shapes(a->scale, a->values);
    const npy_intp entries = PyArray_DIM(a->values, PyArray_NDIM(a->values) - 1);
    if (entries < 1 || entries > QL_MAX_ENTRIES) {
        PyErr_Format(PyExc_ValueError, "codebook: expected 1 to %d entries, got %zd", QL_MAX_ENTRIES, entries);
        return -1;
    }
    codebook->is_own = PyArray_NDIM(a->values) > 1;
    if (ql_py_lay_over(data, &a->scale) < 0 || (codebook->is_own && ql_py_lay_over(data, &a->values) < 0))
        return -1;
    codebook->scale = PyArray_DATA(a->scale);
    codebook->values = PyArray_DATA(a->values);
    codebook->entries = (size_t)entries;
    return 0;
}

static PyObject *quantize_codebook(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *scale, *values, *out;
    ql_py_groups groups = {0, 0};
    int refuse_nonfinite;
    const char *name = "x";
    if (!PyArg_ParseTuple(args, "OOOpO|sii", &x_object, &scale, &values, &refuse_nonfinite, &out, &name, &groups.size,
                          &groups.axis))
        return NULL;
    ql_codebook codebook;
    codebook_arrays arrays = {NULL, NULL};
    PyArrayObject *codes = NULL, *x = ql_py_f32_dense(x_object, name);
    if (!x || take_codebook(x, scale, values, groups, &codebook, &arrays) < 0)
        goto done;
    codes = ql_py_result_like(out, NPY_UINT8, &x, false);
    if (!codes)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_quantize_codebook_f32_u8(PyArray_DATA(x), &codebook, ql_py_policy(refuse_nonfinite, out),
                                             PyArray_DATA(codes));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        ql_py_drop(&codes);
        ql_py_raise(status, status == QL_EINVAL ? "scale, codebook" : name);
    }
done:
    release(&arrays);
    Py_XDECREF(x);
    return codes ? ql_py_finish(out, codes) : NULL;
}

static PyObject *dequantize_codebook(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *codes_object, *scale, *values, *out;
    ql_py_groups groups = {0, 0};
    if (!PyArg_ParseTuple(args, "OOOO|ii", &codes_object, &scale, &values, &out, &groups.size, &groups.axis))
        return NULL;
    ql_codebook codebook;
    codebook_arrays arrays = {NULL, NULL};
    PyArrayObject *x = NULL, *codes = ql_py_exact_dense(codes_object, NPY_UINT8, "codes");
    if (!codes || take_codebook(codes, scale, values, groups, &codebook, &arrays) < 0)
        goto done;
    x = ql_py_result_like(out, NPY_FLOAT32, &codes, false);
    if (!x)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_dequantize_codebook_u8_f32(PyArray_DATA(codes), &codebook, PyArray_DATA(x));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        ql_py_drop(&x);
        ql_py_raise(status, "codes, scale");
    }
done:
    release(&arrays);
    Py_XDECREF(codes);
    return x ? ql_py_finish(out, x) : NULL;
}

PyMethodDef ql_py_codebook_methods[] = {
    {"quantize_codebook", quantize_codebook, METH_VARARGS, NULL},
    {"dequantize_codebook", dequantize_codebook, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
