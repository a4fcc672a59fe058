"""OpenVINO as a contender: a compiled model with one input, in memory that is already there.

It is what its own tools make of a quantized network: FakeQuantize where codes are, which the compiler turns into 8-bit
kernels. Whether it did is read from the compiled graph: a contender that would run in float is refused.
"""

from io import BytesIO

import numpy as np

from .harness import Work

EIGHT_BITS = ("i8", "u8")


def as_codes(values, scale, zero_point, low, high, before=None, after=None):
    """FakeQuantize to a grid. `before`, `after`: the scale and zero point of what comes in and goes out, if others."""
    from openvino import opset13 as op

    def ends(grid):
        scale, zero_point = grid or (own_scale, own_zero_point)
        return [np.float32((end - zero_point) * np.float32(scale)) for end in (low, high)]

    own_scale, own_zero_point = scale, zero_point
    return op.fake_quantize(values, *ends(before), *ends(after), high - low + 1)


def weights(codes, scale=None):
    """int8 codes as a constant, and a float32 scale that broadcasts against it."""
    from openvino import opset13 as op

    scale = np.ones((1,) * codes.ndim, np.float32) if scale is None else scale
    return op.multiply(op.convert(op.constant(codes), "f32"), scale)


def work(parameter, result, x, threads=1, kernel=None, result_of=lambda array: array, **properties):
    """The work of a graph from `parameter` to `result`. `kernel`: the layer type that has to be an 8-bit one."""
    import openvino as ov

    return _work(ov.Model([result], [parameter]), x, threads, kernel, result_of, properties)


def work_of_onnx(content, x, threads=1, kernel=None, result_of=lambda array: array, **properties):
    """The same of the bytes of an ONNX file."""
    import openvino as ov

    return _work(ov.Core().read_model(BytesIO(content)), x, threads, kernel, result_of, properties)


def _work(model, x, threads, kernel, result_of, properties):
    import openvino as ov

    hints = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32", **properties}
    compiled = ov.Core().compile_model(model, "CPU", hints)
    if kernel:
        nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
        precisions = [str(info["runtimePrecision"].astype(str)) for info in nodes if _layer(info) == kernel]
        if not set(precisions) & set(EIGHT_BITS):
            raise RuntimeError(f"its {kernel} runs in {', '.join(precisions) or 'another layer'}, not in 8 bits")
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))
    return Work(request.infer, lambda: result_of(*(output.data for output in request.output_tensors)))


def _layer(info):
    return str(info["layerType"].astype(str))
