/* What makes exceptions: the status of the core, a wrong number of arguments, an option that there is not. */
#include <string.h>

#include "python/glue.h"

int ql_py_count(const char *function, Py_ssize_t got, Py_ssize_t expected)
{
    if (got == expected)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s: expected %zd arguments, got %zd", function, expected, got);
    return -1;
}

PyObject *ql_py_raise(ql_status status, const char *name)
{
    switch (status) {
    case QL_ESTOPPED:
        return NULL; /* ql_py_end has set the exception */
    case QL_ENOMEM:
        return PyErr_NoMemory();
    case QL_EOVERFLOW:
        return PyErr_Format(PyExc_OverflowError, "%s: %s", name, ql_status_text(status));
    case QL_ENONFINITE:
        return PyErr_Format(PyExc_ValueError, "%s: expected finite values, got NaN or infinity", name);
    default:
        return PyErr_Format(PyExc_ValueError, "%s: %s", name, ql_status_text(status));
    }
}

int ql_py_option(const char *argument, const char *name, const char *const *options, int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(options[i], name) == 0)
            return i;
    }
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < count; i++) {
        PyObject *option = PyUnicode_FromString(options[i]);
        if (!option || PyList_Append(list, option) < 0)
            Py_CLEAR(list);
        Py_XDECREF(option);
    }
    if (list)
        PyErr_Format(PyExc_ValueError, "%s: expected one of %S, got '%s'", argument, list, name);
    Py_XDECREF(list);
    return -1;
}
