/* What the glue files share: objects to arrays, status to exception. The glue knows no arithmetic: each function turns
 * its arguments into views, releases the GIL, calls one ql_ function and raises what came back.
 *
 * All array helpers return a new reference, or NULL with an exception that names the argument. */
#ifndef QL_GLUE_H
#define QL_GLUE_H

#include "python/numpy_api.h"
#include "qlite.h"

/* Any real floating data as C-contiguous float32; float32 that is so already is not copied. */
PyArrayObject *ql_py_f32(PyObject *object, const char *name);

/* The same of any order of axes: elements that lie side by side are not copied, others keep the order of their axes. */
PyArrayObject *ql_py_f32_dense(PyObject *object, const char *name);

/* An array of exactly this type; C-contiguous, aligned and in native byte order, copied if it was not. */
PyArrayObject *ql_py_exact(PyObject *object, int typenum, const char *name);

/* An array as ql_py_exact returns it, but with its axes in any order, as ql_py_f32_dense. */
PyArrayObject *ql_py_exact_dense(PyObject *object, int typenum, const char *name);

/* Codes of int8 or uint8. */
PyArrayObject *ql_py_x8(PyObject *object, const char *name);

/* Codes of int8 or uint8, with their axes in any order, as ql_py_f32_dense. */
PyArrayObject *ql_py_x8_dense(PyObject *object, const char *name);

static inline bool ql_py_is_signed(PyArrayObject *codes)
{
    return PyArray_TYPE(codes) == NPY_INT8;
}

/* Returns codes of two dimensions, whose axes may lie in either order, with zero points of columns or NULL. */
static inline ql_code_matrix ql_py_code_matrix(PyArrayObject *codes, PyArrayObject *zero_point)
{
    return (ql_code_matrix){.data = PyArray_DATA(codes),
                            .is_signed = ql_py_is_signed(codes),
                            .by_columns = !PyArray_IS_C_CONTIGUOUS(codes),
                            .k = (size_t)PyArray_DIM(codes, 0),
                            .n = (size_t)PyArray_DIM(codes, 1),
                            .zero_point = zero_point ? PyArray_DATA(zero_point) : NULL};
}

/* Codes of 8 or 16 bits, signed or not, and the range of their type. */
PyArrayObject *ql_py_codes(PyObject *object, const char *name, int32_t *qmin, int32_t *qmax);
PyArrayObject *ql_py_codes_dense(PyObject *object, const char *name, int32_t *qmin, int32_t *qmax);

/* An array of numbers, C-contiguous. */
PyArrayObject *ql_py_contiguous(PyObject *object, const char *name);

/* A float32 array that is written to as it is: C-contiguous, aligned, writable. It is borrowed. */
PyArrayObject *ql_py_writable_f32(PyObject *object, const char *name);

/* Fills in the axes of an array as they lie in memory, the outermost one first. */
void ql_py_memory_order(PyArrayObject *array, int *axes);

/* Returns the elements of an array, or NULL for NULL. */
static inline void *ql_py_data(PyArrayObject *array)
{
    return array ? PyArray_DATA(array) : NULL;
}

/* Checks that an array has this shape, or is a vector of length n. Returns 0, or -1 with an exception. */
int ql_py_shape(PyArrayObject *array, int ndim, const npy_intp *shape, const char *name);
int ql_py_vector(PyArrayObject *array, npy_intp n, const char *name);

/* A float32 vector of length n, or NULL without an exception for None (then *absent is set). */
PyArrayObject *ql_py_optional_f32(PyObject *object, npy_intp n, const char *name, bool *absent);

/* Takes a bias, None or a finite vector of n floats; *bias is NULL or a new reference. Returns 0, or -1 with an
 * exception. */
int ql_py_bias_f32(PyObject *object, npy_intp n, PyArrayObject **bias);

/* Checks that an array of this type and shape is not more than the machine's memory. Returns 0, or -1 with an
 * exception. */
int ql_py_fits_memory(int ndim, const npy_intp *shape, int typenum, const char *name);

/* A call of the core without the GIL that Ctrl-C ends: for calls without effect but for a new result. */
typedef struct ql_py_pause {
    PyThreadState *state;
    ql_listener listener;
} ql_py_pause;

/* Lets go of the GIL; takes it again and returns the status, or QL_ESTOPPED with the exception of a signal's handler.
 * A pause must not move in between. */
void ql_py_begin(ql_py_pause *pause);
ql_status ql_py_end(ql_py_pause *pause, ql_status status);

/* Returns memory for a result: a new array when out is None, else out, which must have this type and shape and be
 * writable. If out is not contiguous, what is returned is new memory that ql_py_finish copies to it. *input is replaced
 * by a copy when it shares memory with out; in_place allows it to be the very same elements. */
PyArrayObject *ql_py_result(PyObject *out, int typenum, int ndim, const npy_intp *shape, PyArrayObject **input,
                            bool in_place);

/* A result as of ql_py_result, of the shape of *input, whose elements lie side by side: new memory, and what the core
 * writes to, has its axes in the same order. */
PyArrayObject *ql_py_result_like(PyObject *out, int typenum, PyArrayObject **input, bool in_place);

/* Replaces *input, which may be NULL, by a copy if it shares memory with result. Returns 0, or -1 with an exception. */
int ql_py_separate(PyArrayObject *result, PyArrayObject **input);

/* Drops a result after an error, so that `out` stays as it was, and sets it to NULL. */
void ql_py_drop(PyArrayObject **result);

/* Returns the policy for NaN and infinities: an array that nobody has seen yet may be written to before an error. */
static inline ql_nonfinite ql_py_policy(int refuse_nonfinite, PyObject *out)
{
    if (!refuse_nonfinite)
        return QL_NONFINITE_SATURATE;
    return out == Py_None ? QL_NONFINITE_REFUSE_LATE : QL_NONFINITE_REFUSE;
}

/* Returns the object for the caller, out or the new array. Takes over the reference to result. */
PyObject *ql_py_finish(PyObject *out, PyArrayObject *result);

/* Does the same if the status is QL_OK; otherwise drops the result and raises what the status means, of argument
 * `name`. */
PyObject *ql_py_give(PyObject *out, PyArrayObject *result, ql_status status, const char *name);

/* Groups of `size` along an axis; size 0: none. */
typedef struct ql_py_groups {
    int size, axis;
} ql_py_groups;

/* Lays parameters of this shape (scale, zero point, multiplier) over data without gaps, axes in the order of memory:
 * one element, or the rank of the data and along each axis 1, the data's length or, along the axis that is cut, the
 * number of groups. Returns 0, or -1 with an exception that names `name`. */
int ql_py_layout(PyArrayObject *data, int ndim, const npy_intp *shape, const char *name, ql_py_groups groups,
                 ql_layout *layout);

/* Replaces parameters by a copy where they do not follow each other as the data do. Returns 0, or -1 with an exception.
 */
int ql_py_lay_over(PyArrayObject *data, PyArrayObject **parameters);

/* Memory for parameters of this shape, in the order of the data. Only where that is not by rows it is a view. */
PyArrayObject *ql_py_new_parameters(PyArrayObject *data, int ndim, const npy_intp *shape, int typenum);

/* Lays a parameter over each index of one axis; axis -1: one over everything. */
int ql_py_axis_layout(PyArrayObject *data, int axis, ql_layout *layout);

/* A calibrator's state, and its counts of shape (channels, bins). Both are borrowed. */
PyArrayObject *ql_py_state(PyObject *object, const char *name);
PyArrayObject *ql_py_counts(PyObject *object, PyArrayObject *state, const char *name);

/* Takes None, or the name of an activation that products apply. Returns 0, or -1 with an exception. */
int ql_py_activation(PyObject *object, ql_activation *activation);

/* The fields of qlite.ops.epilogue.Output, for n columns; *typenum is the result's. A new reference to the weight
 * scales, which output points to; NULL with an exception. */
PyArrayObject *ql_py_output(PyObject *fields, npy_intp n, ql_output *output, int *typenum);

/* What QL_EINVAL of such an output speaks of: that a multiplier or, of floats, a scale cannot be represented. */
static inline const char *ql_py_output_name(const ql_output *output)
{
    return output->store == QL_STORE_F32 ? "the scale of x times that of w" : "output_qparams";
}

/* Returns the position of name among the options of an argument, or -1 with an exception that lists them. */
int ql_py_option(const char *argument, const char *name, const char *const *options, int count);

/* A dtype as buffers and arrays of a program have it. */
typedef struct ql_py_type {
    const char *name;
    ql_type type;
    int typenum;
} ql_py_type;

/* Look a dtype up; NULL: there is no such. */
const ql_py_type *ql_py_type_by_name(const char *name);
const ql_py_type *ql_py_type_by_typenum(int typenum);
const ql_py_type *ql_py_type_of(ql_type type);

/* Takes the values of a step's fields, from a dict by name, in which those that may be none may be missing. Arrays are
 * borrowed from *owners, a new reference (which may be set when there is an exception). Returns 0, or -1 with an
 * exception that names the field. */
int ql_py_fields(PyObject *dict, const ql_field *fields, ql_value values[QL_MAX_FIELDS], PyObject **owners);

/* Checks the number of arguments of a METH_FASTCALL function. Returns 0, or -1 with an exception. */
int ql_py_count(const char *function, Py_ssize_t got, Py_ssize_t expected);

/* Sets the exception that a status means, about argument `name`, and returns NULL. */
PyObject *ql_py_raise(ql_status status, const char *name);

typedef struct ql_module_state {
    PyTypeObject *packed_type;
} ql_module_state;

/* Kind of packed weights, and so the core's type that they have. */
typedef enum ql_py_kind { QL_PY_MATRIX, QL_PY_GROUPED, QL_PY_FILTER } ql_py_kind;

/* The object of _core.Packed. */
typedef struct ql_py_packed {
    PyObject ob_base;
    ql_py_kind kind;
    PyObject *kind_name;
    const char *purpose_name;
    ql_packed_info info;
    union {
        ql_packed *matrix;
        ql_grouped *grouped;
        ql_filter *filter;
    } weights;
} ql_py_packed;

/* Returns the packed weights of an argument, borrowed, or NULL with an exception if it is no such or of another kind.
 */
const ql_py_packed *ql_py_take_packed(PyObject *module, PyObject *object, ql_py_kind kind, const char *name);

extern PyMethodDef ql_py_elementwise_methods[], ql_py_histogram_methods[], ql_py_choose_methods[];
extern PyMethodDef ql_py_codebook_methods[], ql_py_bits_methods[], ql_py_error_methods[], ql_py_gemm_methods[];
extern PyMethodDef ql_py_activations_methods[], ql_py_function_methods[], ql_py_pool_methods[], ql_py_conv_methods[];
extern PyMethodDef ql_py_training_methods[], ql_py_gradients_methods[], ql_py_peak_methods[];
extern PyMethodDef ql_py_images_methods[], ql_py_output_methods[];
extern PyType_Spec ql_py_packed_spec, ql_py_plan_spec;

#endif
