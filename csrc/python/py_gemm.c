/* Packed weights, and the products with them. */
#include <string.h>

#include "python/glue.h"

typedef struct packed_object {
    PyObject_HEAD ql_packed *packed;
} packed_object;

static PyObject *packed_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"codes", "zero_point", "purpose", NULL};
    PyObject *codes_object, *zero_point_object;
    const char *purpose;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOs", names, &codes_object, &zero_point_object, &purpose))
        return NULL;
    const bool is_float = strcmp(purpose, "float") == 0;
    if (!is_float && strcmp(purpose, "integer") != 0)
        return PyErr_Format(PyExc_ValueError, "purpose: expected integer or float, got %s", purpose);
    packed_object *self = NULL;
    PyArrayObject *zero_point = NULL, *codes = ql_py_x8(codes_object, "codes");
    if (!codes)
        return NULL;
    if (PyArray_NDIM(codes) != 2) {
        PyErr_Format(PyExc_ValueError, "codes: expected 2 dimensions (in, out), got %d", PyArray_NDIM(codes));
        goto done;
    }
    if (zero_point_object != Py_None) {
        zero_point = ql_py_exact(zero_point_object, NPY_INT32, "zero_point");
        if (!zero_point)
            goto done;
        if (PyArray_SIZE(zero_point) != PyArray_DIM(codes, 1)) {
            PyErr_Format(PyExc_ValueError, "zero_point: expected one per column (%zd), got %zd", PyArray_DIM(codes, 1),
                         PyArray_SIZE(zero_point));
            goto done;
        }
    }
    self = (packed_object *)type->tp_alloc(type, 0);
    if (!self)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_pack(is_float ? QL_PACK_FLOAT : QL_PACK_INTEGER, PyArray_DATA(codes), ql_py_is_signed(codes),
                         (size_t)PyArray_DIM(codes, 0), (size_t)PyArray_DIM(codes, 1),
                         zero_point ? PyArray_DATA(zero_point) : NULL, &self->packed);
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        Py_CLEAR(self);
        ql_py_raise(status, "zero_point");
    }
done:
    Py_XDECREF(zero_point);
    Py_DECREF(codes);
    return (PyObject *)self;
}

static void packed_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    ql_packed_free(((packed_object *)object)->packed);
    type->tp_free(object);
    Py_DECREF(type);
}

static const ql_packed *packed_of(PyObject *object)
{
    return ((packed_object *)object)->packed;
}

static PyObject *packed_shape(PyObject *self, void *closure)
{
    (void)closure;
    return Py_BuildValue("nn", (Py_ssize_t)ql_packed_k(packed_of(self)), (Py_ssize_t)ql_packed_n(packed_of(self)));
}

static PyObject *packed_nbytes(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(ql_packed_nbytes(packed_of(self)));
}

static PyObject *packed_isa(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(ql_packed_isa(packed_of(self)));
}

static PyObject *packed_purpose(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(ql_packed_purpose(packed_of(self)) == QL_PACK_FLOAT ? "float" : "integer");
}

static PyGetSetDef packed_getset[] = {
    {"shape", packed_shape, NULL, NULL, NULL},
    {"nbytes", packed_nbytes, NULL, NULL, NULL},
    {"isa", packed_isa, NULL, NULL, NULL},
    {"purpose", packed_purpose, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot packed_slots[] = {
    {Py_tp_new, packed_new},
    {Py_tp_dealloc, packed_dealloc},
    {Py_tp_getset, packed_getset},
    {0, NULL},
};

PyType_Spec ql_py_packed_spec = {
    .name = "qlite._core.Packed",
    .basicsize = sizeof(packed_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = packed_slots,
};

/* The packed weights of an argument; NULL with an exception for anything else. */
static const ql_packed *take_packed(PyObject *module, PyObject *object, const char *name)
{
    const ql_module_state *state = PyModule_GetState(module);
    if (PyObject_TypeCheck(object, state->packed_type))
        return packed_of(object);
    PyErr_Format(PyExc_TypeError, "%s: expected packed weights, got %s", name, Py_TYPE(object)->tp_name);
    return NULL;
}

/* The left operand must be m x k. */
static int check_left(PyArrayObject *left, const ql_packed *right, const char *name)
{
    if (PyArray_NDIM(left) == 2 && PyArray_DIM(left, 1) == (npy_intp)ql_packed_k(right))
        return 0;
    PyObject *got = PyArray_IntTupleFromIntp(PyArray_NDIM(left), PyArray_DIMS(left));
    if (got)
        PyErr_Format(PyExc_ValueError, "%s: expected shape (rows, %zu), got %S", name, ql_packed_k(right), got);
    Py_XDECREF(got);
    return -1;
}

static PyObject *matmul_integer(PyObject *module, PyObject *args)
{
    PyObject *a_object, *b_object, *zero_point_object, *out;
    if (!PyArg_ParseTuple(args, "OOOO", &a_object, &b_object, &zero_point_object, &out))
        return NULL;
    const ql_packed *b = take_packed(module, b_object, "b");
    if (!b)
        return NULL;
    PyArrayObject *c = NULL, *zero_point = NULL, *a = ql_py_x8(a_object, "a");
    if (!a || check_left(a, b, "a") < 0)
        goto done;
    npy_intp m = PyArray_DIM(a, 0), shape[] = {m, (npy_intp)ql_packed_n(b)};
    zero_point = ql_py_exact(zero_point_object, NPY_INT32, "a_zero_point");
    if (!zero_point)
        goto done;
    const bool per_row = PyArray_SIZE(zero_point) != 1;
    if (per_row && PyArray_SIZE(zero_point) != m) {
        PyErr_Format(PyExc_ValueError, "a_zero_point: expected one, or one per row (%zd), got %zd", m,
                     PyArray_SIZE(zero_point));
        goto done;
    }
    c = ql_py_result(out, NPY_INT32, 2, shape, &a, false);
    if (!c)
        goto done;
    ql_codes codes = {PyArray_DATA(a), (size_t)PyArray_DIM(a, 1), ql_py_is_signed(a), PyArray_DATA(zero_point),
                      per_row};
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_gemm(&codes, (size_t)m, b, NULL, &(ql_epilogue){.store = QL_STORE_S32}, PyArray_DATA(c));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        PyArray_DiscardWritebackIfCopy(c);
        Py_CLEAR(c);
        ql_py_raise(status, status == QL_EOVERFLOW ? "a, b" : "a_zero_point");
    }
done:
    Py_XDECREF(zero_point);
    Py_XDECREF(a);
    return c ? ql_py_finish(out, c) : NULL;
}

typedef ql_status float_product(const float *x, size_t m, const ql_packed *b, const float *scale, const float *offset,
                                bool relu, float *y);

static ql_status dynamic_product(const float *x, size_t m, const ql_packed *b, const float *scale, const float *offset,
                                 bool relu, float *y)
{
    const ql_linear_options options = {scale, offset, relu ? 0.0f : -(float)NPY_INFINITY, (float)NPY_INFINITY, false};
    return ql_linear(x, m, b, &options, y);
}

/* linear and matmul_float differ in the product alone. */
static PyObject *run_float_product(PyObject *module, PyObject *args, float_product *product)
{
    PyObject *x_object, *w_object, *scale_object, *bias_object, *out;
    int relu;
    if (!PyArg_ParseTuple(args, "OOOOpO", &x_object, &w_object, &scale_object, &bias_object, &relu, &out))
        return NULL;
    const ql_packed *w = take_packed(module, w_object, "w");
    if (!w)
        return NULL;
    bool no_scale, no_bias = false;
    npy_intp n = (npy_intp)ql_packed_n(w);
    PyArrayObject *y = NULL, *bias = NULL, *scale = ql_py_optional_f32(scale_object, n, "scale", &no_scale);
    if (no_scale)
        PyErr_SetString(PyExc_TypeError, "scale: expected an array, got None");
    PyArrayObject *x = scale ? ql_py_f32(x_object, "x") : NULL;
    if (!x || check_left(x, w, "x") < 0)
        goto done;
    bias = ql_py_optional_f32(bias_object, n, "bias", &no_bias);
    if (!bias && !no_bias)
        goto done;
    npy_intp shape[] = {PyArray_DIM(x, 0), n};
    y = ql_py_result(out, NPY_FLOAT32, 2, shape, &x, false);
    if (!y || ql_py_separate(y, &scale) < 0 || (bias && ql_py_separate(y, &bias) < 0)) {
        if (y)
            PyArray_DiscardWritebackIfCopy(y);
        Py_CLEAR(y);
        goto done;
    }
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = product(PyArray_DATA(x), (size_t)shape[0], w, PyArray_DATA(scale), bias ? PyArray_DATA(bias) : NULL,
                         relu, PyArray_DATA(y));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        PyArray_DiscardWritebackIfCopy(y);
        Py_CLEAR(y);
        ql_py_raise(status, status == QL_EINVAL ? "w" : "x");
    }
done:
    Py_XDECREF(bias);
    Py_XDECREF(x);
    Py_XDECREF(scale);
    return y ? ql_py_finish(out, y) : NULL;
}

static PyObject *linear(PyObject *module, PyObject *args)
{
    return run_float_product(module, args, dynamic_product);
}

static PyObject *matmul_float(PyObject *module, PyObject *args)
{
    return run_float_product(module, args, ql_gemm_f32);
}

PyMethodDef ql_py_gemm_methods[] = {
    {"matmul_integer", matmul_integer, METH_VARARGS, NULL},
    {"linear", linear, METH_VARARGS, NULL},
    {"matmul_float", matmul_float, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
