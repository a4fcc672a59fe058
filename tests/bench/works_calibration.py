"""What `calibration.py` times: one contender in a process of its own.

`python tests/bench/works_calibration.py NAME` prints, as JSON, the seconds of each part of the work and by how many MiB
the peak of the memory rises. The batches are made before, and what a library loads when it is first used is loaded.
"""

import argparse
import io
import json
import resource
import sys
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from time import perf_counter

import numpy as np

import qlite as ql

BATCHES, SIZE = 100, 1_000_000
REPEATS = 10  # of all batches, for the long stream
METHODS = ("minmax", "percentile", "mse", "entropy")
BINS = 2048


class Clock:
    def __init__(self):
        self.laps, self._begin = {}, perf_counter()

    def lap(self, name):
        """Time since the lap before goes to `name`."""
        now = perf_counter()
        self.laps[name], self._begin = now - self._begin, now


def qlite(batches):
    clock = Clock()
    state = ql.Calibrator()
    for batch in batches:
        state.update(batch)
    clock.lap("state")
    for method in METHODS:
        state.qparams(method)
        clock.lap(method)
    return clock.laps


def qlite_stream(batches):
    clock = Clock()
    state = ql.Calibrator()
    for _ in range(REPEATS):
        for batch in batches:
            state.update(batch)
    clock.lap("state")
    return clock.laps


def numpy_minmax(batches):
    clock = Clock()
    low, high = min(batch.min() for batch in batches), max(batch.max() for batch in batches)
    assert low < high
    clock.lap("range")
    return clock.laps


def numpy_histogram(batches):
    clock = Clock()
    ends = min(batch.min() for batch in batches), max(batch.max() for batch in batches)
    clock.lap("range")
    counts = np.zeros(BINS, np.int64)
    for batch in batches:
        counts += np.histogram(batch, BINS, range=ends)[0]
    clock.lap("histogram")
    return clock.laps


def torch_observer(name):
    def run(batches):
        import torch
        from torch.ao import quantization

        torch.set_num_threads(1)
        warnings.simplefilter("ignore")  # of deprecation
        observer = getattr(quantization, name)()
        clock = Clock()
        for batch in batches:
            observer(torch.from_numpy(batch))
        clock.lap("state")
        observer.calculate_qparams()
        clock.lap("answer")
        return clock.laps

    return run


def onnxruntime_collector(method, bins, quantized_bins):
    def run(batches):
        from onnxruntime.quantization.calibrate import HistogramCollector

        collector = HistogramCollector(method, method == "percentile", bins, quantized_bins, 99.999, "same")
        clock = Clock()
        with redirect_stdout(io.StringIO()):
            for batch in batches:
                collector.collect({"x": batch})
            clock.lap("state")
            collector.compute_collection_result()
        clock.lap("answer")
        return clock.laps

    return run


def onnxruntime_minmax(batches):
    from onnx import TensorProto, helper, save
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.feeds = ({"x": batch} for batch in batches)

        def get_next(self):
            return next(self.feeds, None)

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with tempfile.TemporaryDirectory() as folder:
        path, augmented = (str(Path(folder) / name) for name in ("relu.onnx", "augmented.onnx"))
        save(model, path)
        calibrator = create_calibrator(path, None, augmented, CalibrationMethod.MinMax)
        clock = Clock()
        calibrator.collect_data(Reader())
        clock.lap("state")
        calibrator.compute_data()
        clock.lap("answer")
    return clock.laps


#: By name: what it is, what it imports, and how to run it.
CONTENDERS = {
    "qlite": ("Calibrator, then minmax, percentile, mse and entropy, 8 bits", "qlite", qlite),
    "torch histogram": ("HistogramObserver", "torch", torch_observer("HistogramObserver")),
    "torch min-max": ("MinMaxObserver", "torch", torch_observer("MinMaxObserver")),
    "ORT entropy": ("its collector, default 128 bins", "onnxruntime", onnxruntime_collector("entropy", 128, 128)),
    "ORT entropy 2048": ("its collector, 2048 bins", "onnxruntime", onnxruntime_collector("entropy", 2048, 255)),
    "ORT percentile": ("its collector, default 2048 bins", "onnxruntime", onnxruntime_collector("percentile", 2048, 0)),
    "ORT min-max": ("its calibrator, on a model of one relu: two tensors", "onnxruntime", onnxruntime_minmax),
    "NumPy histogram": ("min and max, then histogram in their range", "numpy", numpy_histogram),
    "NumPy min-max": ("min and max", "numpy", numpy_minmax),
}
STREAM = "qlite, ten times"


def measure(name):
    run = qlite_stream if name == STREAM else CONTENDERS[name][2]
    rng = np.random.default_rng(0)
    run([rng.standard_normal(1000, np.float32)])
    batches = [rng.standard_normal(SIZE, np.float32) for _ in range(BATCHES)]
    before = peak_mebibytes(start=True)
    parts = run(batches)
    return {"parts": parts, "mebibytes": peak_mebibytes() - before}


def peak_mebibytes(start=False):
    """The most memory that this process has held; on Linux since the `start`, where there is a switch for it."""
    status, switch = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    if start:
        switch.write_text("5")
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure one contender, for the bench that starts this.")
    parser.add_argument("name", choices=[*CONTENDERS, STREAM])
    print(json.dumps(measure(parser.parse_args().name)))
