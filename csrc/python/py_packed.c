/* Packed: weights in the layout of this machine's kernels, of one of three kinds. */
#include <stddef.h>
#include <string.h>

#include "python/glue.h"

#include <structmember.h>

static const char *const kind_names[] = {
    [QL_PY_MATRIX] = "matrix", [QL_PY_GROUPED] = "grouped", [QL_PY_FILTER] = "filter"};
static const char *const purpose_names[] = {
    [QL_PACK_INTEGER] = "integer", [QL_PACK_INTEGER7] = "integer7", [QL_PACK_FLOAT] = "float"};

static int take_purpose(const char *name, ql_pack_for *purpose)
{
    for (size_t i = 0; i < sizeof purpose_names / sizeof *purpose_names; i++) {
        if (strcmp(name, purpose_names[i]) == 0) {
            *purpose = (ql_pack_for)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "purpose: expected integer, integer7 or float, got %s", name);
    return -1;
}

/* Returns an object without weights, or NULL with an exception. */
static ql_py_packed *new_packed(PyObject *cls, ql_py_kind kind)
{
    PyTypeObject *type = (PyTypeObject *)cls;
    ql_py_packed *self = (ql_py_packed *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->kind = kind;
    self->kind_name = PyUnicode_InternFromString(kind_names[kind]);
    if (!self->kind_name)
        Py_CLEAR(self);
    return self;
}

/* Describes the weights that are packed and returns the object, or NULL with the exception that the status means. */
static PyObject *finished(ql_py_packed *self, ql_status status, const char *name)
{
    if (status != QL_OK) {
        Py_DECREF(self);
        return ql_py_raise(status, name);
    }
    switch (self->kind) {
    case QL_PY_MATRIX:
        self->info = ql_packed_describe(self->weights.matrix);
        break;
    case QL_PY_GROUPED:
        self->info = ql_grouped_describe(self->weights.grouped);
        break;
    case QL_PY_FILTER:
        self->info = ql_filter_describe(self->weights.filter);
        break;
    }
    self->purpose_name = purpose_names[self->info.purpose];
    return (PyObject *)self;
}

/* Checks that codes have `ndim` dimensions, which are called `axes` in errors. Returns 0, or -1 with an exception. */
static int check_rank(PyArrayObject *codes, int ndim, const char *axes)
{
    if (PyArray_NDIM(codes) == ndim)
        return 0;
    PyErr_Format(PyExc_ValueError, "codes: expected %d dimensions (%s), got %d", ndim, axes, PyArray_NDIM(codes));
    return -1;
}

static PyArrayObject *take_codes(PyObject *object, int ndim, const char *axes)
{
    PyArrayObject *codes = ql_py_x8(object, "codes");
    if (codes && check_rank(codes, ndim, axes) < 0)
        Py_CLEAR(codes);
    return codes;
}

/* Takes zero points of n columns, or NULL for None. Returns 0, or -1 with an exception. */
static int take_zero_points(PyObject *object, npy_intp n, PyArrayObject **zero_point)
{
    *zero_point = NULL;
    if (object == Py_None)
        return 0;
    *zero_point = ql_py_exact(object, NPY_INT32, "zero_point");
    if (!*zero_point)
        return -1;
    if (PyArray_SIZE(*zero_point) == n)
        return 0;
    PyErr_Format(PyExc_ValueError, "zero_point: expected one per output (%zd), got %zd", n, PyArray_SIZE(*zero_point));
    Py_CLEAR(*zero_point);
    return -1;
}

/* ---- the three constructors --------------------------------------------------------------------- */

/* Arguments: codes, zero_point, purpose. */
static PyObject *matrix(PyObject *cls, PyObject *args)
{
    PyObject *codes_object, *zero_point_object, *result = NULL;
    const char *purpose_name;
    ql_pack_for purpose;
    if (!PyArg_ParseTuple(args, "OOs", &codes_object, &zero_point_object, &purpose_name) ||
        take_purpose(purpose_name, &purpose) < 0)
        return NULL;
    PyArrayObject *zero_point = NULL, *codes = ql_py_x8_dense(codes_object, "codes");
    if (!codes || check_rank(codes, 2, "in, out") < 0 ||
        take_zero_points(zero_point_object, PyArray_DIM(codes, 1), &zero_point) < 0)
        goto done;
    ql_py_packed *self = new_packed(cls, QL_PY_MATRIX);
    if (!self)
        goto done;
    const ql_code_matrix b = ql_py_code_matrix(codes, zero_point);
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_pack(purpose, &b, &self->weights.matrix);
    Py_END_ALLOW_THREADS
    result = finished(self, status, "zero_point");
done:
    Py_XDECREF(zero_point);
    Py_XDECREF(codes);
    return result;
}

/* Arguments: codes, zero_point, groups, is_dilated. */
static PyObject *filter(PyObject *cls, PyObject *args)
{
    PyObject *codes_object, *zero_point_object, *result = NULL;
    Py_ssize_t groups;
    int is_dilated;
    if (!PyArg_ParseTuple(args, "OOnp", &codes_object, &zero_point_object, &groups, &is_dilated))
        return NULL;
    PyArrayObject *zero_point = NULL, *codes = take_codes(codes_object, 4, "kernel_h, kernel_w, in, out");
    if (!codes || take_zero_points(zero_point_object, PyArray_DIM(codes, 3), &zero_point) < 0)
        goto done;
    ql_py_packed *self = new_packed(cls, QL_PY_FILTER);
    if (!self)
        goto done;
    size_t shape[4];
    for (int i = 0; i < 4; i++)
        shape[i] = (size_t)PyArray_DIM(codes, i);
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_filter_pack(PyArray_DATA(codes), ql_py_is_signed(codes), shape, ql_py_data(zero_point),
                                groups > 0 ? (size_t)groups : 0, is_dilated, &self->weights.filter);
    Py_END_ALLOW_THREADS
    result = finished(self, status, "codes, zero_point, groups");
done:
    Py_XDECREF(zero_point);
    Py_XDECREF(codes);
    return result;
}

/* Arguments of `grouped`, of which zero_point and codebook may be NULL. */
typedef struct grouped_arrays {
    PyArrayObject *codes, *scale, *zero_point, *codebook;
} grouped_arrays;

/* Takes codes, scale, zero_point and codebook, whose shapes must go together. Returns 0, or -1 with an exception and
 * some of the arrays. */
static int take_arrays(PyObject *const *objects, Py_ssize_t group, grouped_arrays *a, ql_grouped_codes *w)
{
    a->codes = take_codes(objects[0], 2, "in, out");
    a->scale = a->codes ? ql_py_f32(objects[1], "scale") : NULL;
    if (!a->scale)
        return -1;
    const npy_intp k = PyArray_DIM(a->codes, 0), n = PyArray_DIM(a->codes, 1);
    if (group < 1 || (group % 8 != 0 && group < k)) {
        PyErr_Format(PyExc_ValueError, "group_size: expected a multiple of 8, or at least the depth %zd, got %zd", k,
                     group);
        return -1;
    }
    npy_intp shape[] = {k / group + (k % group != 0), n, 0};
    if (ql_py_shape(a->scale, 2, shape, "scale") < 0)
        return -1;
    if (objects[2] != Py_None) {
        a->zero_point = ql_py_exact(objects[2], NPY_INT32, "zero_point");
        if (!a->zero_point || ql_py_shape(a->zero_point, 2, shape, "zero_point") < 0)
            return -1;
    }
    if (objects[3] != Py_None) {
        a->codebook = ql_py_f32(objects[3], "codebook");
        if (!a->codebook)
            return -1;
        const int ndim = PyArray_NDIM(a->codebook);
        shape[2] = ndim ? PyArray_DIM(a->codebook, ndim - 1) : 0;
        if (ql_py_shape(a->codebook, ndim == 3 ? 3 : 1, ndim == 3 ? shape : shape + 2, "codebook") < 0)
            return -1;
    }
    *w = (ql_grouped_codes){.k = (size_t)k,
                            .n = (size_t)n,
                            .group = (size_t)group,
                            .codes = PyArray_DATA(a->codes),
                            .is_signed = ql_py_is_signed(a->codes),
                            .scale = PyArray_DATA(a->scale),
                            .zero_point = ql_py_data(a->zero_point),
                            .codebook = ql_py_data(a->codebook),
                            .entries = (size_t)shape[2],
                            .is_own = a->codebook && PyArray_NDIM(a->codebook) == 3};
    return 0;
}

/* Arguments: codes, scale, zero_point, codebook, bits, group_size, purpose. */
static PyObject *grouped(PyObject *cls, PyObject *args)
{
    PyObject *objects[4], *result = NULL;
    Py_ssize_t group;
    const char *purpose_name;
    ql_pack_for purpose;
    grouped_arrays arrays = {NULL, NULL, NULL, NULL};
    ql_grouped_codes w;
    int bits;
    if (!PyArg_ParseTuple(args, "OOOOins", objects, objects + 1, objects + 2, objects + 3, &bits, &group,
                          &purpose_name) ||
        take_purpose(purpose_name, &purpose) < 0)
        return NULL;
    if (take_arrays(objects, group, &arrays, &w) < 0)
        goto done;
    w.bits = bits;
    ql_py_packed *self = new_packed(cls, QL_PY_GROUPED);
    if (!self)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_pack_grouped(purpose, &w, &self->weights.grouped);
    Py_END_ALLOW_THREADS
    result = finished(self, status, "codes, scale, zero_point, codebook or purpose");
done:
    Py_XDECREF(arrays.codebook);
    Py_XDECREF(arrays.zero_point);
    Py_XDECREF(arrays.scale);
    Py_XDECREF(arrays.codes);
    return result;
}

/* ---- the type ----------------------------------------------------------------------------------- */

static void dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    ql_py_packed *self = (ql_py_packed *)object;
    switch (self->kind) {
    case QL_PY_MATRIX:
        ql_packed_free(self->weights.matrix);
        break;
    case QL_PY_GROUPED:
        ql_grouped_free(self->weights.grouped);
        break;
    case QL_PY_FILTER:
        ql_filter_free(self->weights.filter);
        break;
    }
    Py_XDECREF(self->kind_name);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *shape_of(PyObject *object, void *closure)
{
    (void)closure;
    const ql_packed_info *info = &((ql_py_packed *)object)->info;
    npy_intp shape[4];
    for (size_t i = 0; i < info->ndim; i++)
        shape[i] = (npy_intp)info->shape[i];
    return PyArray_IntTupleFromIntp((int)info->ndim, shape);
}

static PyMethodDef methods[] = {
    {"matrix", matrix, METH_VARARGS | METH_CLASS, NULL},
    {"grouped", grouped, METH_VARARGS | METH_CLASS, NULL},
    {"filter", filter, METH_VARARGS | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

#define MEMBER(name, type, field) {name, type, offsetof(ql_py_packed, field), READONLY, NULL}

static PyMemberDef members[] = {
    MEMBER("kind", T_OBJECT_EX, kind_name),
    MEMBER("purpose", T_STRING, purpose_name),
    MEMBER("groups", T_PYSSIZET, info.groups),
    MEMBER("is_dilated", T_BOOL, info.is_dilated),
    MEMBER("nbytes", T_PYSSIZET, info.nbytes),
    MEMBER("isa", T_STRING, info.isa),
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"shape", shape_of, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, dealloc}, {Py_tp_methods, methods}, {Py_tp_members, members}, {Py_tp_getset, properties}, {0, NULL},
};

PyType_Spec ql_py_packed_spec = {
    .name = "qlite._core.Packed",
    .basicsize = sizeof(ql_py_packed),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

const ql_py_packed *ql_py_take_packed(PyObject *module, PyObject *object, ql_py_kind kind, const char *name)
{
    const ql_module_state *state = PyModule_GetState(module);
    const ql_py_packed *packed = (ql_py_packed *)object;
    const bool is_packed = PyObject_TypeCheck(object, state->packed_type);
    if (is_packed && packed->kind == kind)
        return packed;
    PyErr_Format(PyExc_TypeError, "%s: expected packed weights of kind %s, got %s", name, kind_names[kind],
                 is_packed ? kind_names[packed->kind] : Py_TYPE(object)->tp_name);
    return NULL;
}
