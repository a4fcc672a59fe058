/* A Python module that shows what becomes of fields: values(table, fields), with table {name: kinds}, returns {name:
 * (kind, value)}, arrays as (type, shape, bytes). test_fields.py builds it with csrc/python/py_fields.c. */
#define QL_IMPORT_NUMPY
#include "python/glue.h"

static PyObject *tuple_of_buffers(const ql_value *value)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)value->buffers.count);
    for (size_t i = 0; i < value->buffers.count; i++)
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, PyLong_FromSize_t(value->buffers.items[i]));
    return tuple;
}

static PyObject *tuple_of_integers(const ql_value *value)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)value->integers.count);
    for (size_t i = 0; i < value->integers.count; i++)
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, PyLong_FromLongLong(value->integers.items[i]));
    return tuple;
}

static PyObject *shown_array(const ql_array *array)
{
    PyObject *shape = PyTuple_New((Py_ssize_t)array->rank);
    const ql_py_type *type = ql_py_type_of(array->type);
    Py_ssize_t size = array->type == QL_F32 || array->type == QL_S32 ? 4 : array->type == QL_S16 ? 2 : 1;
    for (size_t i = 0; i < array->rank; i++) {
        PyTuple_SET_ITEM(shape, (Py_ssize_t)i, PyLong_FromSize_t(array->shape[i]));
        size *= (Py_ssize_t)array->shape[i];
    }
    return Py_BuildValue("sNy#", type->name, shape, (const char *)array->data, size);
}

static PyObject *shown(const ql_value *value)
{
    switch (value->kind) {
    case QL_VALUE_BUFFER:
        return PyLong_FromSize_t(value->buffer);
    case QL_VALUE_BUFFERS:
        return tuple_of_buffers(value);
    case QL_VALUE_INT:
        return PyLong_FromLongLong(value->integer);
    case QL_VALUE_FLOAT:
        return PyFloat_FromDouble(value->real);
    case QL_VALUE_INTS:
        return tuple_of_integers(value);
    case QL_VALUE_TEXT:
        return PyUnicode_FromString(value->text);
    case QL_VALUE_ARRAY:
        return shown_array(&value->array);
    default:
        return Py_NewRef(Py_None);
    }
}

static PyObject *values(PyObject *module, PyObject *args)
{
    (void)module;
    ql_field fields[QL_MAX_FIELDS + 1] = {{NULL, 0}};
    ql_value taken[QL_MAX_FIELDS];
    PyObject *table, *dict, *name, *kinds, *owners = NULL, *result = NULL;
    Py_ssize_t position = 0, count = 0;
    if (!PyArg_ParseTuple(args, "O!O!", &PyDict_Type, &table, &PyDict_Type, &dict))
        return NULL;
    while (count < QL_MAX_FIELDS && PyDict_Next(table, &position, &name, &kinds))
        fields[count++] = (ql_field){PyUnicode_AsUTF8(name), (int)PyLong_AsLong(kinds)};
    if (ql_py_fields(dict, fields, taken, &owners) == 0) {
        result = PyDict_New();
        for (Py_ssize_t i = 0; i < count; i++) {
            PyObject *pair = Py_BuildValue("iN", (int)taken[i].kind, shown(taken + i));
            PyDict_SetItemString(result, fields[i].name, pair);
            Py_XDECREF(pair);
        }
    }
    Py_XDECREF(owners);
    return result;
}

static PyMethodDef methods[] = {{"values", values, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "fields", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit_fields(void)
{
    import_array();
    return PyModule_Create(&definition);
}
