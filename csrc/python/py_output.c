/* Outputs of products, as qlite/ops/epilogue.py describes them. */
#include <string.h>

#include "python/glue.h"

static const struct {
    const char *name;
    ql_store store;
} stores[] = {
    {"float32", QL_STORE_F32},
    {"float", QL_STORE_X8},
    {"fixed", QL_STORE_X8_FIXED},
};

static int take_store(const char *name, ql_store *store)
{
    for (size_t i = 0; i < sizeof stores / sizeof *stores; i++) {
        if (strcmp(stores[i].name, name) == 0) {
            *store = stores[i].store;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "output: expected float32, float or fixed, got %s", name);
    return -1;
}

int ql_py_activation(PyObject *object, ql_activation *activation)
{
    *activation = QL_ACTIVATION_NONE;
    if (object == Py_None)
        return 0;
    const char *name = PyUnicode_Check(object) ? PyUnicode_AsUTF8(object) : NULL;
    if (name && ql_activation_from_name(name, activation))
        return 0;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "activation: expected None, 'relu' or 'relu6', got %R", object);
    return -1;
}

/* Takes the offset of float32 results, which the caller's tuple keeps alive; NULL for None. */
static int take_offset(PyObject *object, npy_intp n, const float **offset)
{
    *offset = NULL;
    if (object == Py_None)
        return 0;
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_Check(object) || PyArray_TYPE(array) != NPY_FLOAT32 || !PyArray_ISCARRAY_RO(array)) {
        PyErr_Format(PyExc_TypeError, "offset: expected contiguous float32, got %s", Py_TYPE(object)->tp_name);
        return -1;
    }
    *offset = PyArray_DATA(array);
    return ql_py_vector(array, n, "offset");
}

PyArrayObject *ql_py_output(PyObject *fields, npy_intp n, ql_output *output, int *typenum)
{
    const char *store;
    int is_signed;
    bool absent;
    PyObject *scale_object, *offset, *activation;
    *output = (ql_output){0};
    if (!PyTuple_Check(fields)) {
        PyErr_Format(PyExc_TypeError, "output: expected a tuple, got %s", Py_TYPE(fields)->tp_name);
        return NULL;
    }
    if (!PyArg_ParseTuple(fields, "spOfOOfiii", &store, &is_signed, &activation, &output->input_scale, &scale_object,
                          &offset, &output->scale, &output->zero_point, &output->qmin, &output->qmax) ||
        take_store(store, &output->store) < 0 || ql_py_activation(activation, &output->activation) < 0 ||
        take_offset(offset, n, &output->offset) < 0)
        return NULL;
    *typenum = output->store == QL_STORE_F32 ? NPY_FLOAT32 : is_signed ? NPY_INT8 : NPY_UINT8;
    PyArrayObject *scale = ql_py_optional_f32(scale_object, n, "scale", &absent);
    if (scale)
        output->weight_scale = PyArray_DATA(scale);
    else if (absent)
        PyErr_SetString(PyExc_TypeError, "scale: expected an array, got None");
    return scale;
}

/* Arguments: the rule of codes, activation, scale, zero_point, qmin, qmax. */
static PyObject *output_clamps(PyObject *module, PyObject *args)
{
    (void)module;
    const char *store;
    PyObject *activation;
    ql_output output = {0};
    if (!PyArg_ParseTuple(args, "sOfiii", &store, &activation, &output.scale, &output.zero_point, &output.qmin,
                          &output.qmax) ||
        take_store(store, &output.store) < 0 || ql_py_activation(activation, &output.activation) < 0)
        return NULL;
    if (output.store == QL_STORE_F32) {
        PyErr_SetString(PyExc_ValueError, "output: expected float or fixed, got float32");
        return NULL;
    }
    const ql_code_clamps clamps = ql_output_clamps(&output);
    return Py_BuildValue("ii", clamps.qmin, clamps.qmax);
}

PyMethodDef ql_py_output_methods[] = {
    {"output_clamps", output_clamps, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
