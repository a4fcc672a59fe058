/* The weights of convolutions, and the convolutions with them. */
#include "python/glue.h"

typedef struct filter_object {
    PyObject_HEAD ql_filter *filter;
} filter_object;

static PyObject *filter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"codes", "zero_point", "groups", "is_dilated", NULL};
    PyObject *codes_object, *zero_point_object;
    Py_ssize_t groups;
    int is_dilated;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOnp", names, &codes_object, &zero_point_object, &groups,
                                     &is_dilated))
        return NULL;
    filter_object *self = NULL;
    PyArrayObject *zero_point = NULL, *codes = ql_py_x8(codes_object, "codes");
    if (!codes)
        return NULL;
    if (PyArray_NDIM(codes) != 4) {
        PyErr_Format(PyExc_ValueError, "codes: expected 4 dimensions, got %d", PyArray_NDIM(codes));
        goto done;
    }
    if (zero_point_object != Py_None) {
        zero_point = ql_py_exact(zero_point_object, NPY_INT32, "zero_point");
        if (!zero_point)
            goto done;
        if (PyArray_SIZE(zero_point) != PyArray_DIM(codes, 3)) {
            PyErr_Format(PyExc_ValueError, "zero_point: expected one per output channel (%zd), got %zd",
                         PyArray_DIM(codes, 3), PyArray_SIZE(zero_point));
            goto done;
        }
    }
    self = (filter_object *)type->tp_alloc(type, 0);
    if (!self)
        goto done;
    size_t shape[4];
    for (int i = 0; i < 4; i++)
        shape[i] = (size_t)PyArray_DIM(codes, i);
    ql_status status;
    Py_BEGIN_ALLOW_THREADS
        status = ql_filter_pack(PyArray_DATA(codes), ql_py_is_signed(codes), shape,
                                zero_point ? PyArray_DATA(zero_point) : NULL, groups > 0 ? (size_t)groups : 0,
                                is_dilated, &self->filter);
    Py_END_ALLOW_THREADS
    if (status != QL_OK) {
        Py_CLEAR(self);
        ql_py_raise(status, "codes, zero_point, groups");
    }
done:
    Py_XDECREF(zero_point);
    Py_DECREF(codes);
    return (PyObject *)self;
}

static void filter_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    ql_filter_free(((filter_object *)object)->filter);
    type->tp_free(object);
    Py_DECREF(type);
}

static const ql_filter *filter_of(PyObject *object)
{
    return ((filter_object *)object)->filter;
}

static PyObject *filter_shape(PyObject *self, void *closure)
{
    (void)closure;
    const size_t *shape = ql_filter_shape(filter_of(self));
    return Py_BuildValue("nnnn", (Py_ssize_t)shape[0], (Py_ssize_t)shape[1], (Py_ssize_t)shape[2],
                         (Py_ssize_t)shape[3]);
}

static PyObject *filter_groups(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(ql_filter_groups(filter_of(self)));
}

static PyObject *filter_is_dilated(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(ql_filter_is_dilated(filter_of(self)));
}

static PyObject *filter_nbytes(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(ql_filter_nbytes(filter_of(self)));
}

static PyObject *filter_isa(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(ql_filter_isa(filter_of(self)));
}

static PyGetSetDef filter_getset[] = {
    {"shape", filter_shape, NULL, NULL, NULL},
    {"groups", filter_groups, NULL, NULL, NULL},
    {"is_dilated", filter_is_dilated, NULL, NULL, NULL},
    {"nbytes", filter_nbytes, NULL, NULL, NULL},
    {"isa", filter_isa, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot filter_slots[] = {
    {Py_tp_new, filter_new},
    {Py_tp_dealloc, filter_dealloc},
    {Py_tp_getset, filter_getset},
    {0, NULL},
};

PyType_Spec ql_py_filter_spec = {
    .name = "qlite._core.Filter",
    .basicsize = sizeof(filter_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = filter_slots,
};

/* What every convolution reads and writes: arrays with a new reference each, or NULL. */
typedef struct operands {
    const ql_filter *w;
    PyArrayObject *x, *bias, *y;
    ql_images images;
    ql_window window;
} operands;

/* Stride, dilation, what lies before the image, and the result's lengths: height and width of each. */
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

static int raise_channels(const ql_filter *w, size_t expected, npy_intp got)
{
    const size_t *shape = ql_filter_shape(w), groups = ql_filter_groups(w);
    PyErr_Format(PyExc_ValueError,
                 "x: expected %zu channel%s for w of shape (%zu, %zu, %zu, %zu) and groups=%zu, got %zd", expected,
                 expected == 1 ? "" : "s", shape[0], shape[1], shape[2], shape[3], groups, got);
    return -1;
}

static int take_operands(PyObject *module, PyObject *x, PyObject *w, PyObject *window, int zero_point, operands *o)
{
    const ql_module_state *state = PyModule_GetState(module);
    *o = (operands){NULL};
    if (!PyObject_TypeCheck(w, state->filter_type)) {
        PyErr_Format(PyExc_TypeError, "w: expected a packed filter, got %s", Py_TYPE(w)->tp_name);
        return -1;
    }
    o->w = filter_of(w);
    o->x = ql_py_x8(x, "x");
    if (!o->x || take_window(window, &o->window) < 0)
        return -1;
    const size_t channels = ql_filter_groups(o->w) * ql_filter_shape(o->w)[2];
    if (PyArray_NDIM(o->x) != 4) {
        PyErr_Format(PyExc_ValueError, "x: expected 4 dimensions, got %d", PyArray_NDIM(o->x));
        return -1;
    }
    if ((size_t)PyArray_DIM(o->x, 3) != channels)
        return raise_channels(o->w, channels, PyArray_DIM(o->x, 3));
    const npy_intp *shape = PyArray_DIMS(o->x);
    o->images = (ql_images){.count = (size_t)shape[0],
                            .height = (size_t)shape[1],
                            .width = (size_t)shape[2],
                            .channels = channels,
                            .is_signed = ql_py_is_signed(o->x),
                            .zero_point = zero_point};
    return 0;
}

static int take_result(operands *o, PyObject *out, int typenum)
{
    const npy_intp shape[] = {(npy_intp)o->images.count, (npy_intp)o->window.out[0], (npy_intp)o->window.out[1],
                              (npy_intp)ql_filter_shape(o->w)[3]};
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
    return ql_py_vector(o->bias, (npy_intp)ql_filter_shape(o->w)[3], "bias");
}

/* A result in memory of its own; 0, or -1 with an exception. */
static int separate(operands *o, PyArrayObject **scale)
{
    if (ql_py_separate(o->y, scale) == 0 && (!o->bias || ql_py_separate(o->y, &o->bias) == 0))
        return 0;
    PyArray_DiscardWritebackIfCopy(o->y);
    Py_CLEAR(o->y);
    return -1;
}

/* The result, or the exception that is set or that the status means; name: what QL_EINVAL would speak of. */
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
        Py_BEGIN_ALLOW_THREADS
            status = ql_conv(&o.images, o.w, &o.window, NULL, &(ql_epilogue){.store = QL_STORE_S32}, y);
        Py_END_ALLOW_THREADS
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
        scale = ql_py_output(fields, (npy_intp)ql_filter_shape(o.w)[3], &output, &typenum);
    if (scale && take_result(&o, out, typenum) == 0 && separate(&o, &scale) == 0) {
        const int32_t *sums_bias = o.bias ? PyArray_DATA(o.bias) : NULL;
        void *y = PyArray_DATA(o.y);
        output.weight_scale = PyArray_DATA(scale);
        Py_BEGIN_ALLOW_THREADS
            status = ql_conv_scaled(&o.images, o.w, &o.window, sums_bias, &output, y);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(scale);
    return finish(&o, out, status, ql_py_output_name(&output));
}

/* An array of `count` elements of a type; NULL with an exception. */
static PyArrayObject *take_each(PyObject *object, int typenum, size_t count, const char *name)
{
    PyArrayObject *array = ql_py_exact(object, typenum, name);
    if (array && (size_t)PyArray_SIZE(array) != count) {
        PyErr_Format(PyExc_ValueError, "%s: expected %zu elements, got %zd", name, count, PyArray_SIZE(array));
        Py_CLEAR(array);
    }
    return array;
}

/* x, w, scale, zero_point, window, bias, output, out: image by image. What an image has of its own comes from conv.py,
 * in memory of its own. */
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
    const size_t count = o.images.count, channels = ql_filter_shape(o.w)[3];
    scale = take_each(scales, NPY_FLOAT32, count, "scale");
    zero_point = scale ? take_each(zero_points, NPY_INT32, count, "zero_point") : NULL;
    if (!zero_point)
        goto done;
    if (bias != Py_None && !(o.bias = take_each(bias, NPY_INT32, count * channels, "bias")))
        goto done;
    weight_scale = ql_py_output(fields, (npy_intp)channels, &output, &typenum);
    if (!weight_scale || take_result(&o, out, typenum) < 0 || separate(&o, &weight_scale) < 0)
        goto done;
    const ql_image_grids grids = {PyArray_DATA(scale), PyArray_DATA(zero_point), o.bias ? PyArray_DATA(o.bias) : NULL};
    void *y = PyArray_DATA(o.y);
    output.weight_scale = PyArray_DATA(weight_scale);
    Py_BEGIN_ALLOW_THREADS
        status = ql_conv_images(&o.images, &grids, o.w, &o.window, &output, y);
    Py_END_ALLOW_THREADS
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
