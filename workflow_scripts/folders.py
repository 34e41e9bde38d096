"""Folders that are either whole or absent, as `workflow_scripts.files` has it for files."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from workflow_scripts.files import PART, held, remove_leftovers, room_for


def write_folder(folder: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder beside `folder`, then move it there in one step.

    An earlier folder of that name is replaced.

    Raises
    ------
    FullDisk
    """
    with room_for(folder):
        _write_folder(Path(folder), write)


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=PART))
    try:
        with held(temporary):
            write(temporary)
            # mkdtemp makes private folders; a result has the permissions of any new one.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o777 & ~umask)
            for file in filter(Path.is_file, temporary.rglob("*")):
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
