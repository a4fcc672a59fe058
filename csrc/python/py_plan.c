/* The plan of an integer program. add() is generic: which fields a step has, the core says (ql_step_fields), and what
 * they are called is the same in Python. */
#include <string.h>

#include "python/glue.h"

/* What Python needs of a buffer: its type and width. */
typedef struct plan_object {
    PyObject_HEAD ql_plan *plan;
    ql_buffer *buffers;
    Py_ssize_t count;
    size_t input, output;
} plan_object;

static const struct {
    const char *name;
    ql_type type;
    int typenum;
} types[] = {
    {"float32", QL_F32, NPY_FLOAT32},
    {"int8", QL_S8, NPY_INT8},
    {"uint8", QL_U8, NPY_UINT8},
    {"int32", QL_S32, NPY_INT32},
};

enum { TYPE_COUNT = sizeof types / sizeof *types };

static int typenum_of(ql_type type)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (types[i].type == type)
            return types[i].typenum;
    }
    return NPY_NOTYPE;
}

static int take_buffer(PyObject *object, ql_buffer *buffer)
{
    const char *dtype;
    Py_ssize_t width, row_scale, row_zero_point;
    if (!PyArg_ParseTuple(object, "snfinn", &dtype, &width, &buffer->scale, &buffer->zero_point, &row_scale,
                          &row_zero_point))
        return -1;
    buffer->width = (size_t)width;
    buffer->row_scale = row_scale < 0 ? QL_NO_BUFFER : (size_t)row_scale;
    buffer->row_zero_point = row_zero_point < 0 ? QL_NO_BUFFER : (size_t)row_zero_point;
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (strcmp(types[i].name, dtype) == 0) {
            buffer->type = types[i].type;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "buffers: expected float32, int8, uint8 or int32, got %s", dtype);
    return -1;
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"buffers", "input", "output", NULL};
    PyObject *list;
    Py_ssize_t input, output;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!nn", names, &PyList_Type, &list, &input, &output))
        return NULL;
    plan_object *self = (plan_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->count = PyList_GET_SIZE(list);
    self->input = (size_t)input;
    self->output = (size_t)output;
    self->buffers = PyMem_Calloc((size_t)self->count + 1, sizeof *self->buffers);
    if (!self->buffers) {
        PyErr_NoMemory();
        goto fail;
    }
    for (Py_ssize_t i = 0; i < self->count; i++) {
        if (take_buffer(PyList_GET_ITEM(list, i), self->buffers + i) < 0)
            goto fail;
    }
    ql_status status = ql_plan_new(self->buffers, (size_t)self->count, self->input, self->output, &self->plan);
    if (status == QL_OK)
        return (PyObject *)self;
    ql_py_raise(status, "buffers");
fail:
    Py_DECREF(self);
    return NULL;
}

static void plan_dealloc(PyObject *object)
{
    plan_object *self = (plan_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    ql_plan_free(self->plan);
    PyMem_Free(self->buffers);
    type->tp_free(object);
    Py_DECREF(type);
}

/* The array is borrowed by value and kept alive by the reference that is returned through *owner. */
static int take_array(PyObject *object, const char *name, ql_array *value, PyArrayObject **owner)
{
    if (object == Py_None)
        return 0;
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: expected an ndarray or None, got %s", name, Py_TYPE(object)->tp_name);
        return -1;
    }
    PyArrayObject *array =
        (PyArrayObject *)PyArray_FromArray((PyArrayObject *)object, NULL, NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED);
    if (!array)
        return -1;
    *owner = array;
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (PyArray_EquivTypenums(types[i].typenum, PyArray_TYPE(array)) &&
            (PyArray_NDIM(array) == 1 || PyArray_NDIM(array) == 2)) {
            value->type = types[i].type;
            value->ndim = (size_t)PyArray_NDIM(array);
            for (size_t d = 0; d < value->ndim; d++)
                value->shape[d] = (size_t)PyArray_DIM(array, (int)d);
            value->data = PyArray_DATA(array);
            return 0;
        }
    }
    PyErr_Format(PyExc_TypeError, "%s: expected float32, int8, uint8 or int32 of 1 or 2 dimensions, got %S of %d", name,
                 (PyObject *)PyArray_DESCR(array), PyArray_NDIM(array));
    return -1;
}

static int take_field(PyObject *fields, const ql_field *field, ql_value *value, PyArrayObject **owner)
{
    PyObject *object = PyDict_GetItemString(fields, field->name);
    if (!object) {
        PyErr_Format(PyExc_ValueError, "fields: %s is missing", field->name);
        return -1;
    }
    if (field->kind == QL_FIELD_ARRAY)
        return take_array(object, field->name, &value->array, owner);
    Py_ssize_t integer = PyNumber_AsSsize_t(object, PyExc_OverflowError);
    if (integer < 0) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "%s: expected a number from 0, got %zd", field->name, integer);
        return -1;
    }
    value->integer = (size_t)integer;
    return 0;
}

static PyObject *plan_add(PyObject *object, PyObject *args)
{
    plan_object *self = (plan_object *)object;
    const char *kind;
    PyObject *fields;
    if (!PyArg_ParseTuple(args, "sO!", &kind, &PyDict_Type, &fields))
        return NULL;
    const ql_field *list = ql_step_fields(kind);
    if (!list)
        return PyErr_Format(PyExc_ValueError, "kind: no such step: %s", kind);
    ql_value values[QL_MAX_FIELDS] = {0};
    PyArrayObject *owners[QL_MAX_FIELDS] = {NULL};
    ql_status status = QL_OK;
    for (size_t i = 0; list[i].name; i++) {
        if (take_field(fields, list + i, values + i, owners + i) < 0)
            goto done;
    }
    Py_BEGIN_ALLOW_THREADS
        status = ql_plan_add(self->plan, kind, values);
    Py_END_ALLOW_THREADS
    if (status != QL_OK)
        ql_py_raise(status, kind);
done:
    for (size_t i = 0; i < QL_MAX_FIELDS; i++)
        Py_XDECREF(owners[i]);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* x as the plan's input, (samples, width). */
static PyArrayObject *take_input(plan_object *self, PyObject *object)
{
    const ql_buffer *in = self->buffers + self->input;
    PyArrayObject *x = in->type == QL_F32 ? ql_py_f32(object, "x") : ql_py_exact(object, typenum_of(in->type), "x");
    if (!x)
        return NULL;
    if (PyArray_NDIM(x) == 2 && PyArray_DIM(x, 1) == (npy_intp)in->width)
        return x;
    PyObject *got = PyArray_IntTupleFromIntp(PyArray_NDIM(x), PyArray_DIMS(x));
    if (got)
        PyErr_Format(PyExc_ValueError, "x: expected shape (samples, %zu), got %S", in->width, got);
    Py_XDECREF(got);
    Py_DECREF(x);
    return NULL;
}

static PyArrayObject *new_buffer(plan_object *self, Py_ssize_t i, npy_intp rows)
{
    npy_intp shape[] = {rows, (npy_intp)self->buffers[i].width};
    return (PyArrayObject *)PyArray_SimpleNew(2, shape, typenum_of(self->buffers[i].type));
}

static ql_status run_plan(plan_object *self, PyArrayObject *x, void **buffers)
{
    ql_status status;
    buffers[self->input] = PyArray_DATA(x);
    Py_BEGIN_ALLOW_THREADS
        status = ql_plan_run(self->plan, buffers, (size_t)PyArray_DIM(x, 0));
    Py_END_ALLOW_THREADS
    return status;
}

enum { FEW_BUFFERS = 64 };

static PyObject *plan_run(PyObject *object, PyObject *x_object)
{
    plan_object *self = (plan_object *)object;
    void *few[FEW_BUFFERS] = {NULL};
    void **buffers = self->count <= FEW_BUFFERS ? few : PyMem_Calloc((size_t)self->count, sizeof *buffers);
    if (!buffers)
        return PyErr_NoMemory();
    PyArrayObject *y = NULL, *x = take_input(self, x_object);
    if (x)
        y = new_buffer(self, (Py_ssize_t)self->output, PyArray_DIM(x, 0));
    if (y) {
        buffers[self->output] = PyArray_DATA(y);
        ql_status status = run_plan(self, x, buffers);
        if (status != QL_OK) {
            ql_py_raise(status, "x");
            Py_CLEAR(y);
        }
    }
    Py_XDECREF(x);
    if (buffers != few)
        PyMem_Free(buffers);
    return (PyObject *)y;
}

static PyObject *plan_intermediates(PyObject *object, PyObject *x_object)
{
    plan_object *self = (plan_object *)object;
    PyArrayObject *x = take_input(self, x_object);
    PyObject *list = x ? PyList_New(self->count) : NULL;
    void **buffers = list ? PyMem_Calloc((size_t)self->count, sizeof *buffers) : NULL;
    ql_status status = QL_OK;
    if (!buffers)
        goto done;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        PyArrayObject *array = i == (Py_ssize_t)self->input ? (PyArrayObject *)Py_NewRef((PyObject *)x)
                                                            : new_buffer(self, i, PyArray_DIM(x, 0));
        if (!array)
            goto done;
        PyList_SET_ITEM(list, i, (PyObject *)array);
        buffers[i] = PyArray_DATA(array);
    }
    status = run_plan(self, x, buffers);
    if (status != QL_OK)
        ql_py_raise(status, "x");
done:
    if (list && !buffers)
        PyErr_NoMemory();
    if (PyErr_Occurred())
        Py_CLEAR(list);
    PyMem_Free(buffers);
    Py_XDECREF(x);
    return list;
}

static PyMethodDef plan_methods[] = {
    {"add", plan_add, METH_VARARGS, NULL},
    {"run", plan_run, METH_O, NULL},
    {"intermediates", plan_intermediates, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_methods, plan_methods},
    {0, NULL},
};

PyType_Spec ql_py_plan_spec = {
    .name = "qlite._core.Plan",
    .basicsize = sizeof(plan_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = plan_slots,
};
