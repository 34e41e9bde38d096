"""Folders that are either whole or absent, as `workflow_scripts.files` has it for files."""

import errno
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from workflow_scripts.files import flush, room_for, temporary, umask


def write_folder(folder: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder beside `folder`, then move it there.

    An earlier folder of that name is moved aside first: between the two there is none.

    Raises
    ------
    FullDisk
    """
    with room_for(folder):
        _write_folder(Path(folder), write)


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    with temporary(folder, tempfile.mkdtemp) as part:
        write(part)
        part.chmod(0o777 & ~umask())
        for file in filter(Path.is_file, part.rglob("*")):
            flush(file)
        while not _moved(part, folder):
            with temporary(folder, tempfile.mkdtemp) as aside, suppress(FileNotFoundError):
                os.replace(folder, aside)
    flush(folder.parent)


def _moved(part: Path, folder: Path) -> bool:
    """Move a folder to its place; False if there is one already."""
    try:
        os.replace(part, folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
