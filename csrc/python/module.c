/* The module: multi-phase initialisation, no global objects. QLITE_ISA is read here, once. */
#define QL_IMPORT_NUMPY
#include "python/glue.h"

static PyObject *isa_list(bool only_runnable)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && ql_isa_name(i); i++) {
        if (only_runnable && !ql_isa_can_run(i))
            continue;
        PyObject *name = PyUnicode_FromString(ql_isa_name(i));
        if (!name || PyList_Append(list, name) < 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static int select_isa(const char *name)
{
    if (ql_isa_select(name) == QL_OK)
        return 0;
    const bool needs_tiles = strncmp(name ? name : "", "amx", 3) == 0;
    PyObject *runnable = isa_list(true);
    if (runnable)
        PyErr_Format(PyExc_ImportError, "QLITE_ISA: expected one of %S, got '%s'%s%s", runnable, name,
                     needs_tiles ? ", whose tiles are " : "", needs_tiles ? ql_tiles_text() : "");
    Py_XDECREF(runnable);
    return -1;
}

static PyObject *isa_select(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    if (!PyArg_ParseTuple(args, "z", &name) || select_isa(name) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Sets the number of threads; None: leaves it to the machine. Returns the number that was set before, or None. */
static PyObject *set_num_threads(PyObject *module, PyObject *number)
{
    (void)module;
    size_t n = 0, before;
    if (number != Py_None) {
        int overflow;
        long value = PyLong_AsLongAndOverflow(number, &overflow);
        if (value == -1 && PyErr_Occurred())
            return NULL;
        if (overflow || value < 1 || value > QL_MAX_THREADS)
            return PyErr_Format(PyExc_ValueError, "n: expected 1 to %d, got %S", QL_MAX_THREADS, number);
        n = (size_t)value;
    }
    (void)ql_set_num_threads(n, &before);
    return before ? PyLong_FromSize_t(before) : Py_NewRef(Py_None);
}

static PyObject *num_threads(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromSize_t(ql_num_threads());
}

static int put(PyObject *dict, const char *key, PyObject *value)
{
    int failed = !value || PyDict_SetItemString(dict, key, value) < 0;
    Py_XDECREF(value);
    return failed ? -1 : 0;
}

static PyObject *cpu_features(void)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && ql_cpu_feature_name(i); i++) {
        PyObject *name = ql_cpu_has_feature(i) ? PyUnicode_FromString(ql_cpu_feature_name(i)) : Py_NewRef(Py_None);
        if (!name || (name != Py_None && PyList_Append(list, name) < 0))
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static PyObject *kernel_isas(void)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && ql_kernel_name(i); i++) {
        if (put(dict, ql_kernel_name(i), PyUnicode_FromString(ql_kernel_isa(i))) < 0)
            Py_CLEAR(dict);
    }
    return dict;
}

static const char compiler[] =
#if defined(__clang__)
    "clang " __clang_version__;
#elif defined(__GNUC__)
    "gcc " __VERSION__;
#else
    "unknown";
#endif

static PyObject *openmp(void)
{
    return ql_openmp() ? PyUnicode_FromString(ql_openmp()) : Py_NewRef(Py_None);
}

static PyObject *info(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    if (put(dict, "compiler", PyUnicode_FromString(compiler)) < 0 || put(dict, "cpu_features", cpu_features()) < 0 ||
        put(dict, "isas_built", isa_list(false)) < 0 || put(dict, "isas_runnable", isa_list(true)) < 0 ||
        put(dict, "isa", PyUnicode_FromString(ql_isa_active())) < 0 ||
        put(dict, "tiles", PyUnicode_FromString(ql_tiles_text())) < 0 || put(dict, "kernels", kernel_isas()) < 0 ||
        put(dict, "openmp", openmp()) < 0)
        Py_CLEAR(dict);
    return dict;
}

static PyMethodDef module_methods[] = {
    {"info", info, METH_NOARGS, NULL},
    {"isa_select", isa_select, METH_VARARGS, NULL},
    {"num_threads", num_threads, METH_NOARGS, NULL},
    {"set_num_threads", set_num_threads, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* Returns the NumPy dtype with the fields of ql_histogram. */
static PyObject *histogram_dtype(void)
{
    PyObject *fields = Py_BuildValue("[(ss)(ss)(ss)(ss)(ss)(ss)]", "min", "f4", "max", "f4", "exponent", "i4", "origin",
                                     "i4", "count", "i8", "zeros", "i8");
    PyArray_Descr *descr = NULL;
    if (fields)
        (void)PyArray_DescrConverter(fields, &descr);
    Py_XDECREF(fields);
    return (PyObject *)descr;
}

/* Adds a type to the module and returns a new reference to it. */
static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type && PyModule_AddType(module, type) < 0)
        Py_CLEAR(type);
    return type;
}

static int module_exec(PyObject *module)
{
    import_array1(-1);
    const char *ceiling = getenv("QLITE_ISA");
    if (select_isa(ceiling && *ceiling ? ceiling : NULL) < 0)
        return -1;
    PyMethodDef *const methods[] = {
        ql_py_elementwise_methods, ql_py_histogram_methods, ql_py_choose_methods, ql_py_codebook_methods,
        ql_py_bits_methods,        ql_py_error_methods,     ql_py_gemm_methods,   ql_py_activations_methods,
        ql_py_pool_methods,        ql_py_conv_methods,      ql_py_peak_methods,   ql_py_function_methods,
        ql_py_training_methods,    ql_py_gradients_methods, ql_py_images_methods, ql_py_output_methods,
    };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (PyModule_AddFunctions(module, methods[i]) < 0)
            return -1;
    }
    PyObject *dtype = histogram_dtype();
    int failed = PyModule_AddObjectRef(module, "HISTOGRAM_DTYPE", dtype) < 0;
    Py_XDECREF(dtype);
    ql_module_state *state = PyModule_GetState(module);
    state->packed_type = add_type(module, &ql_py_packed_spec);
    PyTypeObject *plan_type = add_type(module, &ql_py_plan_spec);
    failed |= !state->packed_type || !plan_type;
    Py_XDECREF(plan_type);
    return failed ? -1 : 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ql_module_state *state = PyModule_GetState(module);
    Py_VISIT(state->packed_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    ql_module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->packed_type);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,       .m_name = "qlite._core",       .m_size = sizeof(ql_module_state),
    .m_methods = module_methods, .m_traverse = module_traverse, .m_clear = module_clear,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&module_def);
}
