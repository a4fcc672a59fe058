/* The fields of a program's step, from Python objects to values: which kinds a field wants, the core says
 * (ql_step_fields), and what it is called is the same in Python. */
#include <string.h>

#include "python/glue.h"

static const ql_py_type types[] = {
    {"float32", QL_F32, NPY_FLOAT32}, {"int8", QL_S8, NPY_INT8},    {"uint8", QL_U8, NPY_UINT8},
    {"int16", QL_S16, NPY_INT16},     {"int32", QL_S32, NPY_INT32},
};

enum { TYPE_COUNT = sizeof types / sizeof *types };

const ql_py_type *ql_py_type_by_name(const char *name)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (strcmp(types[i].name, name) == 0)
            return types + i;
    }
    return NULL;
}

const ql_py_type *ql_py_type_by_typenum(int typenum)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (PyArray_EquivTypenums(types[i].typenum, typenum))
            return types + i;
    }
    return NULL;
}

const ql_py_type *ql_py_type_of(ql_type type)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (types[i].type == type)
            return types + i;
    }
    return NULL;
}

static int take_array(PyArrayObject *given, const char *name, ql_value *value, PyObject *owners)
{
    const ql_py_type *type = ql_py_type_by_typenum(PyArray_TYPE(given));
    const int ndim = PyArray_NDIM(given);
    if (!type || ndim > QL_MAX_RANK) {
        PyErr_Format(PyExc_TypeError,
                     "%s: expected float32, int8, uint8, int16 or int32 of up to %d dimensions, got %S of %d", name,
                     QL_MAX_RANK, (PyObject *)PyArray_DESCR(given), ndim);
        return -1;
    }
    PyArrayObject *array =
        (PyArrayObject *)PyArray_FromArray(given, PyArray_DescrFromType(type->typenum), NPY_ARRAY_CARRAY_RO);
    if (!array || PyList_Append(owners, (PyObject *)array) < 0) {
        Py_XDECREF(array);
        return -1;
    }
    *value = (ql_value){.kind = QL_VALUE_ARRAY};
    value->array = (ql_array){.type = type->type, .rank = (size_t)ndim, .data = PyArray_DATA(array)};
    for (int i = 0; i < ndim; i++)
        value->array.shape[i] = (size_t)PyArray_DIM(array, i);
    Py_DECREF(array); /* owners has it */
    return 0;
}

/* Returns whether it is an integer; bools count. */
static bool is_integer(PyObject *object)
{
    return PyLong_Check(object) || PyArray_IsScalar(object, Integer) || PyArray_IsScalar(object, Bool);
}

static bool is_real(PyObject *object)
{
    return PyFloat_Check(object) || PyArray_IsScalar(object, Floating) || is_integer(object);
}

static int take_integer(PyObject *object, const char *name, int64_t *integer)
{
    int overflow = 0;
    if (PyArray_IsScalar(object, Bool)) {
        *integer = PyObject_IsTrue(object);
        return 0;
    }
    PyObject *number = PyNumber_Index(object);
    *integer = number ? PyLong_AsLongLongAndOverflow(number, &overflow) : -1;
    Py_XDECREF(number);
    if (overflow)
        PyErr_Format(PyExc_ValueError, "%s: expected a number that fits 64 bits, got %S", name, object);
    return PyErr_Occurred() ? -1 : 0;
}

static int take_buffer(PyObject *object, const char *name, size_t *buffer)
{
    int64_t number;
    if (take_integer(object, name, &number) < 0)
        return -1;
    *buffer = (size_t)number;
    if (number >= 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s: expected numbers of buffers, from 0 on, got %S", name, object);
    return -1;
}

/* Takes a tuple of integers: buffers or numbers. */
static int take_tuple(PyObject *tuple, const char *name, bool are_buffers, ql_value *value)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(tuple), most = are_buffers ? QL_MAX_INPUTS : QL_MAX_INTS;
    if (count > most) {
        PyErr_Format(PyExc_ValueError, "%s: expected up to %zd numbers, got %zd", name, most, count);
        return -1;
    }
    *value = (ql_value){.kind = are_buffers ? QL_VALUE_BUFFERS : QL_VALUE_INTS};
    *(are_buffers ? &value->buffers.count : &value->integers.count) = (size_t)count;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(tuple, i);
        if (!is_integer(item)) {
            PyErr_Format(PyExc_TypeError, "%s: expected a tuple of integers, got one with a %s", name,
                         Py_TYPE(item)->tp_name);
            return -1;
        }
        if ((are_buffers ? take_buffer(item, name, value->buffers.items + i)
                         : take_integer(item, name, value->integers.items + i)) < 0)
            return -1;
    }
    return 0;
}

static int raise_type(const ql_field *field, PyObject *object)
{
    static const struct {
        int kinds;
        const char *name;
    } names[] = {
        {QL_VALUE_BUFFER | QL_VALUE_INT, "an integer"},
        {QL_VALUE_BUFFERS | QL_VALUE_INTS, "a tuple of integers"},
        {QL_VALUE_FLOAT, "a real number"},
        {QL_VALUE_TEXT, "a string"},
        {QL_VALUE_ARRAY, "an ndarray"},
        {QL_VALUE_NONE, "None"},
    };
    PyObject *expected = PyUnicode_FromString("");
    for (size_t i = 0; expected && i < sizeof names / sizeof *names; i++) {
        if (field->kinds & names[i].kinds)
            Py_SETREF(expected, PyUnicode_FromFormat("%U%s%s", expected, PyUnicode_GET_LENGTH(expected) ? " or " : "",
                                                     names[i].name));
    }
    if (expected)
        PyErr_Format(PyExc_TypeError, "%s: expected %U, got %s", field->name, expected, Py_TYPE(object)->tp_name);
    Py_XDECREF(expected);
    return -1;
}

static int take_field(PyObject *object, const ql_field *field, ql_value *value, PyObject *owners)
{
    const int kinds = field->kinds;
    if (object == Py_None && kinds & QL_VALUE_NONE) {
        *value = (ql_value){.kind = QL_VALUE_NONE};
        return 0;
    }
    if (PyArray_Check(object) && kinds & QL_VALUE_ARRAY)
        return take_array((PyArrayObject *)object, field->name, value, owners);
    if (PyTuple_Check(object) && kinds & (QL_VALUE_BUFFERS | QL_VALUE_INTS))
        return take_tuple(object, field->name, kinds & QL_VALUE_BUFFERS, value);
    if (PyUnicode_Check(object) && kinds & QL_VALUE_TEXT) {
        *value = (ql_value){.kind = QL_VALUE_TEXT, .text = PyUnicode_AsUTF8(object)};
        return value->text ? 0 : -1;
    }
    if (is_integer(object) && kinds & QL_VALUE_BUFFER) {
        *value = (ql_value){.kind = QL_VALUE_BUFFER};
        return take_buffer(object, field->name, &value->buffer);
    }
    if (is_integer(object) && kinds & QL_VALUE_INT) {
        *value = (ql_value){.kind = QL_VALUE_INT};
        return take_integer(object, field->name, &value->integer);
    }
    if (is_real(object) && kinds & QL_VALUE_FLOAT) {
        *value = (ql_value){.kind = QL_VALUE_FLOAT, .real = PyFloat_AsDouble(object)};
        return PyErr_Occurred() ? -1 : 0;
    }
    return raise_type(field, object);
}

int ql_py_fields(PyObject *dict, const ql_field *fields, ql_value values[QL_MAX_FIELDS], PyObject **owners)
{
    Py_ssize_t count = 0;
    *owners = PyList_New(0);
    if (!*owners)
        return -1;
    for (size_t i = 0; fields[i].name; i++) {
        PyObject *object = PyDict_GetItemString(dict, fields[i].name);
        if (!object && fields[i].kinds & QL_VALUE_NONE) {
            values[i] = (ql_value){.kind = QL_VALUE_NONE};
            continue;
        }
        if (!object) {
            PyErr_Format(PyExc_ValueError, "fields: %s is missing", fields[i].name);
            return -1;
        }
        if (take_field(object, fields + i, values + i, *owners) < 0)
            return -1;
        count++;
    }
    if (PyDict_GET_SIZE(dict) != count) {
        PyErr_Format(PyExc_ValueError, "fields: expected %zd of them, got %zd", count, PyDict_GET_SIZE(dict));
        return -1;
    }
    return 0;
}
