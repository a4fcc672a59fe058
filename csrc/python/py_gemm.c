/* Packed weights, and the products with them. */
#include <string.h>

#include "python/glue.h"

static const char *const purposes[] = {
    [QL_PACK_INTEGER] = "integer", [QL_PACK_INTEGER7] = "integer7", [QL_PACK_FLOAT] = "float"};

static int purpose_of(const char *name)
{
    for (int i = 0; i < (int)(sizeof purposes / sizeof *purposes); i++) {
        if (strcmp(name, purposes[i]) == 0)
            return i;
    }
    PyErr_Format(PyExc_ValueError, "purpose: expected integer, integer7 or float, got %s", name);
    return -1;
}

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
    const int pack_for = purpose_of(purpose);
    if (pack_for < 0)
        return NULL;
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
        status =
            ql_pack((ql_pack_for)pack_for, PyArray_DATA(codes), ql_py_is_signed(codes), (size_t)PyArray_DIM(codes, 0),
                    (size_t)PyArray_DIM(codes, 1), zero_point ? PyArray_DATA(zero_point) : NULL, &self->packed);
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
    return PyUnicode_FromString(purposes[ql_packed_purpose(packed_of(self))]);
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

/* The left operand must be rows of k elements, in ndim dimensions or, if that is 0, in any number from 1 on. */
static int check_left(PyArrayObject *left, const ql_packed *right, int ndim, const char *name)
{
    const int last = PyArray_NDIM(left) - 1;
    if (last >= 0 && (ndim == 0 || last == ndim - 1) && PyArray_DIM(left, last) == (npy_intp)ql_packed_k(right))
        return 0;
    PyObject *got = PyArray_IntTupleFromIntp(PyArray_NDIM(left), PyArray_DIMS(left));
    if (got)
        PyErr_Format(PyExc_ValueError, "%s: expected shape (%s, %zu), got %S", name, ndim ? "rows" : "...",
                     ql_packed_k(right), got);
    Py_XDECREF(got);
    return -1;
}

/* Rows of the left operand: all dimensions but the last one. */
static size_t count_rows(PyArrayObject *left)
{
    return (size_t)PyArray_MultiplyList(PyArray_DIMS(left), PyArray_NDIM(left) - 1);
}

/* Where a product goes: the shape of the left operand, with n for its last length. */
static PyArrayObject *take_result(PyObject *out, int typenum, PyArrayObject **left, const ql_packed *right)
{
    npy_intp shape[NPY_MAXDIMS];
    const int ndim = PyArray_NDIM(*left);
    for (int i = 0; i < ndim - 1; i++)
        shape[i] = PyArray_DIM(*left, i);
    shape[ndim - 1] = (npy_intp)ql_packed_n(right);
    return ql_py_result(out, typenum, ndim, shape, left, false);
}

/* The codes that both integer products read: each array with a new reference, or NULL. */
typedef struct code_operands {
    const ql_packed *b;
    PyArrayObject *a, *zero_point;
    ql_codes codes;
    size_t m;
} code_operands;

static void drop_codes(code_operands *o)
{
    Py_XDECREF(o->a);
    Py_XDECREF(o->zero_point);
}

/* objects: a, b, a_zero_point. */
static int take_codes(PyObject *module, PyObject *const *objects, int ndim, const char *const names[3],
                      code_operands *o)
{
    *o = (code_operands){.b = take_packed(module, objects[1], names[1])};
    o->a = o->b ? ql_py_x8(objects[0], names[0]) : NULL;
    if (!o->a || check_left(o->a, o->b, ndim, names[0]) < 0)
        return -1;
    o->zero_point = ql_py_exact(objects[2], NPY_INT32, names[2]);
    if (!o->zero_point)
        return -1;
    o->m = count_rows(o->a);
    const bool per_row = PyArray_SIZE(o->zero_point) != 1;
    if (!per_row || PyArray_SIZE(o->zero_point) == (npy_intp)o->m)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s: expected one, or one per row (%zu), got %zd", names[2], o->m,
                 PyArray_SIZE(o->zero_point));
    return -1;
}

/* After the result is known: it may have made copies. */
static ql_codes view_of(const code_operands *o)
{
    return (ql_codes){PyArray_DATA(o->a), ql_packed_k(o->b), ql_py_is_signed(o->a), PyArray_DATA(o->zero_point),
                      PyArray_SIZE(o->zero_point) != 1};
}

/* The argument that a status of a product speaks of; other: that of what is out of its range. */
static const char *blamed(ql_status status, const char *left, const char *both, const char *other)
{
    return status == QL_ECODES ? left : status == QL_EOVERFLOW ? both : other;
}

/* a, b, a_zero_point, out */
static PyObject *matmul_integer(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    static const char *const names[] = {"a", "b", "a_zero_point"};
    static const ql_epilogue sums = {.store = QL_STORE_S32};
    PyObject *result = NULL;
    code_operands o;
    if (ql_py_count("matmul_integer", count, 4) < 0)
        return NULL;
    PyArrayObject *c = take_codes(module, args, 2, names, &o) < 0 ? NULL : take_result(args[3], NPY_INT32, &o.a, o.b);
    if (c) {
        const ql_codes codes = view_of(&o);
        ql_status status;
        Py_BEGIN_ALLOW_THREADS
            status = ql_gemm(&codes, o.m, o.b, NULL, &sums, PyArray_DATA(c));
        Py_END_ALLOW_THREADS
        result = ql_py_give(args[3], c, status, blamed(status, names[0], "a, b", names[2]));
    }
    drop_codes(&o);
    return result;
}

/* x, w, x_zero_point, bias, output, out: see qlite/_output.py. */
static PyObject *linear_static(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    static const char *const names[] = {"x", "w", "x_zero_point"};
    PyObject *result = NULL;
    PyArrayObject *scale = NULL, *bias = NULL, *c = NULL;
    code_operands o;
    ql_output output;
    int typenum;
    if (ql_py_count("linear_static", count, 6) < 0)
        return NULL;
    if (take_codes(module, args, 0, names, &o) < 0)
        goto done;
    const npy_intp n = (npy_intp)ql_packed_n(o.b);
    scale = ql_py_output(args[4], n, &output, &typenum);
    if (!scale)
        goto done;
    if (args[3] != Py_None) {
        bias = ql_py_exact(args[3], NPY_INT32, "bias");
        if (!bias || ql_py_vector(bias, n, "bias") < 0)
            goto done;
    }
    c = take_result(args[5], typenum, &o.a, o.b);
    if (!c)
        goto done;
    const ql_codes codes = view_of(&o);
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_linear_static(&codes, o.m, o.b, bias ? PyArray_DATA(bias) : NULL, &output, PyArray_DATA(c));
    Py_END_ALLOW_THREADS
    result = ql_py_give(args[5], c, status, blamed(status, names[0], "x, w", ql_py_output_name(&output)));
done:
    Py_XDECREF(scale);
    Py_XDECREF(bias);
    drop_codes(&o);
    return result;
}

/* What the float products read and write: each with a new reference, or NULL. */
typedef struct float_operands {
    const ql_packed *w;
    PyArrayObject *x, *scale, *bias, *y;
    size_t m;
} float_operands;

static void drop_inputs(float_operands *o)
{
    Py_XDECREF(o->x);
    Py_XDECREF(o->scale);
    Py_XDECREF(o->bias);
}

/* objects: x, w, scale, bias. */
static int take_floats(PyObject *module, PyObject *const *objects, PyObject *out, float_operands *o)
{
    *o = (float_operands){.w = take_packed(module, objects[1], "w")};
    if (!o->w)
        return -1;
    const npy_intp n = (npy_intp)ql_packed_n(o->w);
    bool no_scale;
    o->scale = ql_py_optional_f32(objects[2], n, "scale", &no_scale);
    if (no_scale)
        PyErr_SetString(PyExc_TypeError, "scale: expected an array, got None");
    o->x = o->scale ? ql_py_f32(objects[0], "x") : NULL;
    if (!o->x || check_left(o->x, o->w, 0, "x") < 0 || ql_py_bias_f32(objects[3], n, &o->bias) < 0)
        return -1;
    o->m = count_rows(o->x);
    o->y = take_result(out, NPY_FLOAT32, &o->x, o->w);
    if (!o->y)
        return -1;
    if (ql_py_separate(o->y, &o->scale) == 0 && (!o->bias || ql_py_separate(o->y, &o->bias) == 0))
        return 0;
    PyArray_DiscardWritebackIfCopy(o->y);
    Py_CLEAR(o->y);
    return -1;
}

static int take_flag(PyObject *object, bool *value)
{
    const int truth = PyObject_IsTrue(object);
    *value = truth > 0;
    return truth < 0 ? -1 : 0;
}

/* x, w, scale, bias, activation, per_tensor, out */
static PyObject *linear(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ql_linear_options options;
    PyObject *result = NULL;
    float_operands o;
    if (ql_py_count("linear", count, 7) < 0 || ql_py_activation(args[4], &options.activation) < 0 ||
        take_flag(args[5], &options.per_tensor) < 0)
        return NULL;
    if (take_floats(module, args, args[6], &o) == 0) {
        options.scale = PyArray_DATA(o.scale);
        options.offset = o.bias ? PyArray_DATA(o.bias) : NULL;
        ql_status status;
        Py_BEGIN_ALLOW_THREADS
            status = ql_linear(PyArray_DATA(o.x), o.m, o.w, &options, PyArray_DATA(o.y));
        Py_END_ALLOW_THREADS
        result = ql_py_give(args[6], o.y, status, status == QL_EINVAL ? "w" : "x");
    }
    drop_inputs(&o);
    return result;
}

/* x, w, scale, bias, activation, out */
static PyObject *matmul_float(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    PyObject *result = NULL;
    float_operands o;
    ql_activation activation;
    if (ql_py_count("matmul_float", count, 6) < 0 || ql_py_activation(args[4], &activation) < 0)
        return NULL;
    if (take_floats(module, args, args[5], &o) == 0) {
        ql_status status;
        Py_BEGIN_ALLOW_THREADS
            status = ql_gemm_f32(PyArray_DATA(o.x), o.m, o.w, PyArray_DATA(o.scale),
                                 o.bias ? PyArray_DATA(o.bias) : NULL, activation, PyArray_DATA(o.y));
        Py_END_ALLOW_THREADS
        result = ql_py_give(args[5], o.y, status, status == QL_EINVAL ? "w" : "x");
    }
    drop_inputs(&o);
    return result;
}

#define FAST(function) {#function, (PyCFunction)(void (*)(void))function, METH_FASTCALL, NULL}

PyMethodDef ql_py_gemm_methods[] = {
    FAST(matmul_integer), FAST(linear_static), FAST(linear), FAST(matmul_float), {NULL, NULL, 0, NULL},
};
