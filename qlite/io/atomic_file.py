"""Files that are whole at every moment.

A file is written under another name in the same folder and then renamed: its name always belongs to the old file or to
the new one, whole.
"""

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from qlite.io.regular_file import kind

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


def replace_file(path: Path, *parts: bytes | memoryview) -> None:
    """Write these parts to a file, new or in place of an old one or of a symbolic link: all of it or nothing."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise OSError(f"path: expected a file, or a new name, got {kind(path)}: {path}")  # a rename would replace it
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: expected a name in a folder that exists, got {path}")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None and stat.S_ISREG(mode):
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Write a folder to disk, without which a power cut takes a new name; not every file system can do that."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that were killed."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
            path.unlink(missing_ok=True)
