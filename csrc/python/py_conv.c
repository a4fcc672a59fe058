/* Convolutions with packed filters. */
#include "python/glue.h"

/* Operands of a convolution, arrays with a new reference each or NULL, and its result. */
typedef struct operands {
    const ql_py_packed *w;
    PyArrayObject *x, *bias, *y;
    ql_images images;
    ql_window window;
} operands;

/* Takes stride, dilation, padding before the image and lengths of the result, height and width of each. */
static int take_window(PyObject *object, ql_window *window)
{
    size_t *const lengths[] = {window->stride, window->dilation, window->before, window->out};
    Py_ssize_t v[8];
    if (!PyArg_ParseTuple(object, "nnnnnnnn", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7))
        return -1;
    for (int i = 0; i < 8; i++) {
        if (v[i] < (i < 4)) {
            PyErr_Format(PyExc_ValueError, "window: expected lengths of at least %d, got %zd", i < 4, v[i]);
            return -1;
        }
        lengths[i / 2][i % 2] = (size_t)v[i];
    }
    return 0;
}

static int raise_channels(const ql_packed_info *w, size_t expected, npy_intp got)
{
    PyErr_Format(PyExc_ValueError,
                 "x: expected %zu channel%s for w of shape (%zu, %zu, %zu, %zu) and groups=%zu, got %zd", expected,
                 expected == 1 ? "" : "s", w->shape[0], w->shape[1], w->shape[2], w->shape[3], w->groups, got);
    return -1;
}

static int take_operands(PyObject *module, PyObject *x, PyObject *w, PyObject *window, int zero_point, operands *o)
{
    *o = (operands){.w = ql_py_take_packed(module, w, QL_PY_FILTER, "w")};
    o->x = o->w ? ql_py_x8(x, "x") : NULL;
    if (!o->x || take_window(window, &o->window) < 0)
        return -1;
    const size_t channels = o->w->info.groups * o->w->info.shape[2];
    if (PyArray_NDIM(o->x) != 4) {
        PyErr_Format(PyExc_ValueError, "x: expected 4 dimensions, got %d", PyArray_NDIM(o->x));
        return -1;
    }
    if ((size_t)PyArray_DIM(o->x, 3) != channels)
        return raise_channels(&o->w->info, channels, PyArray_DIM(o->x, 3));
    const npy_intp *shape = PyArray_DIMS(o->x);
    o->images = (ql_images){.count = (size_t)shape[0],
                            .height = (size_t)shape[1],
                            .width = (size_t)shape[2],
                            .channels = channels,
                            .is_signed = ql_py_is_signed(o->x),
                            .zero_point = zero_point};
    return 0;
}

static npy_intp outputs_of(const operands *o)
{
    return (npy_intp)o->w->info.shape[3];
}

static int take_result(operands *o, PyObject *out, int typenum)
{
    const npy_intp shape[] = {(npy_intp)o->images.count, (npy_intp)o->window.out[0], (npy_intp)o->window.out[1],
                              outputs_of(o)};
    o->y = ql_py_result(out, typenum, 4, shape, &o->x, false);
    if (!o->y)
        return -1;
    o->images.data = PyArray_DATA(o->x);
    return 0;
}

static int take_bias(operands *o, PyObject *object)
{
    if (object == Py_None)
        return 0;
    o->bias = ql_py_exact(object, NPY_INT32, "bias");
    if (!o->bias)
        return -1;
    return ql_py_vector(o->bias, outputs_of(o), "bias");
}

/* Copies scale and bias where they share memory with the result. Returns 0, or -1 with an exception and no result. */
static int separate(operands *o, PyArrayObject **scale)
{
    if (ql_py_separate(o->y, scale) == 0 && ql_py_separate(o->y, &o->bias) == 0)
        return 0;
    ql_py_drop(&o->y);
    return -1;
}

/* Returns the result, or NULL with the exception that is set or that the status means; name: the argument that
 * QL_EINVAL speaks of. */
static PyObject *finish(operands *o, PyObject *out, ql_status status, const char *name)
{
    Py_CLEAR(o->x);
    Py_CLEAR(o->bias);
    return o->y ? ql_py_give(out, o->y, status, status == QL_EOVERFLOW ? "x, w" : name) : NULL;
}

static PyObject *conv2d_integer(PyObject *module, PyObject *args)
{
    PyObject *x, *w, *window, *out;
    int zero_point;
    operands o;
    ql_status status = QL_OK;
    if (!PyArg_ParseTuple(args, "OOiOO", &x, &w, &zero_point, &window, &out))
        return NULL;
    if (take_operands(module, x, w, window, zero_point, &o) == 0 && take_result(&o, out, NPY_INT32) == 0) {
        void *y = PyArray_DATA(o.y);
        ql_py_pause pause;
        ql_py_begin(&pause);
        status = ql_conv(&o.images, o.w->weights.filter, &o.window, NULL, &(ql_epilogue){.store = QL_STORE_S32}, y);
        status = ql_py_end(&pause, status);
    }
    return finish(&o, out, status, "x");
}

static PyObject *conv2d(PyObject *module, PyObject *args)
{
    PyObject *x, *w, *window, *bias, *fields, *out;
    int zero_point, typenum;
    operands o;
    ql_output output = {0};
    ql_status status = QL_OK;
    PyArrayObject *scale = NULL;
    if (!PyArg_ParseTuple(args, "OOiOOOO", &x, &w, &zero_point, &window, &bias, &fields, &out))
        return NULL;
    if (take_operands(module, x, w, window, zero_point, &o) == 0 && take_bias(&o, bias) == 0)
        scale = ql_py_output(fields, outputs_of(&o), &output, &typenum);
    if (scale && take_result(&o, out, typenum) == 0 && separate(&o, &scale) == 0) {
        const int32_t *sums_bias = ql_py_data(o.bias);
        void *y = PyArray_DATA(o.y);
        output.weight_scale = PyArray_DATA(scale);
        ql_py_pause pause;
        ql_py_begin(&pause);
        status = ql_conv_scaled(&o.images, o.w->weights.filter, &o.window, sums_bias, &output, y);
        status = ql_py_end(&pause, status);
    }
    Py_XDECREF(scale);
    return finish(&o, out, status, ql_py_output_name(&output));
}

/* Returns an array of `count` elements of a type, or NULL with an exception. */
static PyArrayObject *take_each(PyObject *object, int typenum, size_t count, const char *name)
{
    PyArrayObject *array = ql_py_exact(object, typenum, name);
    if (array && (size_t)PyArray_SIZE(array) != count) {
        PyErr_Format(PyExc_ValueError, "%s: expected %zu elements, got %zd", name, count, PyArray_SIZE(array));
        Py_CLEAR(array);
    }
    return array;
}

/* Arguments: x, w, scale, zero_point, window, bias, output, out. Each image has a grid and bias of its own, in arrays
 * that conv.py has just made: none shares memory with out. */
static PyObject *conv2d_images(PyObject *module, PyObject *args)
{
    PyObject *x, *w, *scales, *zero_points, *window, *bias, *fields, *out;
    int typenum;
    operands o;
    ql_output output = {0};
    ql_status status = QL_OK;
    PyArrayObject *weight_scale = NULL, *scale = NULL, *zero_point = NULL;
    if (!PyArg_ParseTuple(args, "OOOOOOOO", &x, &w, &scales, &zero_points, &window, &bias, &fields, &out))
        return NULL;
    if (take_operands(module, x, w, window, 0, &o) < 0)
        goto done;
    const size_t count = o.images.count, channels = o.w->info.shape[3];
    scale = take_each(scales, NPY_FLOAT32, count, "scale");
    zero_point = scale ? take_each(zero_points, NPY_INT32, count, "zero_point") : NULL;
    if (!zero_point)
        goto done;
    if (bias != Py_None && !(o.bias = take_each(bias, NPY_INT32, count * channels, "bias")))
        goto done;
    weight_scale = ql_py_output(fields, (npy_intp)channels, &output, &typenum);
    if (!weight_scale || take_result(&o, out, typenum) < 0 || separate(&o, &weight_scale) < 0)
        goto done;
    const ql_image_grids grids = {PyArray_DATA(scale), PyArray_DATA(zero_point), ql_py_data(o.bias)};
    void *y = PyArray_DATA(o.y);
    output.weight_scale = PyArray_DATA(weight_scale);
    ql_py_pause pause;
    ql_py_begin(&pause);
    status = ql_conv_images(&o.images, &grids, o.w->weights.filter, &o.window, &output, y);
    status = ql_py_end(&pause, status);
done:
    Py_XDECREF(weight_scale);
    Py_XDECREF(scale);
    Py_XDECREF(zero_point);
    return finish(&o, out, status, ql_py_output_name(&output));
}

PyMethodDef ql_py_conv_methods[] = {
    {"conv2d_integer", conv2d_integer, METH_VARARGS, NULL},
    {"conv2d", conv2d, METH_VARARGS, NULL},
    {"conv2d_images", conv2d_images, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
