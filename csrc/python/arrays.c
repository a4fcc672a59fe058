/* Objects to arrays, results to objects, shapes to layouts. */
#include "python/glue.h"

static PyObject *raise_dtype(const char *name, const char *expected, PyArrayObject *array)
{
    PyErr_Format(PyExc_TypeError, "%s: expected %s, got %S", name, expected, (PyObject *)PyArray_DESCR(array));
    return NULL;
}

/* Takes over what is no plain array of numbers: qlite._check knows the kinds that there are. */
static PyArrayObject *taken_over(PyObject *object, const char *name)
{
    PyObject *check = PyImport_ImportModule("qlite._check");
    PyObject *array = check ? PyObject_CallMethod(check, "as_array", "sO", name, object) : NULL;
    Py_XDECREF(check);
    if (array && !PyArray_Check(array)) {
        PyErr_Format(PyExc_TypeError, "%s: expected an array, got %s", name, Py_TYPE(array)->tp_name);
        Py_CLEAR(array);
    }
    return (PyArrayObject *)array;
}

static PyArrayObject *as_array(PyObject *object, const char *name)
{
    if (PyArray_CheckExact(object) && PyTypeNum_ISNUMBER(PyArray_TYPE((PyArrayObject *)object)))
        return (PyArrayObject *)Py_NewRef(object);
    return taken_over(object, name);
}

/* Tells whether an array can be taken as it is, 0.03 us sooner than PyArray_FromArray finds that out. */
static bool is_ready(PyArrayObject *array, int typenum)
{
    return PyArray_TYPE(array) == typenum && PyArray_ISCARRAY_RO(array);
}

/* Rounds float64 to float32; what is too great becomes an infinity without NumPy's warning about it. */
static PyArrayObject *narrowed(PyArrayObject *array)
{
    PyArrayObject *wide =
        (PyArrayObject *)PyArray_FromArray(array, PyArray_DescrFromType(NPY_FLOAT64), NPY_ARRAY_CARRAY_RO);
    if (!wide)
        return NULL;
    PyArrayObject *result = (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(wide), PyArray_DIMS(wide), NPY_FLOAT32);
    const double *from = PyArray_DATA(wide);
    float *to = result ? PyArray_DATA(result) : NULL;
    for (npy_intp i = 0; result && i < PyArray_SIZE(wide); i++)
        to[i] = (float)from[i];
    Py_DECREF(wide);
    return result;
}

PyArrayObject *ql_py_f32(PyObject *object, const char *name)
{
    PyArrayObject *array = as_array(object, name);
    if (!array)
        return NULL;
    if (is_ready(array, NPY_FLOAT32))
        return array;
    PyArrayObject *result = NULL;
    if (PyArray_TYPE(array) == NPY_FLOAT64)
        result = narrowed(array);
    else if (PyTypeNum_ISFLOAT(PyArray_TYPE(array)))
        result = (PyArrayObject *)PyArray_FromArray(array, PyArray_DescrFromType(NPY_FLOAT32),
                                                    NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
    else
        raise_dtype(name, "a real floating dtype", array);
    Py_DECREF(array);
    return result;
}

PyArrayObject *ql_py_exact(PyObject *object, int typenum, const char *name)
{
    PyArrayObject *array = as_array(object, name);
    if (!array || is_ready(array, typenum))
        return array;
    PyArray_Descr *descr = PyArray_DescrFromType(typenum);
    PyArrayObject *result = NULL;
    if (!PyArray_EquivTypenums(PyArray_TYPE(array), typenum)) {
        PyErr_Format(PyExc_TypeError, "%s: expected %S, got %S", name, (PyObject *)descr,
                     (PyObject *)PyArray_DESCR(array));
        Py_DECREF(descr);
    } else {
        result = (PyArrayObject *)PyArray_FromArray(array, descr, NPY_ARRAY_CARRAY_RO);
    }
    Py_DECREF(array);
    return result;
}

PyArrayObject *ql_py_x8(PyObject *object, const char *name)
{
    PyArrayObject *array = as_array(object, name);
    if (!array || is_ready(array, NPY_UINT8) || is_ready(array, NPY_INT8))
        return array;
    PyArrayObject *result = NULL;
    if (PyArray_TYPE(array) == NPY_INT8 || PyArray_TYPE(array) == NPY_UINT8)
        result = (PyArrayObject *)PyArray_FromArray(array, NULL, NPY_ARRAY_CARRAY_RO);
    else if (PyArray_ISFLOAT(array))
        PyErr_Format(PyExc_TypeError, "%s: expected int8 or uint8, got %S (ql.quantize(%s) makes codes of floats)",
                     name, (PyObject *)PyArray_DESCR(array), name);
    else
        raise_dtype(name, "int8 or uint8", array);
    Py_DECREF(array);
    return result;
}

PyArrayObject *ql_py_codes(PyObject *object, const char *name, int32_t *qmin, int32_t *qmax)
{
    PyArrayObject *array = as_array(object, name);
    if (!array)
        return NULL;
    PyArrayObject *result = NULL;
    switch (PyArray_TYPE(array)) {
    case NPY_INT8:
    case NPY_INT16:
    case NPY_UINT8:
    case NPY_UINT16: {
        const bool is_signed = PyTypeNum_ISSIGNED(PyArray_TYPE(array));
        const int32_t count = 1 << (8 * PyArray_ITEMSIZE(array));
        *qmin = is_signed ? -count / 2 : 0;
        *qmax = *qmin + count - 1;
        result =
            (PyArrayObject *)PyArray_FromArray(array, PyArray_DescrFromType(PyArray_TYPE(array)), NPY_ARRAY_CARRAY_RO);
        break;
    }
    default:
        raise_dtype(name, "int8, uint8, int16 or uint16", array);
    }
    Py_DECREF(array);
    return result;
}

int ql_py_shape(PyArrayObject *array, int ndim, const npy_intp *shape, const char *name)
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

int ql_py_vector(PyArrayObject *array, npy_intp n, const char *name)
{
    return ql_py_shape(array, 1, &n, name);
}

PyArrayObject *ql_py_optional_f32(PyObject *object, npy_intp n, const char *name, bool *absent)
{
    *absent = object == Py_None;
    if (*absent)
        return NULL;
    PyArrayObject *array = ql_py_f32(object, name);
    if (array && ql_py_vector(array, n, name) < 0)
        Py_CLEAR(array);
    return array;
}

int ql_py_bias_f32(PyObject *object, npy_intp n, PyArrayObject **bias)
{
    bool absent;
    *bias = ql_py_optional_f32(object, n, "bias", &absent);
    if (!*bias || n == 0)
        return *bias || absent ? 0 : -1;
    const ql_layout all = {.ndim = 1, .length = {(size_t)n}, .group = {(size_t)n}};
    float low, high;
    if (ql_minmax_f32(PyArray_DATA(*bias), &all, &low, &high))
        return 0;
    ql_py_raise(QL_ENONFINITE, "bias");
    return -1;
}

static int check_out(PyObject *out, int typenum, int ndim, const npy_intp *shape)
{
    if (!PyArray_Check(out)) {
        PyErr_Format(PyExc_TypeError, "out: expected an ndarray, got %s", Py_TYPE(out)->tp_name);
        return -1;
    }
    PyArrayObject *array = (PyArrayObject *)out;
    if (PyArray_TYPE(array) != typenum) {
        PyArray_Descr *expected = PyArray_DescrFromType(typenum);
        PyErr_Format(PyExc_TypeError, "out: expected %S, got %S", (PyObject *)expected,
                     (PyObject *)PyArray_DESCR(array));
        Py_DECREF(expected);
        return -1;
    }
    if (ql_py_shape(array, ndim, shape, "out") < 0)
        return -1;
    if (!PyArray_ISWRITEABLE(array)) {
        PyErr_SetString(PyExc_ValueError, "out: expected a writable array, got a read-only one");
        return -1;
    }
    return 0;
}

/* Tells whether two contiguous arrays overlap. */
static bool share_memory(PyArrayObject *a, PyArrayObject *b)
{
    const char *a_data = PyArray_BYTES(a), *b_data = PyArray_BYTES(b);
    return a_data < b_data + PyArray_NBYTES(b) && b_data < a_data + PyArray_NBYTES(a);
}

int ql_py_separate(PyArrayObject *result, PyArrayObject **input)
{
    if (!*input || !share_memory(result, *input))
        return 0;
    PyArrayObject *copy = (PyArrayObject *)PyArray_NewCopy(*input, NPY_CORDER);
    if (!copy)
        return -1;
    Py_SETREF(*input, copy);
    return 0;
}

PyArrayObject *ql_py_result(PyObject *out, int typenum, int ndim, const npy_intp *shape, PyArrayObject **input,
                            bool in_place)
{
    if (out == Py_None)
        return (PyArrayObject *)PyArray_SimpleNew(ndim, shape, typenum);
    if (check_out(out, typenum, ndim, shape) < 0)
        return NULL;
    PyArrayObject *result = (PyArrayObject *)out;
    if (PyArray_ISCARRAY(result))
        Py_INCREF(result);
    else
        result = (PyArrayObject *)PyArray_FromArray(result, PyArray_DescrFromType(typenum),
                                                    NPY_ARRAY_CARRAY | NPY_ARRAY_WRITEBACKIFCOPY);
    if (!result)
        return NULL;
    bool same = in_place && PyArray_DATA(result) == PyArray_DATA(*input);
    if (!same && ql_py_separate(result, input) < 0)
        ql_py_drop(&result);
    return result;
}

void ql_py_drop(PyArrayObject **result)
{
    PyArray_DiscardWritebackIfCopy(*result);
    Py_CLEAR(*result);
}

PyObject *ql_py_finish(PyObject *out, PyArrayObject *result)
{
    if (out == Py_None || out == (PyObject *)result)
        return (PyObject *)result;
    int failed = PyArray_ResolveWritebackIfCopy(result) < 0;
    Py_DECREF(result);
    return failed ? NULL : Py_NewRef(out);
}

PyObject *ql_py_give(PyObject *out, PyArrayObject *result, ql_status status, const char *name)
{
    if (status == QL_OK)
        return ql_py_finish(out, result);
    ql_py_drop(&result);
    return ql_py_raise(status, name);
}

/* Returns how many neighbours along an axis of this length share one of `count` parameters; 0: they cannot. */
static npy_intp shared_by(npy_intp count, npy_intp length, npy_intp group)
{
    if (count == 1)
        return length > 0 ? length : 1;
    if (count == length)
        return 1;
    return group > 0 && count == length / group + (length % group > 0) ? group : 0;
}

int ql_py_layout(PyArrayObject *data, int ndim, const npy_intp *shape, const char *name, ql_py_groups groups,
                 ql_layout *layout)
{
    const bool is_one = PyArray_MultiplyList(shape, ndim) == 1;
    bool fits = is_one || ndim == PyArray_NDIM(data);
    layout->ndim = 0;
    for (int i = 0; fits && i < PyArray_NDIM(data); i++) {
        npy_intp length = PyArray_DIM(data, i);
        npy_intp group = shared_by(is_one ? 1 : shape[i], length, i == groups.axis ? groups.size : 0);
        fits = group > 0;
        if (fits)
            ql_layout_push(layout, (size_t)length, (size_t)group);
    }
    if (fits)
        return 0;
    PyObject *got = PyArray_IntTupleFromIntp(ndim, shape);
    PyObject *expected = PyArray_IntTupleFromIntp(PyArray_NDIM(data), PyArray_DIMS(data));
    if (got && expected && groups.size > 0)
        PyErr_Format(PyExc_ValueError,
                     "%s: expected one element, or the rank of data of shape %S with its lengths, 1, or the number of "
                     "groups of %d along axis %d, got shape %S",
                     name, expected, groups.size, groups.axis, got);
    else if (got && expected)
        PyErr_Format(PyExc_ValueError,
                     "%s: expected one element, or the rank of data of shape %S with its lengths or 1, got shape %S",
                     name, expected, got);
    Py_XDECREF(got);
    Py_XDECREF(expected);
    return -1;
}

int ql_py_axis_layout(PyArrayObject *data, int axis, ql_layout *layout)
{
    if (axis >= PyArray_NDIM(data)) {
        PyErr_Format(PyExc_ValueError, "axis: expected less than the %d dimensions of the data, got %d",
                     PyArray_NDIM(data), axis);
        return -1;
    }
    layout->ndim = 0;
    for (int i = 0; i < PyArray_NDIM(data); i++) {
        size_t length = (size_t)PyArray_DIM(data, i);
        ql_layout_push(layout, length, i == axis || length == 0 ? 1 : length);
    }
    return 0;
}
