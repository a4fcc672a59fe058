/* Arrays on uniform grids, and their statistics: contiguous, quantize, dequantize, fake_quantize, in_range, requantize,
 * quantize_multiplier, minmax, moments. */
#include "python/glue.h"

/* Scale and zero_point as they lie over data. */
typedef struct grid_arrays {
    PyArrayObject *scale, *zero_point;
} grid_arrays;

static void release(grid_arrays *g)
{
    Py_CLEAR(g->scale);
    Py_CLEAR(g->zero_point);
}

static int take_grid(PyArrayObject *data, PyObject *scale, PyObject *zero_point, ql_py_groups groups, ql_affine *affine,
                     grid_arrays *g)
{
    g->scale = ql_py_exact(scale, NPY_FLOAT32, "scale");
    g->zero_point = g->scale ? ql_py_exact(zero_point, NPY_INT32, "zero_point") : NULL;
    if (!g->zero_point ||
        ql_py_layout(data, PyArray_NDIM(g->scale), PyArray_DIMS(g->scale), "scale", groups, &affine->layout) < 0) {
        release(g);
        return -1;
    }
    if (PyArray_SIZE(g->zero_point) != PyArray_SIZE(g->scale)) {
        PyErr_Format(PyExc_ValueError, "zero_point: expected as many elements as scale (%zd), got %zd",
                     PyArray_SIZE(g->scale), PyArray_SIZE(g->zero_point));
        release(g);
        return -1;
    }
    if (ql_py_lay_over(data, &g->scale) < 0 || ql_py_lay_over(data, &g->zero_point) < 0) {
        release(g);
        return -1;
    }
    affine->scale = PyArray_DATA(g->scale);
    affine->zero_point = PyArray_DATA(g->zero_point);
    return 0;
}

static int take_rounding(const char *name, unsigned long long seed, ql_affine *affine)
{
    static const char *const names[] = {
        [QL_ROUND_EVEN] = "even", [QL_ROUND_AWAY] = "away", [QL_ROUND_STOCHASTIC] = "stochastic"};
    const int rounding = ql_py_option("rounding", name, names, sizeof names / sizeof *names);
    if (rounding < 0)
        return -1;
    affine->rounding = (ql_rounding)rounding;
    affine->seed = seed;
    return 0;
}

/* Takes data in the order that it has, but by rows where the rounding goes by places. */
static PyArrayObject *take_data(PyObject *object, const char *name, const ql_affine *affine)
{
    return affine->rounding == QL_ROUND_STOCHASTIC ? ql_py_f32(object, name) : ql_py_f32_dense(object, name);
}

static int code_type(const ql_affine *affine)
{
    if (ql_code_size(affine->qmin, affine->qmax) == 2)
        return affine->qmin < 0 ? NPY_INT16 : NPY_UINT16;
    return affine->qmin < 0 ? NPY_INT8 : NPY_UINT8;
}

/* Returns the result, or NULL with the exception that status means; name is the data's. */
static PyObject *finish(PyObject *out, PyArrayObject *result, ql_status status, const char *name)
{
    return ql_py_give(out, result, status, status == QL_EINVAL ? "scale, zero_point" : name);
}

static PyObject *quantize(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *scale, *zero_point, *out, *result = NULL;
    ql_py_groups groups = {0, 0};
    ql_affine affine;
    int refuse_nonfinite;
    unsigned long long seed = 0;
    const char *name = "x", *rounding = "even";
    if (!PyArg_ParseTuple(args, "OOOiipO|siisK", &x_object, &scale, &zero_point, &affine.qmin, &affine.qmax,
                          &refuse_nonfinite, &out, &name, &groups.size, &groups.axis, &rounding, &seed))
        return NULL;
    affine.seed = seed;
    grid_arrays grid = {NULL, NULL};
    PyArrayObject *codes, *x = take_rounding(rounding, seed, &affine) < 0 ? NULL : take_data(x_object, name, &affine);
    if (!x || take_grid(x, scale, zero_point, groups, &affine, &grid) < 0)
        goto done;
    codes = ql_py_result_like(out, code_type(&affine), &x, false);
    if (!codes)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_quantize_f32(PyArray_DATA(x), &affine, ql_py_policy(refuse_nonfinite, out), PyArray_DATA(codes));
    Py_END_ALLOW_THREADS
    result = finish(out, codes, status, name);
done:
    release(&grid);
    Py_XDECREF(x);
    return result;
}

static PyObject *dequantize(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *codes_object, *scale, *zero_point, *out, *result = NULL;
    ql_py_groups groups = {0, 0};
    if (!PyArg_ParseTuple(args, "OOOO|ii", &codes_object, &scale, &zero_point, &out, &groups.size, &groups.axis))
        return NULL;
    ql_affine affine;
    grid_arrays grid = {NULL, NULL};
    PyArrayObject *x, *codes = ql_py_codes_dense(codes_object, "codes", &affine.qmin, &affine.qmax);
    if (!codes || take_rounding("even", 0, &affine) < 0 ||
        take_grid(codes, scale, zero_point, groups, &affine, &grid) < 0)
        goto done;
    x = ql_py_result_like(out, NPY_FLOAT32, &codes, false);
    if (!x)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_dequantize_f32(PyArray_DATA(codes), &affine, PyArray_DATA(x));
    Py_END_ALLOW_THREADS
    result = finish(out, x, status, "codes");
done:
    release(&grid);
    Py_XDECREF(codes);
    return result;
}

static PyObject *fake_quantize(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *scale, *zero_point, *out, *result = NULL;
    ql_py_groups groups = {0, 0};
    ql_affine affine;
    int refuse_nonfinite;
    unsigned long long seed = 0;
    const char *rounding = "even";
    if (!PyArg_ParseTuple(args, "OOOiipO|iisK", &x_object, &scale, &zero_point, &affine.qmin, &affine.qmax,
                          &refuse_nonfinite, &out, &groups.size, &groups.axis, &rounding, &seed))
        return NULL;
    affine.seed = seed;
    grid_arrays grid = {NULL, NULL};
    PyArrayObject *y, *x = take_rounding(rounding, seed, &affine) < 0 ? NULL : take_data(x_object, "x", &affine);
    if (!x || take_grid(x, scale, zero_point, groups, &affine, &grid) < 0)
        goto done;
    y = ql_py_result_like(out, NPY_FLOAT32, &x, true);
    if (!y)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_fake_quantize_f32(PyArray_DATA(x), &affine, ql_py_policy(refuse_nonfinite, out), PyArray_DATA(y));
    Py_END_ALLOW_THREADS
    result = finish(out, y, status, "x");
done:
    release(&grid);
    Py_XDECREF(x);
    return result;
}

static PyObject *in_range(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *scale, *zero_point, *result = NULL;
    ql_py_groups groups = {0, 0};
    ql_affine affine;
    if (!PyArg_ParseTuple(args, "OOOii|ii", &x_object, &scale, &zero_point, &affine.qmin, &affine.qmax, &groups.size,
                          &groups.axis))
        return NULL;
    grid_arrays grid = {NULL, NULL};
    PyArrayObject *inside, *x = ql_py_f32_dense(x_object, "x");
    if (!x || take_rounding("even", 0, &affine) < 0 || take_grid(x, scale, zero_point, groups, &affine, &grid) < 0)
        goto done;
    inside = ql_py_result_like(Py_None, NPY_BOOL, &x, false);
    if (!inside)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_in_range_f32(PyArray_DATA(x), &affine, PyArray_DATA(inside));
    Py_END_ALLOW_THREADS
    result = finish(Py_None, inside, status, "x");
done:
    release(&grid);
    Py_XDECREF(x);
    return result;
}

static PyObject *requantize(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *acc_object, *multiplier_object, *out;
    int zero_point, qmin, qmax, fixed;
    if (!PyArg_ParseTuple(args, "OOiiipO", &acc_object, &multiplier_object, &zero_point, &qmin, &qmax, &fixed, &out))
        return NULL;
    ql_layout layout;
    PyArrayObject *codes = NULL, *multiplier = NULL, *acc = ql_py_exact(acc_object, NPY_INT32, "acc");
    if (!acc || !(multiplier = ql_py_exact(multiplier_object, NPY_FLOAT64, "multiplier")))
        goto done;
    if (ql_py_layout(acc, PyArray_NDIM(multiplier), PyArray_DIMS(multiplier), "multiplier", (ql_py_groups){0, 0},
                     &layout) < 0)
        goto done;
    codes = ql_py_result(out, qmin < 0 ? NPY_INT8 : NPY_UINT8, PyArray_NDIM(acc), PyArray_DIMS(acc), &acc, false);
    if (!codes)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_requantize_s32_x8(PyArray_DATA(acc), &layout, PyArray_DATA(multiplier), fixed, zero_point, qmin,
                                      qmax, PyArray_DATA(codes));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        ql_py_drop(&codes);
        ql_py_raise(status, "multiplier");
    }
done:
    Py_XDECREF(multiplier);
    Py_XDECREF(acc);
    return codes ? ql_py_finish(out, codes) : NULL;
}

static PyObject *quantize_multiplier(PyObject *module, PyObject *value)
{
    (void)module;
    double real = PyFloat_AsDouble(value);
    if (real == -1 && PyErr_Occurred())
        return NULL;
    int32_t mantissa, exponent;
    ql_status status = ql_quantize_multiplier(real, &mantissa, &exponent);
    return status == QL_OK ? Py_BuildValue("ii", mantissa, exponent) : ql_py_raise(status, "value");
}

static PyObject *minmax(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object;
    PyArray_Dims shape = {NULL, 0};
    ql_py_groups groups = {0, 0};
    if (!PyArg_ParseTuple(args, "OO&|ii", &x_object, PyArray_IntpConverter, &shape, &groups.size, &groups.axis))
        return NULL;
    ql_layout layout;
    PyArrayObject *min = NULL, *max = NULL, *x = ql_py_f32_dense(x_object, "x");
    PyObject *result = NULL;
    if (!x || ql_py_layout(x, shape.len, shape.ptr, "shape", groups, &layout) < 0)
        goto done;
    min = ql_py_new_parameters(x, shape.len, shape.ptr, NPY_FLOAT32);
    max = ql_py_new_parameters(x, shape.len, shape.ptr, NPY_FLOAT32);
    if (!min || !max)
        goto done;
    if (PyArray_SIZE(x) == 0) {
        PyErr_SetString(PyExc_ValueError, "x: expected data, got an empty array");
        goto done;
    }
    bool all_finite;
    Py_BEGIN_ALLOW_THREADS
        all_finite = ql_minmax_f32(PyArray_DATA(x), &layout, PyArray_DATA(min), PyArray_DATA(max));
    Py_END_ALLOW_THREADS
    result = Py_BuildValue("OOO", (PyObject *)min, (PyObject *)max, all_finite ? Py_True : Py_False);
done:
    PyDimMem_FREE(shape.ptr);
    Py_XDECREF(max);
    Py_XDECREF(min);
    Py_XDECREF(x);
    return result;
}

static PyObject *contiguous(PyObject *module, PyObject *array)
{
    (void)module;
    return (PyObject *)ql_py_contiguous(array, "array");
}

static PyObject *moments(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *result = NULL;
    PyArray_Dims shape = {NULL, 0};
    ql_py_groups groups = {0, 0};
    if (!PyArg_ParseTuple(args, "OO&|ii", &x_object, PyArray_IntpConverter, &shape, &groups.size, &groups.axis))
        return NULL;
    ql_layout layout;
    PyArrayObject *sums[3] = {NULL, NULL, NULL}, *x = ql_py_f32(x_object, "x");
    if (!x || ql_py_layout(x, shape.len, shape.ptr, "shape", groups, &layout) < 0)
        goto done;
    if (PyArray_SIZE(x) == 0) {
        PyErr_SetString(PyExc_ValueError, "x: expected data, got an empty array");
        goto done;
    }
    for (int i = 0; i < 3; i++) {
        sums[i] = (PyArrayObject *)PyArray_SimpleNew(shape.len, shape.ptr, NPY_FLOAT64);
        if (!sums[i])
            goto done;
    }
    Py_BEGIN_ALLOW_THREADS
        ql_moments_f32(PyArray_DATA(x), &layout, PyArray_DATA(sums[0]), PyArray_DATA(sums[1]), PyArray_DATA(sums[2]));
    Py_END_ALLOW_THREADS
    result = PyTuple_Pack(3, (PyObject *)sums[0], (PyObject *)sums[1], (PyObject *)sums[2]);
done:
    PyDimMem_FREE(shape.ptr);
    for (int i = 0; i < 3; i++)
        Py_XDECREF(sums[i]);
    Py_XDECREF(x);
    return result;
}

PyMethodDef ql_py_elementwise_methods[] = {
    {"contiguous", contiguous, METH_O, NULL},
    {"quantize", quantize, METH_VARARGS, NULL},
    {"dequantize", dequantize, METH_VARARGS, NULL},
    {"fake_quantize", fake_quantize, METH_VARARGS, NULL},
    {"in_range", in_range, METH_VARARGS, NULL},
    {"requantize", requantize, METH_VARARGS, NULL},
    {"quantize_multiplier", quantize_multiplier, METH_O, NULL},
    {"minmax", minmax, METH_VARARGS, NULL},
    {"moments", moments, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
