/* Objects to arrays, results to objects, shapes to layouts. */
#include "python/glue.h"

static PyObject *raise_dtype(const char *name, const char *expected, PyArrayObject *array)
{
    PyErr_Format(PyExc_TypeError, "%s: expected %s, got %S", name, expected, (PyObject *)PyArray_DESCR(array));
    return NULL;
}

/* Returns an array that may be copied; takes over the reference. One with gaps or repeats, as broadcast_to makes them,
 * may be larger than memory. */
static PyArrayObject *within_memory(PyArrayObject *array, const char *name)
{
    const int typenum = PyArray_ISFLOAT(array) ? NPY_FLOAT32 : PyArray_TYPE(array);
    if (PyArray_IS_C_CONTIGUOUS(array) || PyArray_IS_F_CONTIGUOUS(array) ||
        ql_py_fits_memory(PyArray_NDIM(array), PyArray_DIMS(array), typenum, name) == 0)
        return array;
    Py_DECREF(array);
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
        return within_memory((PyArrayObject *)Py_NewRef(object), name);
    return taken_over(object, name);
}

/* ---- memory ------------------------------------------------------------------------------------- */

void ql_py_memory_order(PyArrayObject *array, int *axes)
{
    const int ndim = PyArray_NDIM(array);
    for (int i = 0; i < ndim; i++) {
        const npy_intp stride = PyArray_STRIDE(array, i);
        int place = i;
        for (; place > 0 && PyArray_DIM(array, i) > 1; place--) {
            const int other = axes[place - 1];
            if (PyArray_DIM(array, other) > 1 && PyArray_STRIDE(array, other) >= stride)
                break;
            axes[place] = other;
        }
        axes[place] = i;
    }
}

/* Tells whether the elements lie side by side, in some order of the axes. */
static bool is_dense(PyArrayObject *array)
{
    if (PyArray_IS_C_CONTIGUOUS(array) || PyArray_IS_F_CONTIGUOUS(array))
        return true;
    int axes[NPY_MAXDIMS];
    npy_intp stride = PyArray_ITEMSIZE(array);
    ql_py_memory_order(array, axes);
    for (int i = PyArray_NDIM(array); i-- > 0;) {
        const npy_intp length = PyArray_DIM(array, axes[i]);
        if (length > 1 && PyArray_STRIDE(array, axes[i]) != stride)
            return false;
        stride *= length;
    }
    return true;
}

/* Tells whether two arrays of one shape have their elements in the same places. */
static bool lie_alike(PyArrayObject *a, PyArrayObject *b)
{
    for (int i = 0; i < PyArray_NDIM(a); i++) {
        if (PyArray_DIM(a, i) > 1 &&
            PyArray_STRIDE(a, i) * PyArray_ITEMSIZE(b) != PyArray_STRIDE(b, i) * PyArray_ITEMSIZE(a))
            return false;
    }
    return true;
}

/* Copies between arrays of one shape. Returns 0, or -1 with an exception. */
static int copy_elements(PyArrayObject *to, PyArrayObject *from)
{
    const bool is_known = PyArray_TYPE(to) == PyArray_TYPE(from) && PyArray_ISNOTSWAPPED(to) &&
                          PyArray_ISNOTSWAPPED(from) && !PyDataType_REFCHK(PyArray_DESCR(to));
    const npy_intp size = PyArray_ITEMSIZE(to);
    if (!is_known || (size != 1 && size != 2 && size != 4 && size != 8))
        return PyArray_CopyInto(to, from);
    ql_copy copy = {
        .size = (size_t)size, .ndim = (size_t)PyArray_NDIM(to), .from = PyArray_DATA(from), .to = PyArray_DATA(to)};
    for (int i = 0; i < PyArray_NDIM(to); i++) {
        copy.length[i] = (size_t)PyArray_DIM(to, i);
        copy.from_stride[i] = PyArray_STRIDE(from, i);
        copy.to_stride[i] = PyArray_STRIDE(to, i);
    }
    Py_BEGIN_ALLOW_THREADS
        ql_copy_strided(&copy);
    Py_END_ALLOW_THREADS
    return 0;
}

/* Returns a new array of a type with the elements of another, row by row or in their own order. */
static PyArrayObject *copied(PyArrayObject *array, int typenum, NPY_ORDER order)
{
    PyArrayObject *copy = (PyArrayObject *)PyArray_NewLikeArray(array, order, PyArray_DescrFromType(typenum), 0);
    if (copy && copy_elements(copy, array) < 0)
        Py_CLEAR(copy);
    return copy;
}

/* Tells whether an array can be taken as it is, 0.03 us sooner than PyArray_FromArray finds that out. */
static bool is_ready(PyArrayObject *array, int typenum)
{
    return PyArray_TYPE(array) == typenum && PyArray_ISCARRAY_RO(array);
}

/* Returns the array itself if it is of this type and NPY_CORDER, by rows, or NPY_KEEPORDER, without gaps; else a copy
 * that is. Takes over the reference. */
static PyArrayObject *in_order(PyArrayObject *array, int typenum, NPY_ORDER order)
{
    const bool is_behaved = PyArray_TYPE(array) == typenum && PyArray_ISBEHAVED_RO(array);
    if (is_behaved && (PyArray_IS_C_CONTIGUOUS(array) || (order == NPY_KEEPORDER && is_dense(array))))
        return array;
    PyArrayObject *copy = copied(array, typenum, order);
    Py_DECREF(array);
    return copy;
}

/* ---- data --------------------------------------------------------------------------------------- */

/* Rounds float64 to float32; what is too great becomes an infinity without NumPy's warning about it. */
static PyArrayObject *narrowed(PyArrayObject *array, NPY_ORDER order)
{
    PyArrayObject *wide = in_order((PyArrayObject *)Py_NewRef(array), NPY_FLOAT64, order);
    if (!wide)
        return NULL;
    PyArrayObject *result =
        (PyArrayObject *)PyArray_NewLikeArray(wide, NPY_KEEPORDER, PyArray_DescrFromType(NPY_FLOAT32), 0);
    const double *from = PyArray_DATA(wide);
    float *to = result ? PyArray_DATA(result) : NULL;
    for (npy_intp i = 0; result && i < PyArray_SIZE(wide); i++)
        to[i] = (float)from[i];
    Py_DECREF(wide);
    return result;
}

static PyArrayObject *take_f32(PyObject *object, const char *name, NPY_ORDER order)
{
    PyArrayObject *array = as_array(object, name);
    if (!array || is_ready(array, NPY_FLOAT32))
        return array;
    if (PyArray_TYPE(array) != NPY_FLOAT64 && PyTypeNum_ISFLOAT(PyArray_TYPE(array)))
        return in_order(array, NPY_FLOAT32, order);
    PyArrayObject *result = NULL;
    if (PyArray_TYPE(array) == NPY_FLOAT64)
        result = narrowed(array, order);
    else
        raise_dtype(name, "a real floating dtype", array);
    Py_DECREF(array);
    return result;
}

PyArrayObject *ql_py_f32(PyObject *object, const char *name)
{
    return take_f32(object, name, NPY_CORDER);
}

PyArrayObject *ql_py_f32_dense(PyObject *object, const char *name)
{
    return take_f32(object, name, NPY_KEEPORDER);
}

static PyArrayObject *take_exact(PyObject *object, int typenum, const char *name, NPY_ORDER order)
{
    PyArrayObject *array = as_array(object, name);
    if (!array || is_ready(array, typenum))
        return array;
    if (PyArray_EquivTypenums(PyArray_TYPE(array), typenum))
        return in_order(array, typenum, order);
    PyArray_Descr *descr = PyArray_DescrFromType(typenum);
    PyErr_Format(PyExc_TypeError, "%s: expected %S, got %S", name, (PyObject *)descr, (PyObject *)PyArray_DESCR(array));
    Py_DECREF(descr);
    Py_DECREF(array);
    return NULL;
}

PyArrayObject *ql_py_exact(PyObject *object, int typenum, const char *name)
{
    return take_exact(object, typenum, name, NPY_CORDER);
}

PyArrayObject *ql_py_exact_dense(PyObject *object, int typenum, const char *name)
{
    return take_exact(object, typenum, name, NPY_KEEPORDER);
}

static PyArrayObject *take_x8(PyObject *object, const char *name, NPY_ORDER order)
{
    PyArrayObject *array = as_array(object, name);
    if (!array || is_ready(array, NPY_UINT8) || is_ready(array, NPY_INT8))
        return array;
    if (PyArray_TYPE(array) == NPY_INT8 || PyArray_TYPE(array) == NPY_UINT8)
        return in_order(array, PyArray_TYPE(array), order);
    if (PyArray_ISFLOAT(array))
        PyErr_Format(PyExc_TypeError, "%s: expected int8 or uint8, got %S (ql.quantize(%s) makes codes of floats)",
                     name, (PyObject *)PyArray_DESCR(array), name);
    else
        raise_dtype(name, "int8 or uint8", array);
    Py_DECREF(array);
    return NULL;
}

PyArrayObject *ql_py_x8(PyObject *object, const char *name)
{
    return take_x8(object, name, NPY_CORDER);
}

PyArrayObject *ql_py_x8_dense(PyObject *object, const char *name)
{
    return take_x8(object, name, NPY_KEEPORDER);
}

static PyArrayObject *take_codes(PyObject *object, const char *name, NPY_ORDER order, int32_t *qmin, int32_t *qmax)
{
    PyArrayObject *array = as_array(object, name);
    if (!array)
        return NULL;
    switch (PyArray_TYPE(array)) {
    case NPY_INT8:
    case NPY_INT16:
    case NPY_UINT8:
    case NPY_UINT16: {
        const bool is_signed = PyTypeNum_ISSIGNED(PyArray_TYPE(array));
        const int32_t count = 1 << (8 * PyArray_ITEMSIZE(array));
        *qmin = is_signed ? -count / 2 : 0;
        *qmax = *qmin + count - 1;
        return in_order(array, PyArray_TYPE(array), order);
    }
    default:
        raise_dtype(name, "int8, uint8, int16 or uint16", array);
        Py_DECREF(array);
        return NULL;
    }
}

PyArrayObject *ql_py_codes(PyObject *object, const char *name, int32_t *qmin, int32_t *qmax)
{
    return take_codes(object, name, NPY_CORDER, qmin, qmax);
}

PyArrayObject *ql_py_codes_dense(PyObject *object, const char *name, int32_t *qmin, int32_t *qmax)
{
    return take_codes(object, name, NPY_KEEPORDER, qmin, qmax);
}

PyArrayObject *ql_py_contiguous(PyObject *object, const char *name)
{
    PyArrayObject *array = as_array(object, name);
    if (!array || PyTypeNum_ISNUMBER(PyArray_TYPE(array)))
        return array ? in_order(array, PyArray_TYPE(array), NPY_CORDER) : NULL;
    raise_dtype(name, "numbers", array);
    Py_DECREF(array);
    return NULL;
}

PyArrayObject *ql_py_writable_f32(PyObject *object, const char *name)
{
    if (PyArray_Check(object)) {
        PyArrayObject *array = (PyArrayObject *)object;
        if (PyArray_TYPE(array) == NPY_FLOAT32 && PyArray_ISCARRAY(array))
            return array;
    }
    PyErr_Format(PyExc_TypeError, "%s: expected a C-contiguous, writable float32 array, got %R", name,
                 PyArray_Check(object) ? (PyObject *)PyArray_DESCR((PyArrayObject *)object)
                                       : (PyObject *)Py_TYPE(object));
    return NULL;
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

/* Tells whether two arrays without gaps overlap. */
static bool share_memory(PyArrayObject *a, PyArrayObject *b)
{
    const char *a_data = PyArray_BYTES(a), *b_data = PyArray_BYTES(b);
    return a_data < b_data + PyArray_NBYTES(b) && b_data < a_data + PyArray_NBYTES(a);
}

int ql_py_separate(PyArrayObject *result, PyArrayObject **input)
{
    if (!*input || !share_memory(result, *input))
        return 0;
    PyArrayObject *copy = (PyArrayObject *)PyArray_NewCopy(*input, NPY_KEEPORDER);
    if (!copy)
        return -1;
    Py_SETREF(*input, copy);
    return 0;
}

/* Returns out if it lies as `like` does, or by rows if that is NULL; else a new array that does. */
static PyArrayObject *memory_for(PyObject *out, int typenum, int ndim, const npy_intp *shape, PyArrayObject *like)
{
    if (out != Py_None) {
        if (check_out(out, typenum, ndim, shape) < 0)
            return NULL;
        PyArrayObject *array = (PyArrayObject *)out;
        if (like ? PyArray_ISBEHAVED(array) && lie_alike(array, like) : PyArray_ISCARRAY(array))
            return (PyArrayObject *)Py_NewRef(out);
    }
    if (ql_py_fits_memory(ndim, shape, typenum, "out") < 0)
        return NULL;
    if (!like)
        return (PyArrayObject *)PyArray_SimpleNew(ndim, shape, typenum);
    return (PyArrayObject *)PyArray_NewLikeArray(like, NPY_KEEPORDER, PyArray_DescrFromType(typenum), 0);
}

/* Returns the result after a look at whether it shares memory with the input. */
static PyArrayObject *apart_from(PyArrayObject **input, bool in_place, PyArrayObject *result)
{
    if (!result)
        return NULL;
    bool same = in_place && PyArray_DATA(result) == PyArray_DATA(*input);
    if (!same && ql_py_separate(result, input) < 0)
        ql_py_drop(&result);
    return result;
}

PyArrayObject *ql_py_result(PyObject *out, int typenum, int ndim, const npy_intp *shape, PyArrayObject **input,
                            bool in_place)
{
    return apart_from(input, in_place, memory_for(out, typenum, ndim, shape, NULL));
}

PyArrayObject *ql_py_result_like(PyObject *out, int typenum, PyArrayObject **input, bool in_place)
{
    PyArrayObject *like = *input;
    return apart_from(input, in_place, memory_for(out, typenum, PyArray_NDIM(like), PyArray_DIMS(like), like));
}

void ql_py_drop(PyArrayObject **result)
{
    Py_CLEAR(*result);
}

PyObject *ql_py_finish(PyObject *out, PyArrayObject *result)
{
    if (out == Py_None || out == (PyObject *)result)
        return (PyObject *)result;
    int failed = copy_elements((PyArrayObject *)out, result) < 0;
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
    int axes[NPY_MAXDIMS];
    ql_py_memory_order(data, axes);
    for (int i = 0; fits && i < PyArray_NDIM(data); i++) {
        const int axis = axes[i];
        npy_intp length = PyArray_DIM(data, axis);
        npy_intp group = shared_by(is_one ? 1 : shape[axis], length, axis == groups.axis ? groups.size : 0);
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
    int axes[NPY_MAXDIMS];
    ql_py_memory_order(data, axes);
    layout->ndim = 0;
    for (int i = 0; i < PyArray_NDIM(data); i++) {
        size_t length = (size_t)PyArray_DIM(data, axes[i]);
        ql_layout_push(layout, length, axes[i] == axis || length == 0 ? 1 : length);
    }
    return 0;
}

/* Fills in the axes of parameters in the order in which those of the data lie in memory; axes that come after the
 * data's stay last. */
static PyArray_Dims order_over(PyArrayObject *data, int ndim, npy_intp axes[NPY_MAXDIMS])
{
    int own[NPY_MAXDIMS];
    ql_py_memory_order(data, own);
    for (int i = 0; i < ndim; i++)
        axes[i] = i < PyArray_NDIM(data) ? own[i] : i;
    return (PyArray_Dims){axes, ndim};
}

int ql_py_lay_over(PyArrayObject *data, PyArrayObject **parameters)
{
    const int ndim = PyArray_NDIM(*parameters);
    if (PyArray_IS_C_CONTIGUOUS(data) || ndim < PyArray_NDIM(data))
        return 0;
    npy_intp axes[NPY_MAXDIMS];
    PyArray_Dims order = order_over(data, ndim, axes);
    PyArrayObject *moved = (PyArrayObject *)PyArray_Transpose(*parameters, &order);
    if (moved)
        moved = in_order(moved, PyArray_TYPE(moved), NPY_CORDER);
    if (!moved)
        return -1;
    Py_SETREF(*parameters, moved);
    return 0;
}

PyArrayObject *ql_py_new_parameters(PyArrayObject *data, int ndim, const npy_intp *shape, int typenum)
{
    if (PyArray_IS_C_CONTIGUOUS(data) || ndim != PyArray_NDIM(data))
        return (PyArrayObject *)PyArray_SimpleNew(ndim, shape, typenum);
    npy_intp axes[NPY_MAXDIMS], moved[NPY_MAXDIMS], back[NPY_MAXDIMS];
    (void)order_over(data, ndim, axes);
    for (int i = 0; i < ndim; i++) {
        moved[i] = shape[axes[i]];
        back[axes[i]] = i;
    }
    PyArrayObject *memory = (PyArrayObject *)PyArray_SimpleNew(ndim, moved, typenum);
    if (!memory)
        return NULL;
    PyArrayObject *parameters = (PyArrayObject *)PyArray_Transpose(memory, &(PyArray_Dims){back, ndim});
    Py_DECREF(memory);
    return parameters;
}
