"""Convolutions of the networks, one by one, next to OpenVINO's and onnxruntime's: where the time goes.

All are of the quantized network at batch 1. qlite's times are those of its plan, the peers' those of their own
profilers, which count whole microseconds; minima of many calls, each contender after the other.
"""

import json
import re
import tempfile
from collections import defaultdict
from io import BytesIO
from math import prod
from pathlib import Path

import numpy as np

import qlite as ql

from ..networks import zoo
from .works_networks import Case

CALLS, CALLS_QUICK = 200, 20
CONVOLUTION = re.compile(r"conv2d(?:_(\d+))?")  # torch.onnx.export numbers them in order


def qlite(case, calls):
    """Microseconds by the name of a layer."""
    plan = ql.quantize_model(case.model, "w8a8", data=case.calibration).plan
    seconds = np.min([plan.timed(case.x)[1] for _ in range(calls)], axis=0)
    buffers = plan.program.buffers
    return {buffers[step.output].layer: t * 1e6 for step, t in zip(plan.program.steps, seconds, strict=True)}


def openvino(case, calls):
    import openvino as ov

    hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
    core = ov.Core()
    request = core.compile_model(core.read_model(BytesIO(case.quantized_onnx)), "CPU", hints).create_infer_request()
    request.set_input_tensor(ov.Tensor(case.channels_first))
    times = defaultdict(list)
    for _ in range(calls):
        request.infer()
        for info in request.profiling_info:
            if info.node_type in ("Convolution", "GroupConvolution"):
                times[info.node_name].append(info.real_time.total_seconds() * 1e6)
    return _by_layer(case, times)


def onnxruntime(case, calls):
    import onnxruntime as ort

    times = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.enable_profiling = 1, True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = ort.InferenceSession(case.quantized_onnx, options, providers=["CPUExecutionProvider"])
        for _ in range(calls):
            session.run(None, {"x": case.channels_first})
        for event in json.loads(Path(session.end_profiling()).read_text()):
            if event["name"].endswith("_kernel_time") and event["args"]["op_name"] == "QLinearConv":
                times[event["name"]].append(event["dur"])
    return _by_layer(case, times)


def _by_layer(case, times):
    convolutions = [node.name for node in case.network.nodes if node.op == "conv"]
    return {convolutions[int(CONVOLUTION.search(name)[1] or 0)]: min(values) for name, values in times.items()}


CONTENDERS = {"qlite": qlite, "OpenVINO": openvino, "onnxruntime": onnxruntime}


class Layers:
    """A bench of one table for each network."""

    threads = 1

    def run(self, quick, only):
        figures = {}
        for network in (make() for make in zoo.NETWORKS):
            if only in network.name:
                case = Case(network, 1)
                times = {name: of(case, CALLS_QUICK if quick else CALLS) for name, of in CONTENDERS.items()}
                figures[network.name] = times
                self._print(network, times)
        if not figures:
            raise SystemExit(f"--only: no network has {only!r}")
        return figures

    def _print(self, network, times):
        columns = "".join(f"{name:>12}" for name in times)
        print(f"\n{network.name:44}{columns}{'best/qlite':>12}{'GOPS':>8}   microseconds")
        shapes = network.shapes
        behind = 0
        for node in network.nodes:
            if node.op != "conv":
                continue
            own, *peers = [of[node.name] for of in times.values()]
            behind += max(own - min(peers), 0)
            size = f"{node.size[0]}x{node.size[1]}{'/2' if node.stride[0] > 1 else ''}"
            what = f"{node.name:9}{size:7}{'depthwise ' if node.groups > 1 else ''}"
            shape = f"{'x'.join(map(str, shapes[node.inputs[0]]))} -> {shapes[node.name][2]}"
            giga = 2 * prod(shapes[node.name][:2]) * node.weight.size / own / 1e3
            cells = "".join(f"{of[node.name]:12.1f}" for of in times.values())
            print(f"{what:26}{shape:18}{cells}{min(peers) / own:12.2f}{giga:8.0f}")
        convolutions = sum(of for name, of in times["qlite"].items() if name.startswith("conv"))
        print(f"qlite: {sum(times['qlite'].values()):,.0f} us in all, {convolutions:,.0f} of convolutions, of which")
        print(f"{behind:,.0f} are those by which it is behind the better peer in some of them")


BENCH = Layers()
