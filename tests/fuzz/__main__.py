"""python -m tests.fuzz [READER]... [--seconds N] [--seed N]

Each reader runs in a process of its own, under a limit of memory. What gives way is kept in a folder that is named. The
exit status is 1 then.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile

from . import readers


def main():
    parser = argparse.ArgumentParser("python -m tests.fuzz", description="Files that were tampered with.")
    parser.add_argument("reader", nargs="*", choices=[[], *readers.READERS], help="all by default")
    parser.add_argument("--seconds", type=float, default=60, help="for each reader (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    options = parser.parse_args()
    statuses = []
    for name in options.reader or readers.READERS:
        folder = tempfile.mkdtemp(prefix=f"fuzz_{name}_")
        command = [sys.executable, readers.__file__, name, folder, str(options.seconds), str(options.seed)]
        statuses.append(subprocess.run(command).returncode)
        if statuses[-1] == 0:
            shutil.rmtree(folder)
    raise SystemExit(any(statuses))


main()
