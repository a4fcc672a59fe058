"""The calibrators of other libraries, each as (batches, bits) to a grid: scale, zero point, lowest and highest code."""

import io
import warnings
from contextlib import redirect_stdout


def from_range(low, high, bits):
    """The grid that onnxruntime gives to activations: unsigned codes, all of them, zero among the values."""
    low, high, qmax = min(float(low), 0.0), max(float(high), 0.0), 2**bits - 1
    scale = (high - low) / qmax
    return scale, round(-low / scale), 0, qmax


def torch_observer(name, is_symmetric=False):
    """HistogramObserver searches for the least error of 256 levels whatever the bits; MinMaxObserver takes all."""
    import torch
    from torch.ao import quantization

    def grid(batches, bits):
        low = -(2 ** (bits - 1)) if is_symmetric else 0
        high = low + 2**bits - 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecation, and of ranges below 8 bits
            observer = getattr(quantization, name)(
                dtype=torch.qint8 if is_symmetric else torch.quint8,
                qscheme=torch.per_tensor_symmetric if is_symmetric else torch.per_tensor_affine,
                quant_min=low,
                quant_max=high,
            )
            for batch in batches:
                observer(torch.from_numpy(batch))
            scale, zero_point = observer.calculate_qparams()
        return scale.item(), zero_point.item(), low, high

    return grid


def onnxruntime_collector(method, bins, percentile=99.999, quantized_bins=None):
    """The collector behind a calibrator of onnxruntime; `quantized_bins` are by default as many as there are codes."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    def grid(batches, bits):
        targets = quantized_bins or 2**bits - 1
        collector = HistogramCollector(method, method == "percentile", bins, targets, percentile, "same")
        with redirect_stdout(io.StringIO()):
            for batch in batches:
                collector.collect({"x": batch})
            low, high = collector.compute_collection_result()["x"][:2]
        return from_range(low, high, bits)

    return grid


def all_of_them():
    """By name, each library's own default before its other settings."""
    return {
        "torch Histogram": torch_observer("HistogramObserver"),
        "  symmetric": torch_observer("HistogramObserver", is_symmetric=True),
        "torch MinMax": torch_observer("MinMaxObserver"),
        "ORT entropy": onnxruntime_collector("entropy", bins=128, quantized_bins=128),
        "  2048 bins": onnxruntime_collector("entropy", bins=2048),
        "ORT percentile": onnxruntime_collector("percentile", bins=2048),
        "  99.9": onnxruntime_collector("percentile", bins=2048, percentile=99.9),
    }


NOTES = (
    "Below 8 bits all of them are used outside their design. torch's HistogramObserver looks for the least error of",
    "256 levels whatever it is told; onnxruntime calibrates 8 bits only: its ranges go on grids of fewer codes here.",
    "Its entropy has 128 bins for 128 levels by default, one candidate; with 2048 bins it gets 2^bits - 1 levels.",
)
