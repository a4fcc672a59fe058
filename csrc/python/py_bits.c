/* Codes of few bits: pack_bits, unpack_bits. */
#include <string.h>

#include "python/glue.h"

/* Fills shape with that of `array`, whose last axis becomes `last`. Returns the number of rows, or -1 with an
 * exception.
 */
static npy_intp shape_of_rows(PyArrayObject *array, const char *name, npy_intp last, npy_intp *shape)
{
    const int ndim = PyArray_NDIM(array);
    if (ndim == 0) {
        PyErr_Format(PyExc_ValueError, "%s: expected one dimension or more, got none", name);
        return -1;
    }
    memcpy(shape, PyArray_DIMS(array), (size_t)ndim * sizeof *shape);
    shape[ndim - 1] = last;
    return PyArray_MultiplyList(shape, ndim - 1);
}

static PyObject *pack_bits(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *object;
    int bits;
    int32_t least, greatest;
    if (!PyArg_ParseTuple(args, "Oi", &object, &bits))
        return NULL;
    PyArrayObject *packed = NULL, *codes = ql_py_codes(object, "codes", &least, &greatest);
    if (!codes)
        return NULL;
    const int size = (int)PyArray_ITEMSIZE(codes);
    const bool is_signed = least < 0;
    npy_intp shape[QL_MAX_DIMS];
    if (bits < 1 || bits > 8 * size) {
        PyErr_Format(PyExc_ValueError, "bits: expected 1 to %d for codes of this dtype, got %d", 8 * size, bits);
        goto done;
    }
    const npy_intp n = PyArray_NDIM(codes) > 0 ? PyArray_DIM(codes, PyArray_NDIM(codes) - 1) : 0;
    const npy_intp rows = shape_of_rows(codes, "codes", (npy_intp)ql_bits_row_bytes((size_t)n, bits), shape);
    if (rows < 0 || !(packed = (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(codes), shape, NPY_UINT8)))
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_pack_bits(PyArray_DATA(codes), (size_t)size, is_signed, (size_t)rows, (size_t)n, bits,
                              PyArray_DATA(packed));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        Py_CLEAR(packed);
        PyErr_Format(PyExc_ValueError, "codes: expected %s%d-bit codes, got one out of range",
                     is_signed ? "signed " : "", bits);
    }
done:
    Py_DECREF(codes);
    return (PyObject *)packed;
}

static int code_type(int bits, bool is_signed)
{
    if (bits <= 8)
        return is_signed ? NPY_INT8 : NPY_UINT8;
    return is_signed ? NPY_INT16 : NPY_UINT16;
}

static PyObject *unpack_bits(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *object;
    int bits, is_signed;
    Py_ssize_t first, count;
    if (!PyArg_ParseTuple(args, "Oipnn", &object, &bits, &is_signed, &first, &count))
        return NULL;
    PyArrayObject *codes = NULL, *packed = ql_py_exact(object, NPY_UINT8, "packed");
    if (!packed)
        return NULL;
    npy_intp shape[QL_MAX_DIMS];
    if (bits < 1 || bits > 16) {
        PyErr_Format(PyExc_ValueError, "bits: expected 1 to 16, got %d", bits);
        goto done;
    }
    if (first < 0 || count < 0) {
        PyErr_Format(PyExc_ValueError, "first, count: expected 0 or more, got %zd, %zd", first, count);
        goto done;
    }
    const npy_intp rows = shape_of_rows(packed, "packed", count, shape);
    if (rows < 0)
        goto done;
    const npy_intp row_bytes = PyArray_DIM(packed, PyArray_NDIM(packed) - 1);
    codes = (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(packed), shape, code_type(bits, is_signed));
    if (!codes)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_unpack_bits(PyArray_DATA(packed), (size_t)rows, (size_t)row_bytes, bits, is_signed, (size_t)first,
                                (size_t)count, PyArray_DATA(codes));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        Py_CLEAR(codes);
        PyErr_Format(PyExc_ValueError,
                     "packed: expected rows that hold codes %zd to %zd + %zd of %d bits, got %zd bytes", first, first,
                     count, bits, row_bytes);
    }
done:
    Py_DECREF(packed);
    return (PyObject *)codes;
}

PyMethodDef ql_py_bits_methods[] = {
    {"pack_bits", pack_bits, METH_VARARGS, NULL},
    {"unpack_bits", unpack_bits, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
