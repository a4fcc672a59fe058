/* quantize, dequantize, fake_quantize, requantize, minmax, quantize_multiplier. */
#include "python/glue.h"

/* scale and zero_point as they lie over data. */
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
    affine->scale = PyArray_DATA(g->scale);
    affine->zero_point = PyArray_DATA(g->zero_point);
    return 0;
}

static PyObject *quantize(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *scale, *zero_point, *out;
    ql_py_groups groups = {0, 0};
    ql_affine affine;
    int refuse_nonfinite;
    const char *name = "x";
    if (!PyArg_ParseTuple(args, "OOOiipO|sii", &x_object, &scale, &zero_point, &affine.qmin, &affine.qmax,
                          &refuse_nonfinite, &out, &name, &groups.size, &groups.axis))
        return NULL;
    grid_arrays grid = {NULL, NULL};
    PyArrayObject *codes = NULL, *x = ql_py_f32(x_object, name);
    if (!x || take_grid(x, scale, zero_point, groups, &affine, &grid) < 0)
        goto done;
    codes = ql_py_result(out, affine.qmin < 0 ? NPY_INT8 : NPY_UINT8, PyArray_NDIM(x), PyArray_DIMS(x), &x, false);
    if (!codes)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_quantize_f32_x8(PyArray_DATA(x), &affine, refuse_nonfinite, PyArray_DATA(codes));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        PyArray_DiscardWritebackIfCopy(codes);
        Py_CLEAR(codes);
        ql_py_raise(status, status == QL_EINVAL ? "scale, zero_point" : name);
    }
done:
    release(&grid);
    Py_XDECREF(x);
    return codes ? ql_py_finish(out, codes) : NULL;
}

static PyObject *dequantize(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *codes_object, *scale, *zero_point, *out;
    ql_py_groups groups = {0, 0};
    if (!PyArg_ParseTuple(args, "OOOO|ii", &codes_object, &scale, &zero_point, &out, &groups.size, &groups.axis))
        return NULL;
    ql_affine affine;
    grid_arrays grid = {NULL, NULL};
    PyArrayObject *x = NULL, *codes = ql_py_x8(codes_object, "codes");
    if (!codes || take_grid(codes, scale, zero_point, groups, &affine, &grid) < 0)
        goto done;
    affine.qmin = ql_py_is_signed(codes) ? -128 : 0;
    affine.qmax = ql_py_is_signed(codes) ? 127 : 255;
    x = ql_py_result(out, NPY_FLOAT32, PyArray_NDIM(codes), PyArray_DIMS(codes), &codes, false);
    if (!x)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_dequantize_x8_f32(PyArray_DATA(codes), &affine, PyArray_DATA(x));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        PyArray_DiscardWritebackIfCopy(x);
        Py_CLEAR(x);
        ql_py_raise(status, "scale, zero_point");
    }
done:
    release(&grid);
    Py_XDECREF(codes);
    return x ? ql_py_finish(out, x) : NULL;
}

static PyObject *fake_quantize(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *scale, *zero_point, *out;
    ql_py_groups groups = {0, 0};
    ql_affine affine;
    int refuse_nonfinite;
    if (!PyArg_ParseTuple(args, "OOOiipO|ii", &x_object, &scale, &zero_point, &affine.qmin, &affine.qmax,
                          &refuse_nonfinite, &out, &groups.size, &groups.axis))
        return NULL;
    grid_arrays grid = {NULL, NULL};
    PyArrayObject *y = NULL, *x = ql_py_f32(x_object, "x");
    if (!x || take_grid(x, scale, zero_point, groups, &affine, &grid) < 0)
        goto done;
    y = ql_py_result(out, NPY_FLOAT32, PyArray_NDIM(x), PyArray_DIMS(x), &x, true);
    if (!y)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_fake_quantize_f32(PyArray_DATA(x), &affine, refuse_nonfinite, PyArray_DATA(y));
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        PyArray_DiscardWritebackIfCopy(y);
        Py_CLEAR(y);
        ql_py_raise(status, status == QL_EINVAL ? "scale, zero_point" : "x");
    }
done:
    release(&grid);
    Py_XDECREF(x);
    return y ? ql_py_finish(out, y) : NULL;
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
        PyArray_DiscardWritebackIfCopy(codes);
        Py_CLEAR(codes);
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
    PyArrayObject *min = NULL, *max = NULL, *x = ql_py_f32(x_object, "x");
    PyObject *result = NULL;
    if (!x || ql_py_layout(x, shape.len, shape.ptr, "shape", groups, &layout) < 0)
        goto done;
    min = (PyArrayObject *)PyArray_SimpleNew(shape.len, shape.ptr, NPY_FLOAT32);
    max = (PyArrayObject *)PyArray_SimpleNew(shape.len, shape.ptr, NPY_FLOAT32);
    if (!min || !max)
        goto done;
    if (PyArray_SIZE(x) == 0) {
        PyErr_SetString(PyExc_ValueError, "x: expected data, got an empty array");
        goto done;
    }
    bool has_nan;
    Py_BEGIN_ALLOW_THREADS
        ql_minmax_f32(PyArray_DATA(x), &layout, PyArray_DATA(min), PyArray_DATA(max), &has_nan);
    Py_END_ALLOW_THREADS
    result = Py_BuildValue("OOO", (PyObject *)min, (PyObject *)max, has_nan ? Py_True : Py_False);
done:
    PyDimMem_FREE(shape.ptr);
    Py_XDECREF(max);
    Py_XDECREF(min);
    Py_XDECREF(x);
    return result;
}

PyMethodDef ql_py_elementwise_methods[] = {
    {"quantize", quantize, METH_VARARGS, NULL},
    {"dequantize", dequantize, METH_VARARGS, NULL},
    {"fake_quantize", fake_quantize, METH_VARARGS, NULL},
    {"requantize", requantize, METH_VARARGS, NULL},
    {"quantize_multiplier", quantize_multiplier, METH_O, NULL},
    {"minmax", minmax, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
