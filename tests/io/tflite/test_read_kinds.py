"""Kinds of files: how weights are stored, older and bare files, several inputs and outputs, parts of networks."""

import litert
import numpy as np
import pytest
from litert_file import Operator, Sparse, Tensor
from litert_file import model as file_of
from samples import same_bytes

import qlite as ql
from qlite.io.tflite.graph import CUSTOM, Graph
from qlite.io.tflite.graph import Operator as Node
from qlite.io.tflite.graph import Tensor as Value
from qlite.io.tflite.write import write

#: Of values around 1: the runtime adds in another order.
TOLERANCE = 1e-5
#: Of the outputs' extreme: the runtime rounds what it multiplies by 8-bit weights to 8 bits, which a float model does
#: not.
DYNAMIC = 0.02
RNG = np.random.default_rng(15)
PIXELS = RNG.normal(size=(1, 6, 5, 3)).astype(np.float32)
KERNEL = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
ROWS = RNG.normal(size=(1, 8)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)
CONV = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 0}


def floats(*shape):
    return Tensor(shape, np.float32)


def load(tmp_path, content, **options):
    path = tmp_path / "one.tflite"
    path.write_bytes(content)
    return ql.from_tflite(path, **options)


def convolution(weight, *before):
    """A file of a convolution of PIXELS by weights that operators before it may make."""
    x, y = floats(*PIXELS.shape), floats(1, 6, 5, 4)
    return file_of([*before, Operator("CONV_2D", [x, weight, Tensor.constant(BIAS)], y, CONV, 1)], [x])


def dense(weight, *before, outputs=4):
    x, y = floats(*ROWS.shape), floats(1, outputs)
    return file_of([*before, Operator("FULLY_CONNECTED", [x, weight], y, {}, 1)], [x])


def close(found, expected, tolerance=TOLERANCE):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


# ---- weights


def test_half_precision(tmp_path):
    stored, whole = Tensor.constant(KERNEL.astype(np.float16)), floats(*KERNEL.shape)
    content = convolution(whole, Operator("DEQUANTIZE", [stored], whole, {}, 3))
    model = load(tmp_path, content)
    assert isinstance(model, ql.Model) and [layer.kind for layer in model.layers] == ["conv2d"]
    close(model(PIXELS), litert.run(content, PIXELS))


def test_half_precision_that_is_sparse(tmp_path):
    weights = np.kron(np.eye(4, 2), np.arange(1, 5)).astype(np.float16)
    half, whole = Tensor(weights.shape, np.float16), floats(*weights.shape)
    before = Operator("DENSIFY", [Sparse.of(weights, 4)], half), Operator("DEQUANTIZE", [half], whole, {}, 3)
    content = dense(whole, *before)
    close(load(tmp_path, content)(ROWS), litert.run(content, ROWS))


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_dynamic_range(kind, tmp_path):
    """The floats are those of the stored codes; what the runtime rounds on the way is not part of the file."""
    make, x, shape = (dense, ROWS, (4, 8)) if kind == "dense" else (convolution, PIXELS, KERNEL.shape)
    codes = RNG.integers(-127, 128, shape, dtype=np.int8)
    scale = RNG.uniform(0.005, 0.01, 4).astype(np.float32)
    real = codes * scale.reshape(-1, *[1] * (codes.ndim - 1))
    content = make(Tensor.constant(codes, scale))
    found = load(tmp_path, content)(x)
    close(found, litert.run(make(Tensor.constant(real)), x))
    close(found, litert.run(content, x), DYNAMIC)


def real(codes, scale, zero_point):
    return (codes.astype(np.float32) - zero_point) * np.float32(scale)


def nibbles(codes):
    """4-bit codes in pairs, the first one low."""
    pairs = codes.reshape(-1, 2).astype(np.uint8) & 15
    return pairs[:, 0] | pairs[:, 1] << 4


def test_weights_of_4_bits(tmp_path):
    codes = RNG.integers(-7, 8, (4, 8), dtype=np.int8)
    scale = RNG.uniform(0.05, 0.1, 4).astype(np.float32)
    content = dense(Tensor(codes.shape, np.int8, nibbles(codes), scale, 0, 0, "INT4"))
    found = load(tmp_path, content)(ROWS)
    close(found, litert.run(dense(Tensor.constant(codes * scale[:, None])), ROWS))
    close(found, litert.run(content, ROWS), DYNAMIC)


# ---- integers


def fully_connected(weight, x_scale=0.05):
    x, y = Tensor((1, 8), np.int8, None, x_scale, 3), Tensor((1, 4), np.int8, None, 0.2, -5)
    bias = Tensor.constant(np.arange(4, dtype=np.int32), np.float32(x_scale) * weight.scale)
    return file_of([Operator("FULLY_CONNECTED", [x, weight, bias], y, {}, 4)], [x])


def test_integers_by_weights_of_4_bits(tmp_path):
    codes = RNG.integers(-7, 8, (4, 8), dtype=np.int8)
    scale = RNG.uniform(0.05, 0.1, 4).astype(np.float32)
    content = fully_connected(Tensor(codes.shape, np.int8, nibbles(codes), scale, 0, 0, "INT4"))
    model = load(tmp_path, content)
    assert isinstance(model, ql.QModel)
    x = RNG.integers(-128, 128, (40, 8), dtype=np.int8)
    expected = np.concatenate([litert.run(content, row[None]) for row in x])
    same_bytes(
        model((x.astype(np.float32) - 3) * np.float32(0.05)), (expected.astype(np.float32) + 5) * np.float32(0.2)
    )


def test_convolutions_by_weights_of_4_bits_are_refused(tmp_path):
    """LiteRT computes these, and only these, by a rule of their own."""
    codes = RNG.integers(-7, 8, KERNEL.shape, dtype=np.int8)
    scale = np.full(4, 0.1, np.float32)
    x, y = Tensor(PIXELS.shape, np.int8, None, 0.05, 3), Tensor((1, 6, 5, 4), np.int8, None, 0.2, -5)
    weight = Tensor(codes.shape, np.int8, nibbles(codes), scale, 0, 0, "INT4")
    bias = Tensor.constant(np.zeros(4, np.int32), np.float32(0.05) * scale)
    content = file_of([Operator("CONV_2D", [x, weight, bias], y, CONV, 4)], [x])
    with pytest.raises(ValueError, match=r"tensor 't1': expected weights of 8 bits .* got INT4"):
        load(tmp_path, content)


def joined(second, *before):
    """A file that joins two inputs, of grids of their own."""
    x = Tensor((1, 4), np.int8, None, 0.05, 3), Tensor((1, 4), np.int8, None, 0.08, -7)
    y = Tensor((1, 8), np.int8, None, 0.05, 3)
    moved = x[1] if second is None else second
    operators = [Operator("QUANTIZE", [x[1]], second, {}, 2)] if second is not None else []
    return file_of([*operators, Operator("CONCATENATION", [x[0], moved], y, {"axis": 1}, 2)], list(x))


def test_what_is_joined_comes_to_one_grid_first(tmp_path):
    content = joined(Tensor((1, 4), np.int8, None, 0.05, 3))
    model, codes = load(tmp_path, content), RNG.integers(-128, 128, (2, 40, 4), dtype=np.int8)
    expected = np.concatenate([litert.run(content, (a[None], b[None])) for a, b in zip(*codes, strict=True)])
    found = model((real(codes[0], 0.05, 3), real(codes[1], 0.08, -7)))
    same_bytes(found, real(expected, 0.05, 3))


def test_joining_of_other_grids_is_refused_as_the_runtime_does(tmp_path):
    content = joined(None)
    with pytest.raises((RuntimeError, ValueError), match=r"(?i)concatenation|prepare"):
        litert.run(content, (np.zeros((1, 4), np.int8),) * 2)
    with pytest.raises(ValueError, match="'y': expected the grid of what it reads"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    "operator, options",
    [("RELU_N1_TO_1", {}), ("GELU", {"approximate": True}), ("SOFTMAX", {"beta": 0.5})],
)
def test_functions_of_codes_that_take_several_layers_are_refused(operator, options, tmp_path):
    x = Tensor((1, 8), np.int8, None, 0.05, 3)
    y = Tensor((1, 8), np.int8, None, 1 / 256, -128)
    with pytest.raises(ValueError, match=r"'y.*': expected an operator on codes that one layer computes"):
        load(tmp_path, file_of([Operator(operator, [x], y, options, 1)]))


# ---- older and bare files


def rewritten(content, change):
    """A file after a function changed its tables."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    change(model)
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_operators_with_their_old_numbers_alone(tmp_path):
    def change(model):
        for code in model.operatorCodes:
            assert code.deprecatedBuiltinCode > 0
            code.builtinCode = 0

    content = rewritten(convolution(Tensor.constant(KERNEL)), change)
    close(load(tmp_path, content)(PIXELS), litert.run(content, PIXELS))


def test_a_file_without_signature_has_the_names_of_its_tensors(tmp_path):
    def change(model):
        model.signatureDefs = None

    content = rewritten(convolution(Tensor.constant(KERNEL)), change)
    model = load(tmp_path, content)
    assert (list(model.inputs), model.names) == (["t0"], ["t3"])
    close(model(PIXELS), litert.run(content, PIXELS))


# ---- ends


def branches():
    """Two inputs, and three results of them: a sum, its clamp, and a product with the second one."""
    a, b, total, clamped, product = (floats(1, 4) for _ in range(5))
    operators = [
        Operator("ADD", [a, b], total, {}, 1),
        Operator("RELU", [total], clamped, {}, 1),
        Operator("MUL", [clamped, b], product, {}, 1),
    ]
    return file_of(operators, [a, b], [product, total])


def test_several_inputs_and_outputs(tmp_path):
    content, x = branches(), tuple(RNG.normal(size=(2, 1, 4)).astype(np.float32))
    model = load(tmp_path, content)
    assert list(model.inputs) == ["x", "x1"]
    for a, b in zip(model(x), litert.run_all(content, x), strict=True):
        close(a, b)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_layers_of_integers_keep_their_names(dtype, tmp_path):
    network = ql.Sequential([ql.Dense(np.eye(4, 8).T, name="first"), ql.Softmax(name="last")])
    written = ql.quantize_model(network, data=RNG.normal(size=(20, 8)), target="tflite")
    written.to_tflite(tmp_path / "one.tflite", dtype=dtype)
    read = ql.from_tflite(tmp_path / "one.tflite")
    assert [b.name for b in read.program.buffers] == [b.name for b in written.program.buffers]
    part = ql.from_tflite(tmp_path / "one.tflite", outputs=["output"])
    assert [b.name for b in part.program.buffers] == [b.name for b in written.program.buffers]


def test_a_layer_of_a_name_that_is_taken_has_its_kind_beside(tmp_path):
    def change(model):
        model.signatureDefs = None
        model.subgraphs[0].tensors[-1].name = "output"

    assert load(tmp_path, rewritten(convolution(Tensor.constant(KERNEL)), change)).names == ["output_conv2d"]


def test_a_part_of_a_network(tmp_path):
    """Tensors are numbered as the operators name them."""
    content, x = branches(), tuple(RNG.normal(size=(2, 1, 4)).astype(np.float32))
    part = load(tmp_path, content, outputs=["t3"])
    assert part.names[-1] == "t3"
    close(part(x), np.maximum(litert.run_all(content, x)[1], 0))
    with pytest.raises(ValueError, match="outputs: expected names of tensors, got 'relu'"):
        load(tmp_path, content, outputs=["relu"])


def test_a_part_in_front_of_an_operator_that_is_unknown(tmp_path):
    x, y, z = floats(1, 4), floats(1, 4), floats(1, 4)
    content = file_of([Operator("RELU", [x], y, {}, 1), Operator("CEIL", [y], z, {}, 1)])
    with pytest.raises(ValueError, match=r"operators\[1\], CEIL, 't2': .* \(outputs=\['t1'\] takes what it reads\)"):
        load(tmp_path, content)
    values = RNG.normal(size=(1, 4)).astype(np.float32)
    close(load(tmp_path, content, outputs=["t1"])(values), np.maximum(values, 0))


def test_several_samples_at_a_time(tmp_path):
    """The model takes any number."""
    x, hidden, y = floats(3, 6, 5, 3), floats(3, 6, 5, 4), floats(3, 120)
    content = file_of(
        [
            Operator("CONV_2D", [x, Tensor.constant(KERNEL), Tensor.constant(BIAS)], hidden, CONV, 1),
            Operator("RESHAPE", [hidden, Tensor.constant(np.array([3, 120], np.int32))], y, {}, 1),
        ]
    )
    samples = RNG.normal(size=(3, 6, 5, 3)).astype(np.float32)
    model = load(tmp_path, content)
    close(model(samples), litert.run(content, samples))
    close(model(samples[:2]), litert.run(content, samples)[:2])


def test_a_shape_that_the_file_computes(tmp_path):
    """As converters write it for any number of samples."""
    x, shape, count, whole, y = floats(1, 6, 4), *(Tensor(s, np.int32) for s in ((3,), (), (2,))), floats(1, 24)
    zero, one, length = (Tensor.constant(np.array(n, np.int32)) for n in ([0], [1], 24))
    sliced = {"beginMask": 0, "endMask": 0, "ellipsisMask": 0, "newAxisMask": 0, "shrinkAxisMask": 1}
    operators = [
        Operator("SHAPE", [x], shape, {"outType": 2}, 1),
        Operator("STRIDED_SLICE", [shape, zero, one, one], count, sliced, 1),
        Operator("PACK", [count, length], whole, {"valuesCount": 2}, 1),
        Operator("RESHAPE", [x, whole], y, {}, 1),
    ]
    content, samples = file_of(operators, [x]), RNG.normal(size=(1, 6, 4)).astype(np.float32)
    np.testing.assert_array_equal(load(tmp_path, content)(samples), litert.run(content, samples))


@pytest.mark.parametrize("padding, size", [("same", (12, 15)), ("valid", (13, 17))])
def test_a_size_that_the_file_computes(padding, size, tmp_path):
    x, shape, whole, y = floats(*PIXELS.shape), Tensor((4,), np.int32), Tensor((4,), np.int32), floats(1, *size, 4)
    weight = Tensor.constant(RNG.normal(size=(4, 3, 5, 3)).astype(np.float32))
    more = Tensor.constant(np.array([0, size[0] - 6, size[1] - 5, 1], np.int32))
    options = {"padding": ("same", "valid").index(padding), "strideH": 2, "strideW": 3}
    operators = [
        Operator("SHAPE", [x], shape, {"outType": 2}, 1),
        Operator("ADD", [shape, more], whole, {}, 1),
        Operator("TRANSPOSE_CONV", [whole, weight, x], y, options, 1),
    ]
    content = file_of(operators, [x])
    close(load(tmp_path, content)(PIXELS), litert.run(content, PIXELS))


def test_rows_of_a_table(tmp_path):
    table, x = RNG.normal(size=(9, 3)).astype(np.float32), np.array([[4, 0, 8, 8]], np.int32)
    indices, y = Tensor(x.shape, np.int32), floats(1, 4, 3)
    content = file_of([Operator("GATHER", [Tensor.constant(table), indices], y, {"axis": 0}, 1)], [indices])
    np.testing.assert_array_equal(load(tmp_path, content)(x), litert.run(content, x))


# ---- layers of several operators


@pytest.mark.parametrize("form", ["beta - mean * f", "beta - mean * f, as a sum", "no beta"])
def test_layer_normalization_as_converters_write_it(form, tmp_path):
    """``x * f + (beta - mean * f)`` with ``f = gamma * rsqrt(variance + epsilon)``."""
    x, mean, squares, variance, radicand, root, negative = (floats(1, 5, n) for n in (6, 1, 6, 1, 1, 1, 1))
    factor, scaled, moved, shift, y = (floats(1, 5, 6) for _ in range(5))
    axis, gamma, beta, small = map(
        Tensor.constant,
        (np.array([2], np.int32), *RNG.normal(size=(2, 6)).astype(np.float32), np.array(0.1, np.float32)),
    )
    shifts = {
        "beta - mean * f": [
            Operator("MUL", [mean, factor], moved, {}, 1),
            Operator("SUB", [beta, moved], shift, {}, 1),
        ],
        "beta - mean * f, as a sum": [
            Operator("NEG", [mean], negative, {}, 1),
            Operator("MUL", [negative, factor], moved, {}, 1),
            Operator("ADD", [moved, beta], shift, {}, 1),
        ],
        "no beta": [Operator("NEG", [mean], negative, {}, 1), Operator("MUL", [negative, factor], shift, {}, 1)],
    }
    operators = [
        Operator("MEAN", [x, axis], mean, {"keepDims": True}, 1),
        Operator("SQUARED_DIFFERENCE", [x, mean], squares, {}, 1),
        Operator("MEAN", [squares, axis], variance, {"keepDims": True}, 1),
        Operator("ADD", [variance, small], radicand, {}, 1),
        Operator("RSQRT", [radicand], root, {}, 1),
        Operator("MUL", [root, gamma], factor, {}, 1),
        Operator("MUL", [x, factor], scaled, {}, 1),
        *shifts[form],
        Operator("ADD", [scaled, shift], y, {}, 1),
    ]
    content, samples = file_of(operators), RNG.normal(size=(1, 5, 6)).astype(np.float32)
    model = load(tmp_path, content)
    assert [layer.kind for layer in model.layers] == ["layer_norm"]
    close(model(samples), litert.run(content, samples))
    operators[4].name = "ABS"
    other = file_of(operators)
    close(load(tmp_path, other)(samples), litert.run(other, samples))


def test_rows_apart_from_their_samples(tmp_path):
    """As converters write a dense layer along the last axis."""
    weight = Tensor.constant(RNG.normal(size=(4, 8)).astype(np.float32))
    x, rows, results, y = floats(1, 3, 8), floats(3, 8), floats(3, 4), floats(1, 3, 4)
    apart, together = (Tensor.constant(np.array(shape, np.int32)) for shape in ([-1, 8], [1, 3, 4]))
    operators = [
        Operator("RESHAPE", [x, apart], rows, {}, 1),
        Operator("FULLY_CONNECTED", [rows, weight], results, {"fusedActivationFunction": 1}, 1),
        Operator("RESHAPE", [results, together], y, {}, 1),
    ]
    content, samples = file_of(operators), RNG.normal(size=(1, 3, 8)).astype(np.float32)
    model = load(tmp_path, content)
    assert [layer.kind for layer in model.layers] == ["dense"]
    close(model(samples), litert.run(content, samples))


def test_softplus_as_converters_write_it(tmp_path):
    x, raised, more, y = (floats(1, 8) for _ in range(4))
    one = Tensor.constant(np.array(1, np.float32))
    operators = [Operator("EXP", [x], raised, {}, 1), Operator("ADD", [raised, one], more, {}, 1)]
    content = file_of([*operators, Operator("LOG", [more], y, {}, 1)])
    close(load(tmp_path, content)(ROWS), litert.run(content, ROWS))
    one.data += 1
    with pytest.raises(ValueError, match="EXP"):
        load(tmp_path, file_of([*operators, Operator("LOG", [more], y, {}, 1)]))


def test_rows_of_a_table_by_indices_that_may_be_negative(tmp_path):
    """Layers take those from 0 on, which stay."""
    table, x = RNG.normal(size=(9, 3)).astype(np.float32), np.array([[4, 0, 8, 8]], np.int32)
    indices, moved, chosen, y = *(Tensor(x.shape, np.int32) for _ in range(3)), floats(1, 4, 3)
    is_negative = Tensor(x.shape, np.bool_)
    zero, length = (Tensor.constant(np.array(n, np.int32)) for n in (0, 9))
    operators = [
        Operator("LESS", [indices, zero], is_negative, {}, 1),
        Operator("ADD", [indices, length], moved, {}, 1),
        Operator("SELECT", [is_negative, moved, indices], chosen, {}, 1),
        Operator("GATHER", [Tensor.constant(table), chosen], y, {"axis": 0}, 1),
    ]
    content = file_of(operators, [indices])
    np.testing.assert_array_equal(load(tmp_path, content)(x), litert.run(content, x))


def test_a_root_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"operators\[0\], RSQRT, 't1'"):
        load(tmp_path, file_of([Operator("RSQRT", [floats(1, 4)], floats(1, 4), {}, 1)]))


# ---- custom operators


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_transposed_convolution_with_a_bias(padding, tmp_path):
    """MediaPipe's own operator gives what TRANSPOSE_CONV with a bias gives, which the runtime has."""
    weight, size = RNG.normal(size=(4, 3, 2, 3)).astype(np.float32), (12, 15) if padding == "same" else (13, 15)
    y, stride = (1, *size, 4), (2, 3)
    padded = ("same", "valid").index(padding)
    shape = Tensor.constant(np.array(y, np.int32))
    options = {"padding": padded, "strideH": stride[0], "strideW": stride[1]}
    x = floats(*PIXELS.shape)
    operands = [shape, Tensor.constant(weight), x, Tensor.constant(BIAS)]
    expected = litert.run(file_of([Operator("TRANSPOSE_CONV", operands, floats(*y), options, 3)], [x]), PIXELS)
    tensors = [
        Value("x", PIXELS.shape),
        Value("w", weight.shape, data=weight),
        Value("b", (4,), data=BIAS),
        Value("y", y),
    ]
    custom = {"custom": np.array([padded + 1, stride[1], stride[0]], "<i4").tobytes()}
    node = Node(f"{CUSTOM}Convolution2DTransposeBias", (0, 1, 2), (3,), custom)
    close(load(tmp_path, write(Graph(tensors, [node], (0,), (3,), ("x",), ("y",))))(PIXELS), expected)
