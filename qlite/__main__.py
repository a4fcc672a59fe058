"""`python -m qlite` is `qlite`."""

import sys

from qlite.cli import main

sys.exit(main())
