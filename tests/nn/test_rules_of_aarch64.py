"""Models of the rules that LiteRT has on AArch64: two kinds of steps differ, and the files are the same."""

import hashlib
import platform
import re

import aarch64_cases
import numpy as np
import pytest
import reference
from models import extra
from samples import codes, same_bytes

import qlite as ql
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Multiply, SoftmaxX8

#: Of what LiteRT 2.3.0 for AArch64 gives for all cases: .ci/arm_litert prints it.
LITERT = "54756461c77353ae27c1a90724575e770c3de72d88122236c70b2911fd7273af"


def test_products_and_softmaxes_are_those_of_litert_there(isa):
    digest, differ = hashlib.sha256(), {"MUL": 0, "SOFTMAX": 0}
    for case in aarch64_cases.cases():
        digest.update(case.expected.tobytes())
        differ[case.name.split()[0]] += int((case.expected != case.other).sum())
    assert digest.hexdigest() == LITERT
    assert min(differ.values()) > 0


def softmax(classes, scale, zero_point=0, dtype="int8"):
    lowest = int(np.iinfo(dtype).min)
    buffers = [Buffer("x", "x", (classes,), dtype, scale, zero_point)]
    return Program([*buffers, Buffer("y", "y", (classes,), dtype, 1 / 256, lowest)], [SoftmaxX8((0,), 1, "aarch64")])


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("classes", [1, 3, 16, 255, 256, 1000])
def test_softmax_is_that_of_the_reference(rng, classes, dtype):
    for scale in (2.0**-40, 2.0**-8, 0.04, 0.3, 10.0, 1e30):
        made = softmax(classes, float(np.float32(scale)), dtype=dtype)
        x = codes(rng, (7, classes), np.dtype(dtype))
        x[0], x[1] = x[0, 0], np.iinfo(dtype).min
        x[1, -1] = np.iinfo(dtype).max
        same_bytes(Plan(made).run(x), reference.evaluate(made, x)[1])


def test_softmax_of_many_classes():
    x = np.zeros((1, 32768), np.int8)
    made = softmax(32768, 0.1)
    same_bytes(Plan(made).run(x), reference.evaluate(made, x)[1])
    with pytest.raises(ValueError, match=r"inputs: expected at most 32768 classes for 'aarch64', got 32769"):
        softmax(32769, 0.1)


def gated(rng):
    """A product of two values, a silu, and a softmax at the end."""
    x = ql.Input((12,))
    y = ql.Dense(rng.normal(size=(12, 9)), rng.normal(size=9), "silu")(x)
    gate = ql.Dense(rng.normal(size=(9, 9)), None, "sigmoid")(y)
    y = ql.Multiply()(y, gate)
    return ql.Model(x, ql.Dense(rng.normal(size=(9, 5)), None, "softmax")(y)), rng.normal(size=(300, 12))


def rules(qm):
    return {(s.kind, s.requant) for s in qm.program.steps if isinstance(s, Multiply | SoftmaxX8)}


def test_only_products_and_softmaxes_differ(rng, tmp_path):
    extra("flatbuffers"), extra("tflite")
    m, x = gated(rng)
    there = ql.quantize_model(m, data=x, target="tflite", cpu="aarch64")
    here = there.retarget("tflite")
    assert rules(there) == {("multiply", "aarch64"), ("softmax", "aarch64")}
    assert rules(here) == {("multiply", "float"), ("softmax", "float")}
    assert rules(here.retarget("tflite", cpu="aarch64")) == rules(there)
    assert rules(there.retarget("tflm")) == {("multiply", "fixed"), ("softmax", "fixed")}
    for name, qm in (("here", here), ("there", there)):
        qm.to_tflite(tmp_path / name)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()
    values = reference.evaluate(there.program, x.astype(np.float32))
    same_bytes(there(x), values[there.program.outputs[0]])
    again = ql.from_tflite(tmp_path / "there").retarget("tflite", cpu="aarch64")
    same_bytes(again(x), there(x))


def test_a_model_shows_the_processor_where_it_counts(rng):
    m, x = gated(rng)
    for cpu in ("x86-64", "aarch64"):
        qm = ql.quantize_model(m, data=x, target="tflite", cpu=cpu)
        assert qm.cpu == cpu
        assert repr(qm).startswith(f"QModel(w8a8, target tflite on {cpu}, ")
        assert str(qm.summary()).startswith(f"QModel of w8a8, target tflite on {cpu}\n")
        assert qm.retarget("onnx").cpu is None
    qm = ql.quantize_model(ql.Sequential([ql.Dense(rng.normal(size=(12, 3)))]), data=x, target="tflite", cpu="aarch64")
    assert qm.cpu is None
    assert repr(qm).startswith("QModel(w8a8, target tflite, ")


def test_kept_in_model_files(rng, tmp_path):
    m, x = gated(rng)
    there = ql.quantize_model(m, data=x, target="tflite", cpu="aarch64")
    there.save(tmp_path / "m.qlite")
    again = ql.load(tmp_path / "m.qlite")
    assert rules(again) == rules(there)
    same_bytes(again(x), there(x))


def test_verify_refuses_rules_of_another_machine(rng, tmp_path):
    extra("flatbuffers"), extra("tflite"), extra("ai_edge_litert.interpreter")
    m, x = gated(rng)
    here, there = ("aarch64", "x86-64") if platform.machine() in ("aarch64", "arm64") else ("x86-64", "aarch64")
    qm = ql.quantize_model(m, data=x, target="tflite", cpu=there)
    qm.to_tflite(tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=f"model: expected the rules of this machine, cpu='{here}', got .*'{there}'"):
        qm.verify(tmp_path / "m.tflite", x)
    assert qm.retarget("tflite", cpu=here).verify(tmp_path / "m.tflite", x).mismatches == 0


@pytest.mark.parametrize("target", ["numpy", "onnx", "tflm", "c"])
def test_other_targets_have_no_rules_of_a_processor(rng, target):
    m, x = gated(rng)
    with pytest.raises(ValueError, match=f"cpu: expected None for target '{target}', .*'tflite'.*, got 'aarch64'"):
        ql.quantize_model(m, data=x, target=target, cpu="aarch64")


@pytest.mark.parametrize(
    "cpu, hint",
    [
        ("arm", ""),
        ("arm64", ": did you mean 'aarch64'?"),
        ("AMD64", ": did you mean 'x86-64'?"),
        ("x86_64", ": did you mean 'x86-64'?"),
    ],
)
def test_unknown_processors(cpu, hint, rng):
    m, x = gated(rng)
    with pytest.raises(ValueError, match=rf"^cpu: expected one of 'x86-64', 'aarch64', got '{cpu}'{re.escape(hint)}$"):
        ql.quantize_model(m, data=x, target="tflite", cpu=cpu)
