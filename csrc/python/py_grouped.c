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

static PyObject *grouped_purpose(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(ql_grouped_purpose(grouped_of(self)) == QL_PACK_FLOAT ? "float" : "integer");
}

static PyGetSetDef grouped_getset[] = {
    {"shape", grouped_shape, NULL, NULL, NULL},
    {"nbytes", grouped_nbytes, NULL, NULL, NULL},
    {"isa", grouped_isa, NULL, NULL, NULL},
    {"purpose", grouped_purpose, NULL, NULL, NULL},
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

/* What the products read and write: arrays with a new reference each, or NULL. */
typedef struct operands {
    const ql_grouped *w;
    PyArrayObject *x, *bias, *y;
    size_t m;
} operands;

static int check_left(PyArrayObject *x, size_t k)
{
    const int last = PyArray_NDIM(x) - 1;
    if (last >= 0 && PyArray_DIM(x, last) == (npy_intp)k)
        return 0;
    PyObject *got = PyArray_IntTupleFromIntp(PyArray_NDIM(x), PyArray_DIMS(x));
    if (got)
        PyErr_Format(PyExc_ValueError, "x: expected shape (..., %zu), got %S", k, got);
    Py_XDECREF(got);
    return -1;
}

static void drop_inputs(operands *o)
{
    Py_XDECREF(o->x);
    Py_XDECREF(o->bias);
}

/* 0 with a result to write to, or -1 with an exception and none. */
static int take_operands(PyObject *module, PyObject *x, PyObject *w, PyObject *bias, PyObject *out, operands *o)
{
    npy_intp shape[NPY_MAXDIMS];
    *o = (operands){.w = take_grouped(module, w)};
    o->x = o->w ? ql_py_f32(x, "x") : NULL;
    if (!o->x || check_left(o->x, ql_grouped_k(o->w)) < 0)
        return -1;
    const npy_intp n = (npy_intp)ql_grouped_n(o->w);
    if (ql_py_bias_f32(bias, n, &o->bias) < 0)
        return -1;
    const int last = PyArray_NDIM(o->x) - 1;
    for (int i = 0; i < last; i++)
        shape[i] = PyArray_DIM(o->x, i);
    shape[last] = n;
    o->m = (size_t)PyArray_MultiplyList(shape, last);
    o->y = ql_py_result(out, NPY_FLOAT32, last + 1, shape, &o->x, false);
    if (!o->y)
        return -1;
    if (!o->bias || ql_py_separate(o->y, &o->bias) == 0)
        return 0;
    PyArray_DiscardWritebackIfCopy(o->y);
    Py_CLEAR(o->y);
    return -1;
}

/* Gives the result to the caller, or raises what a product came to. */
static PyObject *finish(ql_status status, PyObject *out, operands *o)
{
    drop_inputs(o);
    return ql_py_give(out, o->y, status, status == QL_ENONFINITE ? "x" : "w");
}

/* x, w, bias, activation, out */
static PyObject *linear_grouped(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    operands o;
    ql_grouped_options options;
    if (ql_py_count("linear_grouped", count, 5) < 0 || ql_py_activation(args[3], &options.activation) < 0)
        return NULL;
    if (take_operands(module, args[0], args[1], args[2], args[4], &o) < 0) {
        drop_inputs(&o);
        return NULL;
    }
    options.offset = o.bias ? PyArray_DATA(o.bias) : NULL;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_linear_grouped(PyArray_DATA(o.x), o.m, o.w, &options, PyArray_DATA(o.y));
    Py_END_ALLOW_THREADS
    return finish(status, args[4], &o);
}

/* x, w, out */
static PyObject *matmul_grouped(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    operands o;
    if (ql_py_count("matmul_grouped", count, 3) < 0)
        return NULL;
    if (take_operands(module, args[0], args[1], Py_None, args[2], &o) < 0) {
        drop_inputs(&o);
        return NULL;
    }
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_gemm_grouped_f32(PyArray_DATA(o.x), o.m, o.w, PyArray_DATA(o.y));
    Py_END_ALLOW_THREADS
    return finish(status, args[2], &o);
}

#define FAST(function) {#function, (PyCFunction)(void (*)(void))function, METH_FASTCALL, NULL}

PyMethodDef ql_py_grouped_methods[] = {
    FAST(linear_grouped),
    FAST(matmul_grouped),
    {NULL, NULL, 0, NULL},
};
