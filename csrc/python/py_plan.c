/* The plan of an integer program. */
#include <stdio.h>
#include <string.h>

#include "python/glue.h"

typedef struct plan_object {
    PyObject_HEAD ql_plan *plan;
    PyObject *names;    /* of the inputs, for errors: a tuple of strings, or NULL */
    Py_ssize_t running; /* calls that run it now, counted under the GIL */
} plan_object;

/* ---- making ------------------------------------------------------------------------------------- */

static size_t row_buffer(Py_ssize_t number)
{
    return number < 0 ? QL_NO_BUFFER : (size_t)number;
}

static int take_shape(PyObject *shape, Py_ssize_t i, ql_buffer *buffer)
{
    const Py_ssize_t rank = PyTuple_GET_SIZE(shape);
    bool is_valid = rank <= QL_MAX_RANK;
    buffer->rank = (size_t)rank;
    for (Py_ssize_t d = 0; is_valid && d < rank; d++) {
        const Py_ssize_t length = PyNumber_AsSsize_t(PyTuple_GET_ITEM(shape, d), NULL);
        if (length == -1 && PyErr_Occurred())
            return -1;
        buffer->shape[d] = (size_t)length;
        is_valid = length >= 1;
    }
    if (is_valid)
        return 0;
    PyErr_Format(PyExc_ValueError, "buffers[%zd]: expected a shape of up to %d lengths of at least 1, got %S", i,
                 QL_MAX_RANK, shape);
    return -1;
}

static int take_buffer(PyObject *object, Py_ssize_t i, ql_buffer *buffer)
{
    const char *dtype;
    PyObject *shape;
    Py_ssize_t row_scale, row_zero_point;
    if (!PyTuple_Check(object)) {
        PyErr_Format(PyExc_TypeError, "buffers[%zd]: expected a tuple, got %s", i, Py_TYPE(object)->tp_name);
        return -1;
    }
    buffer->bits = 8;
    if (!PyArg_ParseTuple(object, "sO!finn|i", &dtype, &PyTuple_Type, &shape, &buffer->scale, &buffer->zero_point,
                          &row_scale, &row_zero_point, &buffer->bits))
        return -1;
    const ql_py_type *type = ql_py_type_by_name(dtype);
    if (!type) {
        PyErr_Format(PyExc_ValueError, "buffers[%zd]: expected float32, int8, uint8, int16 or int32, got %s", i, dtype);
        return -1;
    }
    buffer->type = type->type;
    buffer->row_scale = row_buffer(row_scale);
    buffer->row_zero_point = row_buffer(row_zero_point);
    return take_shape(shape, i, buffer);
}

/* Takes numbers of buffers from a tuple into memory for as many. Returns 0, or -1 with an exception. */
static int take_numbers(PyObject *tuple, const char *name, size_t buffer_count, size_t *numbers,
                        ql_selection *selection)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    for (Py_ssize_t i = 0; i < count; i++) {
        const Py_ssize_t number = PyNumber_AsSsize_t(PyTuple_GET_ITEM(tuple, i), NULL);
        if (number == -1 && PyErr_Occurred())
            return -1;
        if (number < 0 || (size_t)number >= buffer_count) {
            PyErr_Format(PyExc_ValueError, "%s: expected buffers out of %zu, got %S", name, buffer_count,
                         PyTuple_GET_ITEM(tuple, i));
            return -1;
        }
        numbers[i] = (size_t)number;
    }
    *selection = (ql_selection){(size_t)count, numbers};
    return 0;
}

/* Returns whether these are strings, one for each input; or sets an exception. */
static bool are_names(PyObject *names, PyObject *inputs)
{
    bool are = PyTuple_GET_SIZE(names) == PyTuple_GET_SIZE(inputs);
    for (Py_ssize_t i = 0; are && i < PyTuple_GET_SIZE(names); i++)
        are = PyUnicode_Check(PyTuple_GET_ITEM(names, i));
    if (!are)
        PyErr_Format(PyExc_ValueError, "names: expected %zd strings, one for each input, got %R",
                     PyTuple_GET_SIZE(inputs), names);
    return are;
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"buffers", "inputs", "outputs", "names", NULL};
    PyObject *list, *inputs_object, *outputs_object, *names = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!O!|O!", keywords, &PyList_Type, &list, &PyTuple_Type,
                                     &inputs_object, &PyTuple_Type, &outputs_object, &PyTuple_Type, &names))
        return NULL;
    if (names && !are_names(names, inputs_object))
        return NULL;
    const Py_ssize_t count = PyList_GET_SIZE(list);
    const Py_ssize_t ends = PyTuple_GET_SIZE(inputs_object) + PyTuple_GET_SIZE(outputs_object);
    plan_object *self = NULL;
    ql_selection inputs, outputs;
    ql_buffer *buffers = PyMem_Calloc((size_t)count + 1, sizeof *buffers);
    size_t *numbers = PyMem_Calloc((size_t)ends + 1, sizeof *numbers);
    if (!buffers || !numbers) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (take_buffer(PyList_GET_ITEM(list, i), i, buffers + i) < 0)
            goto done;
    }
    if (take_numbers(inputs_object, "inputs", (size_t)count, numbers, &inputs) < 0 ||
        take_numbers(outputs_object, "outputs", (size_t)count, numbers + inputs.count, &outputs) < 0)
        goto done;
    self = (plan_object *)type->tp_alloc(type, 0);
    if (!self)
        goto done;
    self->names = Py_XNewRef(names);
    const ql_status status = ql_plan_new(buffers, (size_t)count, inputs, outputs, &self->plan);
    if (status != QL_OK) {
        Py_CLEAR(self);
        ql_py_raise(status, "buffers, inputs or outputs");
    }
done:
    PyMem_Free(numbers);
    PyMem_Free(buffers);
    return (PyObject *)self;
}

static void plan_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    ql_plan_free(((plan_object *)object)->plan);
    Py_XDECREF(((plan_object *)object)->names);
    type->tp_free(object);
    Py_DECREF(type);
}

static ql_plan *plan_of(PyObject *object)
{
    return ((plan_object *)object)->plan;
}

static PyObject *plan_add(PyObject *self, PyObject *args)
{
    const char *kind;
    PyObject *dict, *owners;
    ql_value values[QL_MAX_FIELDS];
    if (!PyArg_ParseTuple(args, "sO!", &kind, &PyDict_Type, &dict))
        return NULL;
    if (!ql_step_fields(kind))
        return PyErr_Format(PyExc_ValueError, "kind: no such step: %s", kind);
    if (ql_plan_samples(plan_of(self)) > 0)
        return PyErr_Format(PyExc_ValueError, "add: expected a plan that is not finished");
    int failed = ql_py_fields(dict, ql_step_fields(kind), values, &owners);
    const ql_status status = failed ? QL_OK : ql_plan_add(plan_of(self), kind, values);
    if (status != QL_OK) {
        failed = -1;
        ql_py_raise(status, kind);
    }
    Py_XDECREF(owners);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- updating ----------------------------------------------------------------------------------- */

/* What changes: grids of buffers, and values of steps with the arrays that they point to. */
typedef struct changes {
    Py_ssize_t grid_count, step_count;
    ql_regrid *grids;
    ql_revalue *steps;
    ql_value (*values)[QL_MAX_FIELDS];
    PyObject **owners; /* [step_count], NULL where none was taken */
} changes;

static int take_regrid(PyObject *object, Py_ssize_t i, ql_regrid *grid)
{
    Py_ssize_t buffer;
    if (!PyTuple_Check(object)) {
        PyErr_Format(PyExc_TypeError, "grids[%zd]: expected a tuple, got %s", i, Py_TYPE(object)->tp_name);
        return -1;
    }
    if (!PyArg_ParseTuple(object, "nfi", &buffer, &grid->scale, &grid->zero_point))
        return -1;
    grid->buffer = row_buffer(buffer);
    return 0;
}

/* Takes the number of a step and its fields, as step i of the changes. Returns 0, or -1 with an exception. */
static int take_revalue(const ql_plan *plan, PyObject *object, changes *c, Py_ssize_t i)
{
    Py_ssize_t step;
    PyObject *dict;
    if (!PyTuple_Check(object)) {
        PyErr_Format(PyExc_TypeError, "steps[%zd]: expected a tuple, got %s", i, Py_TYPE(object)->tp_name);
        return -1;
    }
    if (!PyArg_ParseTuple(object, "nO!", &step, &PyDict_Type, &dict))
        return -1;
    const char *kind = step < 0 ? NULL : ql_plan_step_kind(plan, (size_t)step);
    if (!kind) {
        PyErr_Format(PyExc_ValueError, "step: expected one of %zu, got %zd", ql_plan_step_count(plan), step);
        return -1;
    }
    c->steps[i] = (ql_revalue){(size_t)step, c->values[i]};
    return ql_py_fields(dict, ql_step_fields(kind), c->values[i], c->owners + i);
}

static int take_changes(const ql_plan *plan, PyObject *grids, PyObject *steps, changes *c)
{
    c->grids = PyMem_Calloc((size_t)c->grid_count + 1, sizeof *c->grids);
    c->steps = PyMem_Calloc((size_t)c->step_count + 1, sizeof *c->steps);
    c->values = PyMem_Calloc((size_t)c->step_count + 1, sizeof *c->values);
    c->owners = PyMem_Calloc((size_t)c->step_count + 1, sizeof *c->owners);
    if (!c->grids || !c->steps || !c->values || !c->owners) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < c->grid_count; i++) {
        if (take_regrid(PyList_GET_ITEM(grids, i), i, c->grids + i) < 0)
            return -1;
    }
    for (Py_ssize_t i = 0; i < c->step_count; i++) {
        if (take_revalue(plan, PyList_GET_ITEM(steps, i), c, i) < 0)
            return -1;
    }
    return 0;
}

static void free_changes(changes *c)
{
    for (Py_ssize_t i = 0; c->owners && i < c->step_count; i++)
        Py_XDECREF(c->owners[i]);
    PyMem_Free(c->owners);
    PyMem_Free(c->values);
    PyMem_Free(c->steps);
    PyMem_Free(c->grids);
}

/* grids, steps */
static PyObject *plan_update(PyObject *self, PyObject *args)
{
    PyObject *grids, *steps;
    ql_plan *plan = plan_of(self);
    if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &grids, &PyList_Type, &steps))
        return NULL;
    changes c = {PyList_GET_SIZE(grids), PyList_GET_SIZE(steps), NULL, NULL, NULL, NULL};
    int failed = take_changes(plan, grids, steps, &c);
    if (!failed && ((plan_object *)self)->running > 0) {
        PyErr_SetString(PyExc_ValueError, "update: expected a plan that is not running");
        failed = -1;
    }
    if (!failed) { /* under the GIL: nobody else may see the plan meanwhile */
        size_t at_fault;
        const ql_status status =
            ql_plan_update(plan, c.grids, (size_t)c.grid_count, c.steps, (size_t)c.step_count, &at_fault);
        if (status != QL_OK) {
            const char *kind = ql_plan_step_kind(plan, at_fault);
            ql_py_raise(status, kind ? kind : "grids");
            failed = -1;
        }
    }
    free_changes(&c);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *plan_finish(PyObject *self, PyObject *unused)
{
    (void)unused;
    size_t at_fault;
    const ql_status status = ql_plan_finish(plan_of(self), &at_fault);
    if (status == QL_EINVAL)
        return PyErr_Format(PyExc_ValueError, "outputs: expected buffers that a step writes, got %zu", at_fault);
    if (status != QL_OK)
        return ql_py_raise(status, "buffers");
    Py_RETURN_NONE;
}

/* ---- running ------------------------------------------------------------------------------------ */

enum { FEW = 8 };

/* Arrays of a call: first those given, then those wanted. */
typedef struct operands {
    const char *name; /* of those given, which are numbered if there are several */
    PyObject *names;  /* a tuple of their own ones; or NULL */
    size_t given, count;
    PyArrayObject **arrays; /* [count], each a new reference or NULL */
    void **data;            /* [count] */
    npy_intp samples;
    void *few[2 * FEW];
} operands;

static int begin(operands *o, const char *name, size_t given, size_t wanted)
{
    memset(o->few, 0, sizeof o->few);
    o->name = name;
    o->names = NULL;
    o->given = given;
    o->count = given + wanted;
    void **memory = o->count <= FEW ? o->few : PyMem_Calloc(2 * o->count, sizeof *memory);
    o->arrays = (PyArrayObject **)memory;
    o->data = memory + o->count;
    if (memory)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static void end(operands *o)
{
    for (size_t i = 0; o->arrays && i < o->count; i++)
        Py_XDECREF(o->arrays[i]);
    if ((void **)o->arrays != o->few)
        PyMem_Free(o->arrays);
}

enum { NAME_LENGTH = 48 };

/* The name of a given array in errors. */
static const char *name_of(const operands *o, size_t i, char memory[NAME_LENGTH])
{
    if (o->given == 1)
        return "x";
    const char *own = o->names ? PyUnicode_AsUTF8(PyTuple_GET_ITEM(o->names, (Py_ssize_t)i)) : NULL;
    if (own)
        return own;
    PyErr_Clear();
    snprintf(memory, NAME_LENGTH, "%s[%zu]", o->name, i);
    return memory;
}

static int raise_shape(const char *name, const ql_buffer *b, PyArrayObject *array)
{
    npy_intp shape[QL_MAX_RANK];
    for (size_t d = 0; d < b->rank; d++)
        shape[d] = (npy_intp)b->shape[d];
    PyObject *expected = PyArray_IntTupleFromIntp((int)b->rank, shape);
    PyObject *got = PyArray_IntTupleFromIntp(PyArray_NDIM(array), PyArray_DIMS(array));
    PyObject *lengths = expected ? PyObject_Str(expected) : NULL;
    PyObject *inner =
        lengths ? PyUnicode_Substring(lengths, 1, PyUnicode_GET_LENGTH(lengths) - (b->rank == 1 ? 2 : 1)) : NULL;
    if (inner && got)
        PyErr_Format(PyExc_ValueError, "%s: expected shape (samples,%s%U), got %S", name, b->rank ? " " : "", inner,
                     got);
    Py_XDECREF(inner);
    Py_XDECREF(lengths);
    Py_XDECREF(got);
    Py_XDECREF(expected);
    return -1;
}

/* Takes the i-th given array, for a buffer, with as many samples as the first. Returns 0, or -1 with an exception. */
static int take_given(operands *o, size_t i, const ql_buffer *b, PyObject *object)
{
    char memory[NAME_LENGTH], first_memory[NAME_LENGTH];
    const char *name = name_of(o, i, memory);
    PyArrayObject *array =
        b->type == QL_F32 ? ql_py_f32(object, name) : ql_py_exact(object, ql_py_type_of(b->type)->typenum, name);
    if (!array)
        return -1;
    o->arrays[i] = array;
    o->data[i] = PyArray_DATA(array);
    bool fits = PyArray_NDIM(array) == (int)b->rank + 1;
    for (size_t d = 0; fits && d < b->rank; d++)
        fits = PyArray_DIM(array, (int)d + 1) == (npy_intp)b->shape[d];
    if (!fits)
        return raise_shape(name, b, array);
    if (i == 0)
        o->samples = PyArray_DIM(array, 0);
    if (PyArray_DIM(array, 0) == o->samples)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s: expected %zd samples as in %s, got %zd", name, o->samples,
                 name_of(o, 0, first_memory), PyArray_DIM(array, 0));
    return -1;
}

/* Makes the i-th array, for a buffer that is wanted; after the given ones. Returns 0, or -1 with an exception. */
static int make_wanted(operands *o, size_t i, const ql_buffer *b)
{
    npy_intp shape[QL_MAX_RANK + 1] = {o->samples};
    for (size_t d = 0; d < b->rank; d++)
        shape[d + 1] = (npy_intp)b->shape[d];
    o->arrays[i] = (PyArrayObject *)PyArray_SimpleNew((int)b->rank + 1, shape, ql_py_type_of(b->type)->typenum);
    if (!o->arrays[i])
        return -1;
    o->data[i] = PyArray_DATA(o->arrays[i]);
    return 0;
}

static size_t position(ql_selection selection, size_t buffer)
{
    size_t i = 0;
    while (i < selection.count && selection.buffers[i] != buffer)
        i++;
    return i;
}

/* Raises the exception of a run that failed; `at_fault` is one of the buffers given. */
static void raise_run(const operands *o, ql_selection given, ql_status status, size_t at_fault)
{
    char memory[NAME_LENGTH];
    if (status == QL_ECODES)
        PyErr_Format(PyExc_ValueError, "%s: expected zero points that are codes",
                     name_of(o, position(given, at_fault), memory));
    else if (status == QL_ENONFINITE)
        ql_py_raise(status, name_of(o, position(given, at_fault), memory));
    else
        ql_py_raise(status, o->name);
}

/* Runs the whole plan; ns, one for each step, is how long it took, if it is not NULL. */
static PyObject *run_whole(plan_object *self, const char *function, PyObject *const *args, Py_ssize_t count,
                           uint64_t *ns)
{
    ql_plan *plan = self->plan;
    const ql_selection inputs = ql_plan_inputs(plan), outputs = ql_plan_outputs(plan);
    PyObject *result = NULL;
    operands o;
    if (ql_plan_samples(plan) == 0)
        return PyErr_Format(PyExc_ValueError, "%s: expected a plan that is finished", function);
    if (ql_py_count(function, count, (Py_ssize_t)inputs.count) < 0 ||
        begin(&o, "inputs", inputs.count, outputs.count) < 0)
        return NULL;
    o.names = self->names;
    for (size_t i = 0; i < inputs.count; i++) {
        if (take_given(&o, i, ql_plan_buffer(plan, inputs.buffers[i]), args[i]) < 0)
            goto done;
    }
    for (size_t i = 0; i < outputs.count; i++) {
        if (make_wanted(&o, inputs.count + i, ql_plan_buffer(plan, outputs.buffers[i])) < 0)
            goto done;
    }
    const void *const *given = (const void *const *)o.data;
    void *const *wanted = o.data + inputs.count;
    size_t at_fault;
    ql_py_pause pause;
    ++self->running;
    ql_py_begin(&pause);
    ql_status status = ns ? ql_plan_time(plan, given, wanted, (size_t)o.samples, ns, &at_fault)
                          : ql_plan_run(plan, given, wanted, (size_t)o.samples, &at_fault);
    status = ql_py_end(&pause, status);
    --self->running;
    if (status != QL_OK) {
        raise_run(&o, inputs, status, at_fault);
        goto done;
    }
    PyArrayObject **results = o.arrays + inputs.count;
    result = outputs.count == 1 ? Py_NewRef((PyObject *)*results) : PyTuple_New((Py_ssize_t)outputs.count);
    for (size_t i = 0; result && outputs.count > 1 && i < outputs.count; i++)
        PyTuple_SET_ITEM(result, (Py_ssize_t)i, Py_NewRef((PyObject *)results[i]));
done:
    end(&o);
    return result;
}

static PyObject *plan_run(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return run_whole((plan_object *)self, "run", args, count, NULL);
}

static PyObject *plan_timed(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    const size_t steps = ql_plan_step_count(plan_of(self));
    npy_intp length = (npy_intp)steps;
    PyObject *seconds = PyArray_SimpleNew(1, &length, NPY_FLOAT64);
    uint64_t *ns = PyMem_Calloc(steps + 1, sizeof *ns);
    PyObject *result = NULL;
    if (!ns)
        PyErr_NoMemory();
    else if (seconds)
        result = run_whole((plan_object *)self, "timed", args, count, ns);
    for (size_t i = 0; result && i < steps; i++)
        ((double *)PyArray_DATA((PyArrayObject *)seconds))[i] = 1e-9 * (double)ns[i];
    PyMem_Free(ns);
    if (result)
        return Py_BuildValue("NN", result, seconds);
    Py_XDECREF(seconds);
    return NULL;
}

/* The buffers of a call of run_steps. */
typedef struct request {
    ql_part part;
    ql_selection asked; /* as the caller wrote them: perhaps with given ones and repetitions */
    size_t *numbers, few[3 * FEW];
} request;

/* Checks that there are such steps, and an array for each buffer given. Returns 0, or -1 with an exception. */
static int check_call(ql_plan *plan, Py_ssize_t first, Py_ssize_t last, PyObject *given, PyObject *arrays)
{
    const Py_ssize_t steps = (Py_ssize_t)ql_plan_step_count(plan);
    if (ql_plan_samples(plan) == 0)
        PyErr_SetString(PyExc_ValueError, "run_steps: expected a plan that is finished");
    else if (last < 0 || last > steps)
        PyErr_Format(PyExc_ValueError, "last: expected 0 to %zd steps, got %zd", steps, last);
    else if (first < 0 || first > last)
        PyErr_Format(PyExc_ValueError, "first: expected 0 to last, %zd, got %zd", last, first);
    else if (PyTuple_GET_SIZE(given) == 0)
        PyErr_SetString(PyExc_ValueError, "given: expected at least one buffer, got none");
    else if (PyTuple_GET_SIZE(arrays) != PyTuple_GET_SIZE(given))
        PyErr_Format(PyExc_ValueError, "arrays: expected one for each buffer given, %zd, got %zd",
                     PyTuple_GET_SIZE(given), PyTuple_GET_SIZE(arrays));
    return PyErr_Occurred() ? -1 : 0;
}

/* Takes the numbers of the buffers given and asked for; wanted are those asked for and not given, each once. Returns 0,
 * or -1 with an exception. */
static int take_request(ql_plan *plan, PyObject *given, PyObject *wanted, request *r)
{
    const size_t buffer_count = ql_plan_buffer_count(plan);
    const size_t given_count = (size_t)PyTuple_GET_SIZE(given), asked_count = (size_t)PyTuple_GET_SIZE(wanted);
    const size_t count = given_count + 2 * asked_count;
    r->numbers = count <= 3 * FEW ? r->few : PyMem_Calloc(count, sizeof *r->numbers);
    if (!r->numbers) {
        PyErr_NoMemory();
        return -1;
    }
    if (take_numbers(given, "given", buffer_count, r->numbers, &r->part.given) < 0 ||
        take_numbers(wanted, "wanted", buffer_count, r->numbers + given_count, &r->asked) < 0)
        return -1;
    size_t *needed = r->numbers + given_count + asked_count;
    r->part.wanted = (ql_selection){0, needed};
    for (size_t i = 0; i < asked_count; i++) {
        const size_t buffer = r->asked.buffers[i];
        if (position(r->part.given, buffer) == given_count && position(r->part.wanted, buffer) == r->part.wanted.count)
            needed[r->part.wanted.count++] = buffer;
    }
    return 0;
}

static void raise_part(const request *r, size_t at_fault)
{
    const size_t first = r->part.first, last = r->part.last;
    if (position(r->part.wanted, at_fault) < r->part.wanted.count)
        PyErr_Format(PyExc_ValueError,
                     "wanted: expected buffers that are given or that steps %zu to %zu write, got %zu", first, last - 1,
                     at_fault);
    else if (position(r->part.given, at_fault) < r->part.given.count)
        PyErr_Format(PyExc_ValueError,
                     "given: expected buffers, each once, that steps %zu to %zu do not write, got %zu", first, last - 1,
                     at_fault);
    else
        PyErr_Format(PyExc_ValueError, "given: expected what steps %zu to %zu read and do not write, got no buffer %zu",
                     first, last - 1, at_fault);
}

static PyObject *results_of(const request *r, const operands *o)
{
    PyObject *result = PyTuple_New((Py_ssize_t)r->asked.count);
    for (size_t i = 0; result && i < r->asked.count; i++) {
        size_t at = position(r->part.given, r->asked.buffers[i]);
        if (at == r->part.given.count)
            at += position(r->part.wanted, r->asked.buffers[i]);
        PyTuple_SET_ITEM(result, (Py_ssize_t)i, Py_NewRef((PyObject *)o->arrays[at]));
    }
    return result;
}

/* first, last, given, arrays, wanted */
static PyObject *plan_run_steps(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    ql_plan *plan = plan_of(self);
    Py_ssize_t *running = &((plan_object *)self)->running;
    PyObject *result = NULL;
    request r = {.numbers = NULL};
    operands o = {.arrays = NULL};
    if (ql_py_count("run_steps", count, 5) < 0)
        return NULL;
    const Py_ssize_t first = PyNumber_AsSsize_t(args[0], NULL), last = PyNumber_AsSsize_t(args[1], NULL);
    if (!PyErr_Occurred() && !(PyTuple_Check(args[2]) && PyTuple_Check(args[3]) && PyTuple_Check(args[4])))
        PyErr_SetString(PyExc_TypeError, "given, arrays, wanted: expected a tuple each");
    if (PyErr_Occurred() || check_call(plan, first, last, args[2], args[3]) < 0)
        return NULL;
    r.part.first = (size_t)first;
    r.part.last = (size_t)last;
    if (take_request(plan, args[2], args[4], &r) < 0 ||
        begin(&o, "arrays", r.part.given.count, r.part.wanted.count) < 0)
        goto done;
    for (size_t i = 0; i < o.given; i++) {
        PyObject *array = PyTuple_GET_ITEM(args[3], (Py_ssize_t)i);
        if (take_given(&o, i, ql_plan_buffer(plan, r.part.given.buffers[i]), array) < 0)
            goto done;
    }
    for (size_t i = 0; i < r.part.wanted.count; i++) {
        if (make_wanted(&o, o.given + i, ql_plan_buffer(plan, r.part.wanted.buffers[i])) < 0)
            goto done;
    }
    size_t at_fault;
    ql_status status;
    ++*running;
    Py_BEGIN_ALLOW_THREADS
        status = ql_plan_run_steps(plan, &r.part, (const void *const *)o.data, o.data + o.given, (size_t)o.samples,
                                   &at_fault);
    Py_END_ALLOW_THREADS
    --*running;
    if (status == QL_OK)
        result = results_of(&r, &o);
    else if (status == QL_EINVAL)
        raise_part(&r, at_fault);
    else
        raise_run(&o, r.part.given, status, at_fault);
done:
    end(&o);
    if (r.numbers != r.few)
        PyMem_Free(r.numbers);
    return result;
}

static PyObject *plan_rows(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(ql_plan_samples(plan_of(self)));
}

static PyObject *plan_workspace_nbytes(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(ql_plan_workspace_bytes(plan_of(self)));
}

static PyMethodDef plan_methods[] = {
    {"add", plan_add, METH_VARARGS, NULL},
    {"finish", plan_finish, METH_NOARGS, NULL},
    {"update", plan_update, METH_VARARGS, NULL},
    {"run", (PyCFunction)(void (*)(void))plan_run, METH_FASTCALL, NULL},
    {"timed", (PyCFunction)(void (*)(void))plan_timed, METH_FASTCALL, NULL},
    {"run_steps", (PyCFunction)(void (*)(void))plan_run_steps, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef plan_getset[] = {
    {"rows", plan_rows, NULL, NULL, NULL},
    {"workspace_nbytes", plan_workspace_nbytes, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_methods, plan_methods},
    {Py_tp_getset, plan_getset},
    {0, NULL},
};

PyType_Spec ql_py_plan_spec = {
    .name = "qlite._core.Plan",
    .basicsize = sizeof(plan_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_BASETYPE,
    .slots = plan_slots,
};
