"""onnxruntime as a contender: a model of one node, its first input and its output bound to memory that is there."""

from functools import partial

from .harness import Work


def one_node(operator, x, constants, shape, dtype, opset, domain="", threads=1, config=(), **attributes):
    """The work of `operator`(x, *constants): `dtype` names the type of the output, as onnx does.

    A constant that is None is an optional input left out. `config`: entries of the session's configuration.
    """
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    element = TensorProto.DataType.Value(dtype)
    names = ["x", *("" if constant is None else f"c{i}" for i, constant in enumerate(constants))]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], domain=domain, **attributes)],
        "one_node",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_tensor_value_info("y", element, shape)],
        [
            constant if isinstance(constant, TensorProto) else numpy_helper.from_array(constant)
            for constant in constants
            if constant is not None
        ],
    )
    for initializer, name in zip(graph.initializer, filter(None, names[1:]), strict=True):
        initializer.name = name
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    for key, value in config:
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    out = ort.OrtValue.ortvalue_from_shape_and_type(shape, element)
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("y", out)
    return Work(partial(session.run_with_iobinding, binding), out.numpy)
