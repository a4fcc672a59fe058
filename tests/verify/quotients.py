"""Whether quotients made of multiplications are those of a division, or round to the same codes: all 2^32 floats, all
significands of scales.

What quotients.c counts: for each of 12 scales the floats with another quotient or code, then pairs of significands
whose quotient lies near the middle between two floats, and for each significand the floats with another code. A few
minutes on a CPU with fused multiply-add.
"""

import platform
import shlex
import subprocess
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

SCALES, PAIRS = 12, 46_517_418
SIGNIFICANDS, SAMPLE = 1 << 23, 8_414
COMPILER = shlex.split(sysconfig.get_config_var("CC") or "cc")
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno"]
FLAGS += ["-mavx2", "-mfma"] if platform.machine() == "x86_64" else []


def verify(checks):
    """Print and check everything."""
    check(checks, "all")


def check(checks, *arguments):
    """Check the program's lines as they come."""
    with TemporaryDirectory() as folder:
        program = Path(folder, "quotients")
        subprocess.run([*COMPILER, *FLAGS, Path(__file__).with_suffix(".c"), "-lm", "-o", program], check=True)
        with subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True) as process:
            *scales, pairs, significands = [_checked(checks, line) for line in process.stdout]
    checks.line(f"{len(scales)} scales, {pairs} near the middle", len(scales) == SCALES and pairs == f"pairs {PAIRS}")
    expected = f"significands {SIGNIFICANDS if arguments else SAMPLE}"
    checks.line(f"{significands} with codes", significands == expected)


def _checked(checks, line):
    what, others = line.rsplit(maxsplit=1)
    checks.line(f"{what}: {others} others", others == "0")
    return what
