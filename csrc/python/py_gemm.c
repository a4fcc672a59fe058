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

/* What the float products read and write: each with a new reference, or NULL. */
typedef struct float_operands {
    const ql_packed *w;
    PyArrayObject *x, *scale, *bias, *y;
} float_operands;

static void drop_inputs(float_operands *o)
{
    Py_CLEAR(o->x);
    Py_CLEAR(o->scale);
    Py_CLEAR(o->bias);
}

static int take_float_operands(PyObject *module, PyObject *const objects[4], PyObject *out, float_operands *o)
{
    *o = (float_operands){.w = take_packed(module, objects[1], "w")};
    if (!o->w)
        return -1;
    const npy_intp n = (npy_intp)ql_packed_n(o->w);
    bool no_scale, no_bias = false;
    o->scale = ql_py_optional_f32(objects[2], n, "scale", &no_scale);
    if (no_scale)
        PyErr_SetString(PyExc_TypeError, "scale: expected an array, got None");
    o->x = o->scale ? ql_py_f32(objects[0], "x") : NULL;
    if (!o->x || check_left(o->x, o->w, "x") < 0)
        return -1;
    o->bias = ql_py_optional_f32(objects[3], n, "bias", &no_bias);
    if (!o->bias && !no_bias)
        return -1;
    const npy_intp shape[] = {PyArray_DIM(o->x, 0), n};
    o->y = ql_py_result(out, NPY_FLOAT32, 2, shape, &o->x, false);
    if (!o->y)
        return -1;
    if (ql_py_separate(o->y, &o->scale) == 0 && (!o->bias || ql_py_separate(o->y, &o->bias) == 0))
        return 0;
    PyArray_DiscardWritebackIfCopy(o->y);
    Py_CLEAR(o->y);
    return -1;
}

static PyObject *finish_float_product(float_operands *o, ql_status status, PyObject *out)
{
    drop_inputs(o);
    if (status == QL_OK)
        return ql_py_finish(out, o->y);
    PyArray_DiscardWritebackIfCopy(o->y);
    Py_CLEAR(o->y);
    return ql_py_raise(status, status == QL_EINVAL ? "w" : "x");
}

static PyObject *linear(PyObject *module, PyObject *args)
{
    PyObject *objects[4], *out;
    float_operands o;
    ql_linear_options options;
    int per_tensor;
    if (!PyArg_ParseTuple(args, "OOOOffpO", objects, objects + 1, objects + 2, objects + 3, &options.low, &options.high,
                          &per_tensor, &out))
        return NULL;
    if (take_float_operands(module, objects, out, &o) < 0) {
        drop_inputs(&o);
        return NULL;
    }
    options.scale = PyArray_DATA(o.scale);
    options.offset = o.bias ? PyArray_DATA(o.bias) : NULL;
    options.per_tensor = per_tensor;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_linear(PyArray_DATA(o.x), (size_t)PyArray_DIM(o.x, 0), o.w, &options, PyArray_DATA(o.y));
    Py_END_ALLOW_THREADS
    return finish_float_product(&o, status, out);
}

static PyObject *matmul_float(PyObject *module, PyObject *args)
{
    PyObject *objects[4], *out;
    float_operands o;
    int relu;
    if (!PyArg_ParseTuple(args, "OOOOpO", objects, objects + 1, objects + 2, objects + 3, &relu, &out))
        return NULL;
    if (take_float_operands(module, objects, out, &o) < 0) {
        drop_inputs(&o);
        return NULL;
    }
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_gemm_f32(PyArray_DATA(o.x), (size_t)PyArray_DIM(o.x, 0), o.w, PyArray_DATA(o.scale),
                             o.bias ? PyArray_DATA(o.bias) : NULL, relu, PyArray_DATA(o.y));
    Py_END_ALLOW_THREADS
    return finish_float_product(&o, status, out);
}

PyMethodDef ql_py_gemm_methods[] = {
    {"matmul_integer", matmul_integer, METH_VARARGS, NULL},
    {"linear", linear, METH_VARARGS, NULL},
    {"matmul_float", matmul_float, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
