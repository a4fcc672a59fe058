"""onnxruntime as a contender: a model whose first input and only output are bound to memory that is there."""

from functools import partial

from .harness import Work


def one_node(operator, x, constants, shape, dtype, opset, domain="", threads=1, config=(), **attributes):
    """The work of `operator`(x, *constants). A constant that is None is an optional input left out."""
    names = ["" if constant is None else f"c{i}" for i, constant in enumerate(constants)]
    node = (operator, ["x", *names], ["y"], domain, attributes)
    named = {name: constant for name, constant in zip(names, constants, strict=True) if name}
    return work([node], x, named, shape, dtype, opset, threads, config)


def work(nodes, x, constants, shape, dtype, opset, threads=1, config=(), inputs=None):
    """The work of nodes (operator, inputs, outputs, domain, attributes) from "x" to "y", with constants by name.

    `dtype` names the type of the output, as onnx does. `config`: entries of the session's configuration. `inputs`:
    arrays by name that come at run time as `x` does.
    """
    from onnx import TensorProto, helper, numpy_helper

    element = TensorProto.DataType.Value(dtype)
    inputs = {"x": x, **(inputs or {})}
    initializers = []
    for name, constant in constants.items():
        initializer = constant if isinstance(constant, TensorProto) else numpy_helper.from_array(constant)
        initializer.name = name
        initializers.append(initializer)
    graph = helper.make_graph(
        [
            helper.make_node(operator, inputs, outputs, domain=domain, **attributes)
            for operator, inputs, outputs, domain, attributes in nodes
        ],
        "model",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in inputs.items()
        ],
        [helper.make_tensor_value_info("y", element, shape)],
        initializers,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return work_of_bytes(model.SerializeToString(), inputs, {"y": shape}, threads, config, element)


def work_of_bytes(content, inputs, shapes, threads=1, config=(), element=1, result_of=lambda array: array):
    """The work of a written model from `inputs`, arrays by name, to outputs of `shapes`, by name, all of which
    `result_of` gets; elements of type 1 are float32."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    for key, value in config:
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    outputs = {name: ort.OrtValue.ortvalue_from_shape_and_type(shape, element) for name, shape in shapes.items()}
    for name, output in outputs.items():
        binding.bind_ortvalue_output(name, output)
    call = partial(session.run_with_iobinding, binding)
    return Work(call, lambda: result_of(*(output.numpy() for output in outputs.values())))
