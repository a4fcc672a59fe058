"""Models of one operator for LiteRT, and what its interpreters make of arrays."""

from models import extra

RESOLVERS = {
    "default": "AUTO",
    "reference": "BUILTIN_REF",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
}


def _tensor(schema, name, array, scale, zero_point):
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [float(scale)], [int(zero_point)]
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer, tensor.quantization = name, list(array.shape), 0, quantization
    tensor.type = {"int8": schema.TensorType.INT8, "uint8": schema.TensorType.UINT8}[array.dtype.name]
    return tensor


def model(op, x, y, input=(1.0, 0), output=(1.0, 0), version=1, **options):
    """A model of the operator from codes like x to codes like y on the grids (scale, zero point). The options are those
    of the operator's own table in the schema, of which `options_type` is the name."""
    schema, flatbuffers = extra("ai_edge_litert.schema_py_generated"), extra("flatbuffers")
    code, operator, graph, whole = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = getattr(schema.BuiltinOperator, op)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    if name := options.pop("options_type", None):
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = getattr(schema, f"{name}T")()
        vars(operator.builtinOptions).update(options)
    graph.tensors = [_tensor(schema, b"x", x, *input), _tensor(schema, b"y", y, *output)]
    graph.inputs, graph.outputs, graph.operators, graph.name = [0], [1], [operator], b"main"
    whole.version, whole.operatorCodes, whole.subgraphs, whole.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(content, x, resolver="default"):
    """The output of one of LiteRT's three sets of kernels."""
    litert = extra("ai_edge_litert.interpreter")
    kind = getattr(litert.OpResolverType, RESOLVERS[resolver])
    interpreter = litert.Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
