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

/* An array of exactly this type; C-contiguous, aligned and in native byte order, copied if it was not. */
PyArrayObject *ql_py_exact(PyObject *object, int typenum, const char *name);

/* Codes: int8 or uint8. */
PyArrayObject *ql_py_x8(PyObject *object, const char *name);

static inline bool ql_py_is_signed(PyArrayObject *codes)
{
    return PyArray_TYPE(codes) == NPY_INT8;
}

/* Codes of 8 or 16 bits, signed or not, and the range of their type. */
PyArrayObject *ql_py_codes(PyObject *object, const char *name, int32_t *qmin, int32_t *qmax);

/* Whether an array is a vector of length n: 0, or -1 with an exception. */
int ql_py_vector(PyArrayObject *array, npy_intp n, const char *name);

/* A float32 vector of length n, or NULL without an exception for None (then *absent is set). */
PyArrayObject *ql_py_optional_f32(PyObject *object, npy_intp n, const char *name, bool *absent);

/* A bias of n floats: nothing or a finite vector, a new reference in *bias. Returns 0, or -1 with an exception. */
int ql_py_bias_f32(PyObject *object, npy_intp n, PyArrayObject **bias);

/* Where a result goes: a new array when out is None, else out, which must have this type and shape and be writable. If
 * out is not contiguous, what is returned is a copy that ql_py_finish writes back. *input is replaced by a copy when it
 * shares memory with out; in_place allows it to be the very same elements. */
PyArrayObject *ql_py_result(PyObject *out, int typenum, int ndim, const npy_intp *shape, PyArrayObject **input,
                            bool in_place);

/* Replaces *input by a copy if it shares memory with result. Returns 0, or -1 with an exception. */
int ql_py_separate(PyArrayObject *result, PyArrayObject **input);

/* What becomes of NaN and infinities: an array that nobody has seen yet may be written to before an error. */
static inline ql_nonfinite ql_py_policy(int refuse_nonfinite, PyObject *out)
{
    if (!refuse_nonfinite)
        return QL_NONFINITE_SATURATE;
    return out == Py_None ? QL_NONFINITE_REFUSE_LATE : QL_NONFINITE_REFUSE;
}

/* The object to hand to the caller: the user's out, or the new array. Takes over the reference to result. */
PyObject *ql_py_finish(PyObject *out, PyArrayObject *result);

/* The same if the status is QL_OK; otherwise drops the result and raises what the status means, of argument `name`. */
PyObject *ql_py_give(PyObject *out, PyArrayObject *result, ql_status status, const char *name);

/* Groups of `size` along an axis; size 0: none. */
typedef struct ql_py_groups {
    int size, axis;
} ql_py_groups;

/* How parameters of this shape (scale, zero point, multiplier) lie over data: one element, or the rank of the data and
 * along each axis 1, the data's length or, along the axis that is cut, the number of groups. Returns 0, or -1 with an
 * exception that names `name`. */
int ql_py_layout(PyArrayObject *data, int ndim, const npy_intp *shape, const char *name, ql_py_groups groups,
                 ql_layout *layout);

/* A parameter for each index of one axis; axis -1: one for everything. */
int ql_py_axis_layout(PyArrayObject *data, int axis, ql_layout *layout);

/* A calibrator's state, and its counts of shape (channels, bins). Both are borrowed. */
PyArrayObject *ql_py_state(PyObject *object, const char *name);
PyArrayObject *ql_py_counts(PyObject *object, PyArrayObject *state, const char *name);

/* The fields of qlite._output.Output, for n columns; *typenum is the result's. A new reference to the weight scales,
 * which output points to; NULL with an exception. */
PyArrayObject *ql_py_output(PyObject *fields, npy_intp n, ql_output *output, int *typenum);

/* What QL_EINVAL of such an output speaks of: that a multiplier or, of floats, a scale cannot be represented. */
static inline const char *ql_py_output_name(const ql_output *output)
{
    return output->store == QL_STORE_F32 ? "the scale of x times that of w" : "output";
}

/* The position of name among the options of an argument, or -1 with an exception that lists them. */
int ql_py_option(const char *argument, const char *name, const char *const *options, int count);

/* A call of METH_FASTCALL has this many arguments; 0, or -1 with an exception. */
int ql_py_count(const char *function, Py_ssize_t got, Py_ssize_t expected);

/* NULL, with the exception that a status means; name is the argument it speaks of. */
PyObject *ql_py_raise(ql_status status, const char *name);

typedef struct ql_module_state {
    PyTypeObject *packed_type, *filter_type, *grouped_type;
} ql_module_state;

extern PyMethodDef ql_py_elementwise_methods[], ql_py_histogram_methods[], ql_py_choose_methods[];
extern PyMethodDef ql_py_codebook_methods[], ql_py_bits_methods[], ql_py_error_methods[], ql_py_gemm_methods[];
extern PyMethodDef ql_py_activations_methods[], ql_py_pool_methods[], ql_py_conv_methods[];
extern PyMethodDef ql_py_grouped_methods[], ql_py_peak_methods[];
extern PyType_Spec ql_py_packed_spec, ql_py_filter_spec, ql_py_grouped_spec, ql_py_plan_spec;

#endif
