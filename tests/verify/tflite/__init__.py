"""TensorFlow Lite files as they are published: what qlite makes of them, next to other tools and runtimes.

Each file of floats is quantized (w8a8, target "tflite") and written, calibrated on pictures, recorded inputs or made-up
speech, and looked at on other ones (see `inputs`). Its rows tell

- how many bytes of the written file's outputs LiteRT gives otherwise: 0 is promised;
- the median SQNR of each output against the float model, and what that means for the network's task (see `tasks`):
  at least as good as the better of ai-edge-quantizer (least and greatest values) and NNCF, calibrated on the same;
- milliseconds of a sample on one thread, float in and out, the least of many runs in turn: qlite's program retargeted
  to numpy, LiteRT running qlite's file, LiteRT's and OpenVINO's of floats, OpenVINO's of NNCF's model. qlite is to be
  no slower than any.

A file of integers is compared with LiteRT byte by byte. What needs a package that is not there shows "-" and names it.
"""

from .verifier import verify

__all__ = ["verify"]
