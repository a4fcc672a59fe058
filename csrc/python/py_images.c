/* Float images: convolutions, pools, and the ways back. They write to arrays that they are
 * given. */
#include "python/glue.h"

/* Takes kernel, stride, dilation, padding before the image and lengths of the result, height and width of each, for
 * images of this shape. */
static int take_windows(PyObject *object, PyArrayObject *images, const char *name, ql_image_windows *s)
{
    size_t *const lengths[] = {s->kernel, s->window.stride, s->window.dilation, s->window.before, s->window.out};
    Py_ssize_t v[10];
    if (!PyArg_ParseTuple(object, "nnnnnnnnnn", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7, v + 8, v + 9))
        return -1;
    for (int i = 0; i < 10; i++) {
        const int least = i / 2 != 3;
        if (v[i] < least) {
            PyErr_Format(PyExc_ValueError, "window: expected lengths of at least %d, got %zd", least, v[i]);
            return -1;
        }
        lengths[i / 2][i % 2] = (size_t)v[i];
    }
    if (PyArray_NDIM(images) != 4) {
        PyErr_Format(PyExc_ValueError, "%s: expected 4 dimensions, got %d", name, PyArray_NDIM(images));
        return -1;
    }
    s->count = (size_t)PyArray_DIM(images, 0);
    s->height = (size_t)PyArray_DIM(images, 1);
    s->width = (size_t)PyArray_DIM(images, 2);
    s->channels = (size_t)PyArray_DIM(images, 3);
    return 0;
}

/* Checks that an array has an element for each window and channel. */
static int check_results(PyArrayObject *array, const ql_image_windows *s, const char *name)
{
    const npy_intp shape[] = {(npy_intp)s->count, (npy_intp)s->window.out[0], (npy_intp)s->window.out[1],
                              (npy_intp)s->channels};
    return ql_py_shape(array, 4, shape, name);
}

static PyObject *none_or_raise(ql_status status)
{
    return status == QL_OK ? Py_NewRef(Py_None) : ql_py_raise(status, "window");
}

static PyObject *image_add_columns(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *columns_object, *x_object, *window, *result = NULL;
    Py_ssize_t r[4];
    if (!PyArg_ParseTuple(args, "OO(nnnn)O", &columns_object, &window, r, r + 1, r + 2, r + 3, &x_object))
        return NULL;
    PyArrayObject *x = ql_py_writable_f32(x_object, "x");
    PyArrayObject *columns = x ? ql_py_exact(columns_object, NPY_FLOAT32, "columns") : NULL;
    ql_image_windows s;
    if (!columns || take_windows(window, x, "x", &s) < 0)
        goto done;
    if (r[0] < 0 || r[1] < r[0] || (size_t)r[1] > s.count * s.window.out[0] || r[2] < 0 || r[3] < 1 ||
        (size_t)r[2] > s.channels || (size_t)r[3] > s.channels - (size_t)r[2]) {
        PyErr_SetString(PyExc_ValueError, "rows: expected rows and channels that there are");
        goto done;
    }
    const ql_window_rows rows = {(size_t)r[0], (size_t)r[1], (size_t)r[2], (size_t)r[3]};
    const npy_intp shape[] = {(npy_intp)((rows.last - rows.first) * s.window.out[1]),
                              (npy_intp)(s.kernel[0] * s.kernel[1] * rows.taken)};
    if (ql_py_shape(columns, 2, shape, "columns") < 0)
        goto done;
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_image_add_columns(PyArray_DATA(columns), &s, &rows, PyArray_DATA(x));
    Py_END_ALLOW_THREADS
    result = none_or_raise(status);
done:
    Py_XDECREF(columns);
    return result;
}

typedef enum product_kind {
    CONVOLUTION,
    WEIGHT_GRADIENT,
    DEPTHWISE_INPUT_GRADIENT,
    DEPTHWISE_WEIGHT_GRADIENT,
} product_kind;

static ql_status compute(product_kind kind, float *x, const ql_image_windows *s, float *weight, size_t out,
                         size_t groups, float *y)
{
    switch (kind) {
    case CONVOLUTION:
        return ql_conv_f32(x, s, weight, out, groups, y);
    case WEIGHT_GRADIENT:
        return ql_conv_weight_gradient_f32(x, s, y, out, groups, weight);
    case DEPTHWISE_INPUT_GRADIENT:
        return ql_depthwise_input_gradient_f32(y, s, weight, x);
    default:
        return ql_depthwise_weight_gradient_f32(x, s, y, weight);
    }
}

/* Images, weights [kernel_h][kernel_w][in][out] and results, of which one is written to, and borrowed. */
static PyObject *product(PyObject *args, product_kind kind, int written)
{
    static const char *const names[] = {"x", "weight", "gradient"};
    PyObject *objects[3], *window, *result = NULL;
    PyArrayObject *arrays[3] = {NULL};
    Py_ssize_t groups;
    ql_image_windows s;
    if (!PyArg_ParseTuple(args, "OOOnO", objects, objects + 1, objects + 2, &groups, &window))
        return NULL;
    for (int i = 0; i < 3; i++) {
        arrays[i] =
            i == written ? ql_py_writable_f32(objects[i], names[i]) : ql_py_exact(objects[i], NPY_FLOAT32, names[i]);
        if (!arrays[i])
            goto done;
    }
    if (take_windows(window, arrays[0], "x", &s) < 0)
        goto done;
    const npy_intp out = PyArray_NDIM(arrays[2]) == 4 ? PyArray_DIM(arrays[2], 3) : 0;
    const npy_intp results[] = {(npy_intp)s.count, (npy_intp)s.window.out[0], (npy_intp)s.window.out[1], out};
    const npy_intp weights[] = {(npy_intp)s.kernel[0], (npy_intp)s.kernel[1],
                                groups > 0 ? (npy_intp)s.channels / groups : 0, out};
    if (ql_py_shape(arrays[2], 4, results, "gradient") < 0 || ql_py_shape(arrays[1], 4, weights, "weight") < 0)
        goto done;
    const bool is_depthwise = kind == DEPTHWISE_INPUT_GRADIENT || kind == DEPTHWISE_WEIGHT_GRADIENT;
    if (is_depthwise && ((npy_intp)s.channels != groups || out != groups)) {
        PyErr_Format(PyExc_ValueError, "groups: expected %zu, the channels, and as many results, got %zd", s.channels,
                     groups);
        goto done;
    }
    float *x = PyArray_DATA(arrays[0]), *weight = PyArray_DATA(arrays[1]), *y = PyArray_DATA(arrays[2]);
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = compute(kind, x, &s, weight, (size_t)out, (size_t)groups, y);
    Py_END_ALLOW_THREADS
    result = status == QL_OK ? Py_NewRef(Py_None) : ql_py_raise(status, "window, groups");
done:
    for (int i = 0; i < 3; i++) {
        if (i != written)
            Py_XDECREF(arrays[i]);
    }
    return result;
}

static PyObject *conv2d_f32(PyObject *module, PyObject *args)
{
    (void)module;
    return product(args, CONVOLUTION, 2);
}

static PyObject *conv2d_weight_gradient(PyObject *module, PyObject *args)
{
    (void)module;
    return product(args, WEIGHT_GRADIENT, 1);
}

static PyObject *depthwise_input_gradient(PyObject *module, PyObject *args)
{
    (void)module;
    return product(args, DEPTHWISE_INPUT_GRADIENT, 0);
}

static PyObject *depthwise_weight_gradient(PyObject *module, PyObject *args)
{
    (void)module;
    return product(args, DEPTHWISE_WEIGHT_GRADIENT, 1);
}

static ql_pool pool_of(const ql_image_windows *s)
{
    return (ql_pool){s->count,
                     s->height,
                     s->width,
                     s->channels,
                     s->kernel[0],
                     s->kernel[1],
                     s->window.stride[0],
                     s->window.stride[1],
                     s->window.before[0],
                     s->window.before[1],
                     s->window.out[0],
                     s->window.out[1]};
}

/* Borrows a C-contiguous array of int32 that is written to. */
static PyArrayObject *writable_index(PyObject *object)
{
    if (PyArray_Check(object) && PyArray_TYPE((PyArrayObject *)object) == NPY_INT32 &&
        PyArray_ISCARRAY((PyArrayObject *)object))
        return (PyArrayObject *)object;
    PyErr_SetString(PyExc_TypeError, "index: expected a C-contiguous array of int32");
    return NULL;
}

static PyObject *max_pool_f32(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *x_object, *window, *y_object, *index_object, *result = NULL;
    if (!PyArg_ParseTuple(args, "OOOO", &x_object, &window, &y_object, &index_object))
        return NULL;
    PyArrayObject *y = ql_py_writable_f32(y_object, "y"), *index = NULL;
    PyArrayObject *x = y ? ql_py_exact(x_object, NPY_FLOAT32, "x") : NULL;
    ql_image_windows s;
    if (!x || take_windows(window, x, "x", &s) < 0 || check_results(y, &s, "y") < 0)
        goto done;
    if (index_object != Py_None && (!(index = writable_index(index_object)) || check_results(index, &s, "index") < 0))
        goto done;
    const ql_pool pool = pool_of(&s);
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_max_pool_f32(PyArray_DATA(x), &pool, PyArray_DATA(y), ql_py_data(index));
    Py_END_ALLOW_THREADS
    result = none_or_raise(status);
done:
    Py_XDECREF(x);
    return result;
}

static PyObject *max_pool_gradient_f32(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *gradient_object, *index_object, *window, *x_object, *result = NULL;
    if (!PyArg_ParseTuple(args, "OOOO", &gradient_object, &index_object, &window, &x_object))
        return NULL;
    PyArrayObject *x = ql_py_writable_f32(x_object, "x"), *index = NULL;
    PyArrayObject *gradient = x ? ql_py_exact(gradient_object, NPY_FLOAT32, "gradient") : NULL;
    ql_image_windows s;
    if (!gradient || !(index = ql_py_exact(index_object, NPY_INT32, "index")) || take_windows(window, x, "x", &s) < 0 ||
        check_results(gradient, &s, "gradient") < 0 || check_results(index, &s, "index") < 0)
        goto done;
    const ql_pool pool = pool_of(&s);
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_max_pool_gradient_f32(PyArray_DATA(gradient), PyArray_DATA(index), &pool, PyArray_DATA(x));
    Py_END_ALLOW_THREADS
    result = status == QL_OK ? Py_NewRef(Py_None) : ql_py_raise(status, "index");
done:
    Py_XDECREF(index);
    Py_XDECREF(gradient);
    return result;
}

/* Images and results; the one that is written to is borrowed. */
static PyObject *average(PyObject *args, bool is_gradient)
{
    PyObject *from_object, *to_object, *window, *result = NULL;
    if (!PyArg_ParseTuple(args, "OOO", &from_object, &window, &to_object))
        return NULL;
    PyArrayObject *to = ql_py_writable_f32(to_object, is_gradient ? "x" : "y");
    PyArrayObject *from = to ? ql_py_exact(from_object, NPY_FLOAT32, is_gradient ? "gradient" : "x") : NULL;
    ql_image_windows s;
    if (!from || take_windows(window, is_gradient ? to : from, "x", &s) < 0 ||
        check_results(is_gradient ? from : to, &s, is_gradient ? "gradient" : "y") < 0)
        goto done;
    const ql_pool pool = pool_of(&s);
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = is_gradient ? ql_average_pool_gradient_f32(PyArray_DATA(from), &pool, PyArray_DATA(to))
                             : ql_average_pool_f32(PyArray_DATA(from), &pool, PyArray_DATA(to));
    Py_END_ALLOW_THREADS
    result = none_or_raise(status);
done:
    Py_XDECREF(from);
    return result;
}

static PyObject *average_pool_f32(PyObject *module, PyObject *args)
{
    (void)module;
    return average(args, false);
}

static PyObject *average_pool_gradient_f32(PyObject *module, PyObject *args)
{
    (void)module;
    return average(args, true);
}

PyMethodDef ql_py_images_methods[] = {
    {"image_add_columns", image_add_columns, METH_VARARGS, NULL},
    {"conv2d_f32", conv2d_f32, METH_VARARGS, NULL},
    {"conv2d_weight_gradient", conv2d_weight_gradient, METH_VARARGS, NULL},
    {"depthwise_input_gradient", depthwise_input_gradient, METH_VARARGS, NULL},
    {"depthwise_weight_gradient", depthwise_weight_gradient, METH_VARARGS, NULL},
    {"max_pool_f32", max_pool_f32, METH_VARARGS, NULL},
    {"max_pool_gradient_f32", max_pool_gradient_f32, METH_VARARGS, NULL},
    {"average_pool_f32", average_pool_f32, METH_VARARGS, NULL},
    {"average_pool_gradient_f32", average_pool_gradient_f32, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
