/* Packed weights with groups, and the products with them. */
#include <string.h>

#include "python/glue.h"

typedef struct grouped_object {
    PyObject_HEAD ql_grouped *packed;
} grouped_object;

/* What the constructor was given, as arrays; zero_point and codebook may be NULL. */
typedef struct grouped_arrays {
    PyArrayObject *codes, *scale, *zero_point, *codebook;
} grouped_arrays;

static int check_shape(PyArrayObject *array, int ndim, const npy_intp *shape, const char *name)
{
    bool fits = PyArray_NDIM(array) == ndim;
    for (int i = 0; fits && i < ndim; i++)
        fits = PyArray_DIM(array, i) == shape[i];
    if (fits)
        return 0;
    PyObject *expected = PyArray_IntTupleFromIntp(ndim, shape);
    PyObject *got = PyArray_IntTupleFromIntp(PyArray_NDIM(array), PyArray_DIMS(array));
    if (expected && got)
        PyErr_Format(PyExc_ValueError, "%s: expected shape %S, got %S", name, expected, got);
    Py_XDECREF(expected);
    Py_XDECREF(got);
    return -1;
}

/* Takes the arrays of a description and checks their shapes against each other. */
static int take_arrays(PyObject *const *objects, Py_ssize_t group, grouped_arrays *a, ql_grouped_codes *w)
{
    a->codes = ql_py_x8(objects[0], "codes");
    a->scale = a->codes ? ql_py_f32(objects[1], "scale") : NULL;
    if (!a->scale)
        return -1;
    if (PyArray_NDIM(a->codes) != 2) {
        PyErr_Format(PyExc_ValueError, "codes: expected 2 dimensions (in, out), got %d", PyArray_NDIM(a->codes));
        return -1;
    }
    const npy_intp k = PyArray_DIM(a->codes, 0), n = PyArray_DIM(a->codes, 1);
    if (group < 1 || (group % 8 != 0 && group < k)) {
        PyErr_Format(PyExc_ValueError, "group_size: expected a multiple of 8, or at least the depth %zd, got %zd", k,
                     group);
        return -1;
    }
    npy_intp shape[] = {k / group + (k % group != 0), n, 0};
    if (check_shape(a->scale, 2, shape, "scale") < 0)
        return -1;
    if (objects[2] != Py_None) {
        a->zero_point = ql_py_exact(objects[2], NPY_INT32, "zero_point");
        if (!a->zero_point || check_shape(a->zero_point, 2, shape, "zero_point") < 0)
            return -1;
    }
    if (objects[3] != Py_None) {
        a->codebook = ql_py_f32(objects[3], "codebook");
        if (!a->codebook)
            return -1;
        const int ndim = PyArray_NDIM(a->codebook);
        shape[2] = ndim ? PyArray_DIM(a->codebook, ndim - 1) : 0;
        if (check_shape(a->codebook, ndim == 3 ? 3 : 1, ndim == 3 ? shape : shape + 2, "codebook") < 0)
            return -1;
    }
    *w = (ql_grouped_codes){.k = (size_t)k,
                            .n = (size_t)n,
                            .group = (size_t)group,
                            .codes = PyArray_DATA(a->codes),
                            .is_signed = ql_py_is_signed(a->codes),
                            .scale = PyArray_DATA(a->scale),
                            .zero_point = a->zero_point ? PyArray_DATA(a->zero_point) : NULL,
                            .codebook = a->codebook ? PyArray_DATA(a->codebook) : NULL,
                            .entries = (size_t)shape[2],
                            .is_own = a->codebook && PyArray_NDIM(a->codebook) == 3};
    return 0;
}

static PyObject *grouped_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"codes", "scale", "zero_point", "codebook", "bits", "group_size", "purpose", NULL};
    PyObject *objects[4];
    int bits;
    Py_ssize_t group;
    const char *purpose;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOins", names, objects, objects + 1, objects + 2, objects + 3,
                                     &bits, &group, &purpose))
        return NULL;
    const bool is_float = strcmp(purpose, "float") == 0;
    if (!is_float && strcmp(purpose, "integer") != 0)
        return PyErr_Format(PyExc_ValueError, "purpose: expected integer or float, got %s", purpose);
    grouped_object *self = NULL;
    grouped_arrays arrays = {NULL, NULL, NULL, NULL};
    ql_grouped_codes w;
    if (take_arrays(objects, group, &arrays, &w) < 0)
        goto done;
    w.bits = bits;
    self = (grouped_object *)type->tp_alloc(type, 0);
    if (!self)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_pack_grouped(is_float ? QL_PACK_FLOAT : QL_PACK_INTEGER, &w, &self->packed);
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        Py_CLEAR(self);
        ql_py_raise(status, "codes, scale, zero_point or codebook");
    }
done:
    Py_XDECREF(arrays.codebook);
    Py_XDECREF(arrays.zero_point);
    Py_XDECREF(arrays.scale);
    Py_XDECREF(arrays.codes);
    return (PyObject *)self;
}

static void grouped_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    ql_grouped_free(((grouped_object *)object)->packed);
    type->tp_free(object);
    Py_DECREF(type);
}

static const ql_grouped *grouped_of(PyObject *object)
{
    return ((grouped_object *)object)->packed;
}

static PyObject *grouped_shape(PyObject *self, void *closure)
{
    (void)closure;
    return Py_BuildValue("nn", (Py_ssize_t)ql_grouped_k(grouped_of(self)), (Py_ssize_t)ql_grouped_n(grouped_of(self)));
}

static PyObject *grouped_nbytes(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(ql_grouped_nbytes(grouped_of(self)));
}

static PyObject *grouped_isa(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(ql_grouped_isa(grouped_of(self)));
}

static PyGetSetDef grouped_getset[] = {
    {"shape", grouped_shape, NULL, NULL, NULL},
    {"nbytes", grouped_nbytes, NULL, NULL, NULL},
    {"isa", grouped_isa, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot grouped_slots[] = {
    {Py_tp_new, grouped_new},
    {Py_tp_dealloc, grouped_dealloc},
    {Py_tp_getset, grouped_getset},
    {0, NULL},
};

PyType_Spec ql_py_grouped_spec = {
    .name = "qlite._core.Grouped",
    .basicsize = sizeof(grouped_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = grouped_slots,
};

/* The packed weights of an argument; NULL with an exception for anything else. */
static const ql_grouped *take_grouped(PyObject *module, PyObject *object)
{
    const ql_module_state *state = PyModule_GetState(module);
    if (PyObject_TypeCheck(object, state->grouped_type))
        return grouped_of(object);
    PyErr_Format(PyExc_TypeError, "w: expected packed grouped weights, got %s", Py_TYPE(object)->tp_name);
    return NULL;
}

/* x as m x k float32. */
static PyArrayObject *take_left(PyObject *object, const ql_grouped *w)
{
    PyArrayObject *x = ql_py_f32(object, "x");
    if (!x || (PyArray_NDIM(x) == 2 && PyArray_DIM(x, 1) == (npy_intp)ql_grouped_k(w)))
        return x;
    PyObject *got = PyArray_IntTupleFromIntp(PyArray_NDIM(x), PyArray_DIMS(x));
    if (got)
        PyErr_Format(PyExc_ValueError, "x: expected shape (rows, %zu), got %S", ql_grouped_k(w), got);
    Py_XDECREF(got);
    Py_DECREF(x);
    return NULL;
}

/* Where y goes; NULL with an exception. x and bias, which may be NULL, are kept apart from it. */
static PyArrayObject *take_result(PyObject *out, const ql_grouped *w, PyArrayObject **x, PyArrayObject **bias)
{
    const npy_intp shape[] = {PyArray_DIM(*x, 0), (npy_intp)ql_grouped_n(w)};
    PyArrayObject *y = ql_py_result(out, NPY_FLOAT32, 2, shape, x, false);
    if (y && *bias && ql_py_separate(y, bias) < 0) {
        PyArray_DiscardWritebackIfCopy(y);
        Py_CLEAR(y);
    }
    return y;
}

/* y, or NULL with the exception that a status means. */
static PyArrayObject *checked_result(PyArrayObject *y, ql_status status)
{
    if (status == QL_OK)
        return y;
    PyArray_DiscardWritebackIfCopy(y);
    Py_DECREF(y);
    ql_py_raise(status, status == QL_ENONFINITE ? "x" : "w");
    return NULL;
}

static PyObject *linear_grouped(PyObject *module, PyObject *args)
{
    PyObject *x_object, *w_object, *bias_object, *out;
    ql_grouped_options options;
    if (!PyArg_ParseTuple(args, "OOOffO", &x_object, &w_object, &bias_object, &options.low, &options.high, &out))
        return NULL;
    const ql_grouped *w = take_grouped(module, w_object);
    PyArrayObject *y = NULL, *bias = NULL, *x = w ? take_left(x_object, w) : NULL;
    if (!x)
        return NULL;
    bool no_bias;
    bias = ql_py_optional_f32(bias_object, (npy_intp)ql_grouped_n(w), "bias", &no_bias);
    if (bias || no_bias)
        y = take_result(out, w, &x, &bias);
    if (!y)
        goto done;
    options.offset = bias ? PyArray_DATA(bias) : NULL;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_linear_grouped(PyArray_DATA(x), (size_t)PyArray_DIM(x, 0), w, &options, PyArray_DATA(y));
    Py_END_ALLOW_THREADS
    y = checked_result(y, status);
done:
    Py_XDECREF(bias);
    Py_DECREF(x);
    return y ? ql_py_finish(out, y) : NULL;
}

static PyObject *matmul_grouped(PyObject *module, PyObject *args)
{
    PyObject *x_object, *w_object, *out;
    if (!PyArg_ParseTuple(args, "OOO", &x_object, &w_object, &out))
        return NULL;
    const ql_grouped *w = take_grouped(module, w_object);
    PyArrayObject *no_bias = NULL, *x = w ? take_left(x_object, w) : NULL;
    PyArrayObject *y = x ? take_result(out, w, &x, &no_bias) : NULL;
    if (y) {
        ql_status status;
        Py_BEGIN_ALLOW_THREADS
            status = ql_gemm_grouped_f32(PyArray_DATA(x), (size_t)PyArray_DIM(x, 0), w, PyArray_DATA(y));
        Py_END_ALLOW_THREADS
        y = checked_result(y, status);
    }
    Py_XDECREF(x);
    return y ? ql_py_finish(out, y) : NULL;
}

PyMethodDef ql_py_grouped_methods[] = {
    {"linear_grouped", linear_grouped, METH_VARARGS, NULL},
    {"matmul_grouped", matmul_grouped, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
