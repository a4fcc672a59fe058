/* Products with packed matrices: of codes, and of floats. */
#include "python/glue.h"

/* Checks that the left operand is rows of k elements, in ndim dimensions or, if that is 0, in any number from 1 on. */
static int check_left(PyArrayObject *left, size_t k, int ndim, const char *name)
{
    const int last = PyArray_NDIM(left) - 1;
    if (last >= 0 && (ndim == 0 || last == ndim - 1) && (size_t)PyArray_DIM(left, last) == k)
        return 0;
    PyObject *got = PyArray_IntTupleFromIntp(PyArray_NDIM(left), PyArray_DIMS(left));
    if (got)
        PyErr_Format(PyExc_ValueError, "%s: expected shape (%s, %zu), got %S", name, ndim ? "rows" : "...", k, got);
    Py_XDECREF(got);
    return -1;
}

/* Returns the rows of the left operand: the product of all dimensions but the last one. */
static size_t count_rows(PyArrayObject *left)
{
    return (size_t)PyArray_MultiplyList(PyArray_DIMS(left), PyArray_NDIM(left) - 1);
}

static npy_intp columns_of(const ql_py_packed *right)
{
    return (npy_intp)right->info.shape[1];
}

/* Returns memory for a product: the shape of the left operand, with the number of columns for its last length. */
static PyArrayObject *take_result(PyObject *out, int typenum, PyArrayObject **left, const ql_py_packed *right)
{
    npy_intp shape[NPY_MAXDIMS];
    const int ndim = PyArray_NDIM(*left);
    for (int i = 0; i < ndim - 1; i++)
        shape[i] = PyArray_DIM(*left, i);
    shape[ndim - 1] = columns_of(right);
    return ql_py_result(out, typenum, ndim, shape, left, false);
}

/* ---- codes by codes ----------------------------------------------------------------------------- */

/* Operands of an integer product: arrays with a new reference each, or NULL. */
typedef struct code_operands {
    const ql_py_packed *b;
    PyArrayObject *a, *zero_point;
    size_t m;
} code_operands;

static void drop_codes(code_operands *o)
{
    Py_XDECREF(o->a);
    Py_XDECREF(o->zero_point);
}

/* Takes zero points of m rows: one for all, or one per row. */
static PyArrayObject *take_row_zero_points(PyObject *object, size_t m, const char *name)
{
    PyArrayObject *zero_point = ql_py_exact(object, NPY_INT32, name);
    if (!zero_point || PyArray_SIZE(zero_point) == 1 || PyArray_SIZE(zero_point) == (npy_intp)m)
        return zero_point;
    PyErr_Format(PyExc_ValueError, "%s: expected one, or one per row (%zu), got %zd", name, m,
                 PyArray_SIZE(zero_point));
    Py_DECREF(zero_point);
    return NULL;
}

/* Takes a, b, a_zero_point. Returns 0, or -1 with an exception and some of the arrays. */
static int take_codes(PyObject *module, PyObject *const *objects, int ndim, const char *const names[3],
                      code_operands *o)
{
    *o = (code_operands){.b = ql_py_take_packed(module, objects[1], QL_PY_MATRIX, names[1])};
    o->a = o->b ? ql_py_x8(objects[0], names[0]) : NULL;
    if (!o->a || check_left(o->a, o->b->info.shape[0], ndim, names[0]) < 0)
        return -1;
    o->m = count_rows(o->a);
    o->zero_point = take_row_zero_points(objects[2], o->m, names[2]);
    return o->zero_point ? 0 : -1;
}

/* Returns the left operand as the core takes it; not before take_result, which may replace it by a copy. */
static ql_codes codes_of(const code_operands *o)
{
    return (ql_codes){PyArray_DATA(o->a), o->b->info.shape[0], ql_py_is_signed(o->a), PyArray_DATA(o->zero_point),
                      PyArray_SIZE(o->zero_point) != 1};
}

/* Returns the argument that a status speaks of; `invalid` is that of QL_EINVAL. */
static const char *argument_of(ql_status status, const char *left, const char *both, const char *invalid)
{
    return status == QL_ECODES ? left : status == QL_EOVERFLOW ? both : invalid;
}

/* Arguments: a, b, a_zero_point, out. */
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
        const ql_codes codes = codes_of(&o);
        ql_status status;
        ql_py_pause pause;
        ql_py_begin(&pause);
        status = ql_gemm(&codes, o.m, o.b->weights.matrix, NULL, &sums, PyArray_DATA(c));
        status = ql_py_end(&pause, status);
        result = ql_py_give(args[3], c, status, argument_of(status, names[0], "a, b", names[2]));
    }
    drop_codes(&o);
    return result;
}

/* Arguments: a, b, a_zero_point, b_zero_point (one per column), out. */
static PyObject *matmul_unpacked(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    PyObject *result = NULL;
    PyArrayObject *a = NULL, *b = NULL, *a_zero_point = NULL, *b_zero_point = NULL, *c = NULL;
    if (ql_py_count("matmul_unpacked", count, 5) < 0 || !(a = ql_py_x8(args[0], "a")) ||
        !(b = ql_py_x8_dense(args[1], "b")))
        goto done;
    if (PyArray_NDIM(b) != 2) {
        PyErr_Format(PyExc_ValueError, "b: expected 2 dimensions, got %d", PyArray_NDIM(b));
        goto done;
    }
    if (check_left(a, (size_t)PyArray_DIM(b, 0), 2, "a") < 0)
        goto done;
    const npy_intp shape[] = {PyArray_DIM(a, 0), PyArray_DIM(b, 1)};
    if (!(a_zero_point = take_row_zero_points(args[2], (size_t)shape[0], "a_zero_point")) ||
        !(b_zero_point = ql_py_exact(args[3], NPY_INT32, "b_zero_point")) ||
        ql_py_vector(b_zero_point, shape[1], "b_zero_point") < 0)
        goto done;
    c = ql_py_result(args[4], NPY_INT32, 2, shape, &a, false);
    if (!c || ql_py_separate(c, &b) < 0)
        goto done;
    const ql_code_matrix matrix = ql_py_code_matrix(b, b_zero_point);
    const ql_codes codes = {PyArray_DATA(a), matrix.k, ql_py_is_signed(a), PyArray_DATA(a_zero_point),
                            PyArray_SIZE(a_zero_point) != 1};
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_gemm_unpacked(&codes, (size_t)shape[0], &matrix, PyArray_DATA(c));
    Py_END_ALLOW_THREADS
    result = ql_py_give(args[4], c, status, status == QL_EOVERFLOW ? "a, b" : "a_zero_point, b_zero_point");
    c = NULL;
done:
    Py_XDECREF(c);
    Py_XDECREF(b_zero_point);
    Py_XDECREF(a_zero_point);
    Py_XDECREF(b);
    Py_XDECREF(a);
    return result;
}

/* Arguments: x, w, x_zero_point, bias, output (qlite.ops.epilogue.Output), out. */
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
    scale = ql_py_output(args[4], columns_of(o.b), &output, &typenum);
    if (!scale)
        goto done;
    if (args[3] != Py_None) {
        bias = ql_py_exact(args[3], NPY_INT32, "bias");
        if (!bias || ql_py_vector(bias, columns_of(o.b), "bias") < 0)
            goto done;
    }
    c = take_result(args[5], typenum, &o.a, o.b);
    if (!c)
        goto done;
    const ql_codes codes = codes_of(&o);
    ql_status status;
    ql_py_pause pause;
    ql_py_begin(&pause);
    status = ql_linear_static(&codes, o.m, o.b->weights.matrix, ql_py_data(bias), &output, PyArray_DATA(c));
    status = ql_py_end(&pause, status);
    result = ql_py_give(args[5], c, status, argument_of(status, names[0], "x, w", ql_py_output_name(&output)));
done:
    Py_XDECREF(scale);
    Py_XDECREF(bias);
    drop_codes(&o);
    return result;
}

/* ---- floats by codes ---------------------------------------------------------------------------- */

/* Operands of a product of floats, arrays with a new reference each or NULL, and its result. */
typedef struct float_operands {
    const ql_py_packed *w;
    PyArrayObject *x, *scale, *bias, *y;
    size_t m;
} float_operands;

/* Takes operands, and memory for the result. A matrix needs a scale per column, grouped weights hold theirs: scale is
 * NULL. Returns 0, or -1 with an exception and some of the operands. */
static int take_floats(PyObject *module, PyObject *x, PyObject *w, PyObject *scale, PyObject *bias, PyObject *out,
                       float_operands *o)
{
    *o = (float_operands){.w = ql_py_take_packed(module, w, scale ? QL_PY_MATRIX : QL_PY_GROUPED, "w")};
    if (!o->w)
        return -1;
    const npy_intp n = columns_of(o->w);
    bool is_absent = false;
    if (scale) {
        o->scale = ql_py_optional_f32(scale, n, "scale", &is_absent);
        if (is_absent)
            PyErr_SetString(PyExc_TypeError, "scale: expected an array, got None");
        if (!o->scale)
            return -1;
    }
    o->x = ql_py_f32(x, "x");
    if (!o->x || check_left(o->x, o->w->info.shape[0], 0, "x") < 0 || ql_py_bias_f32(bias, n, &o->bias) < 0)
        return -1;
    o->m = count_rows(o->x);
    o->y = take_result(out, NPY_FLOAT32, &o->x, o->w);
    if (!o->y)
        return -1;
    if (ql_py_separate(o->y, &o->scale) == 0 && ql_py_separate(o->y, &o->bias) == 0)
        return 0;
    ql_py_drop(&o->y);
    return -1;
}

/* Returns the result, or NULL with the exception that is set or that the status means. */
static PyObject *finish(float_operands *o, PyObject *out, ql_status status)
{
    Py_XDECREF(o->x);
    Py_XDECREF(o->scale);
    Py_XDECREF(o->bias);
    return o->y ? ql_py_give(out, o->y, status, status == QL_ENONFINITE ? "x" : "w") : NULL;
}

static int take_flag(PyObject *object, bool *value)
{
    const int truth = PyObject_IsTrue(object);
    *value = truth > 0;
    return truth < 0 ? -1 : 0;
}

/* Arguments: x, w, scale, bias, activation, per_tensor, out. */
static PyObject *linear(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ql_linear_options options;
    ql_status status = QL_OK;
    float_operands o;
    if (ql_py_count("linear", count, 7) < 0 || ql_py_activation(args[4], &options.activation) < 0 ||
        take_flag(args[5], &options.per_tensor) < 0)
        return NULL;
    if (take_floats(module, args[0], args[1], args[2], args[3], args[6], &o) == 0) {
        options.scale = PyArray_DATA(o.scale);
        options.offset = ql_py_data(o.bias);
        ql_py_pause pause;
        ql_py_begin(&pause);
        status = ql_linear(PyArray_DATA(o.x), o.m, o.w->weights.matrix, &options, PyArray_DATA(o.y));
        status = ql_py_end(&pause, status);
    }
    return finish(&o, args[6], status);
}

/* Arguments: x, w, bias, activation, out. */
static PyObject *linear_grouped(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ql_grouped_options options;
    ql_status status = QL_OK;
    float_operands o;
    if (ql_py_count("linear_grouped", count, 5) < 0 || ql_py_activation(args[3], &options.activation) < 0)
        return NULL;
    if (take_floats(module, args[0], args[1], NULL, args[2], args[4], &o) == 0) {
        options.offset = ql_py_data(o.bias);
        ql_py_pause pause;
        ql_py_begin(&pause);
        status = ql_linear_grouped(PyArray_DATA(o.x), o.m, o.w->weights.grouped, &options, PyArray_DATA(o.y));
        status = ql_py_end(&pause, status);
    }
    return finish(&o, args[4], status);
}

/* Arguments: x, w, scale, bias, activation, out. */
static PyObject *matmul_float(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ql_status status = QL_OK;
    float_operands o;
    ql_activation activation;
    if (ql_py_count("matmul_float", count, 6) < 0 || ql_py_activation(args[4], &activation) < 0)
        return NULL;
    if (take_floats(module, args[0], args[1], args[2], args[3], args[5], &o) == 0) {
        ql_py_pause pause;
        ql_py_begin(&pause);
        status = ql_gemm_f32(PyArray_DATA(o.x), o.m, o.w->weights.matrix, PyArray_DATA(o.scale), ql_py_data(o.bias),
                             activation, PyArray_DATA(o.y));
        status = ql_py_end(&pause, status);
    }
    return finish(&o, args[5], status);
}

/* Arguments: x, w, out. */
static PyObject *matmul_grouped(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ql_status status = QL_OK;
    float_operands o;
    if (ql_py_count("matmul_grouped", count, 3) < 0)
        return NULL;
    if (take_floats(module, args[0], args[1], NULL, Py_None, args[2], &o) == 0) {
        ql_py_pause pause;
        ql_py_begin(&pause);
        status = ql_gemm_grouped_f32(PyArray_DATA(o.x), o.m, o.w->weights.grouped, PyArray_DATA(o.y));
        status = ql_py_end(&pause, status);
    }
    return finish(&o, args[2], status);
}

#define FAST(function) {#function, (PyCFunction)(void (*)(void))function, METH_FASTCALL, NULL}

PyMethodDef ql_py_gemm_methods[] = {
    FAST(matmul_integer), FAST(matmul_unpacked), FAST(linear_static),  FAST(linear),
    FAST(linear_grouped), FAST(matmul_float),    FAST(matmul_grouped), {NULL, NULL, 0, NULL},
};
