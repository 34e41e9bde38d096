"""Several Snakemakes on the same results: who holds them, and locks of those that were killed.

Snakemake's own lock is a set of files, one for every file that it makes, which outlive a `kill -9`.
A kernel lock does not, so each Snakemake holds one as well and writes its name into it. Two that
make different files may work side by side.
"""

import fcntl
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from workflow_scripts.files import room_for
from workflow_scripts.workflow import is_dry_run

MOUNTS = Path("/proc/mounts")
# File systems whose kernel locks are known to be seen by everybody who sees the files.
ONE_MACHINE = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"}
SHARED = {"nfs", "nfs4", "ceph", "gpfs", "lustre"}
# Mount options with which they are not.
BLIND = {"nolock", "local_lock=flock", "local_lock=all", "localflock", "noflock"}


def clear_stale_lock(workflow, arguments: Sequence[str], folder: str = ".snakemake") -> None:
    """Remove the locks of Snakemakes that were killed, and hold a better one until this one ends.

    Every Snakemake shares a kernel lock for as long as it lives. Who gets it alone knows that no
    other lives, and that lock files that are there are stale; on a file system where other machines
    might not see the lock, only if the last holders were of this machine. Otherwise nothing is
    touched, and Snakemake itself finds out whether two make the same files. Jobs that outlive
    their Snakemake do no harm: every write is whole, and releases are journalled.

    Raises
    ------
    FullDisk
    """
    if workflow.is_main_process and not is_dry_run(arguments) and "--unlock" not in arguments:
        with room_for(folder):
            _clear_and_hold(Path(folder))


def _clear_and_hold(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    alive = folder / "alive.lock"
    logging.getLogger("snakemake.logging").addFilter(NameHolder(alive))
    descriptor = os.open(alive, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:
        return  # a file system without locks: Snakemake's own have to do
    else:
        _clear(folder / "locks", alive, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for one that is clearing, nobody else
    os.write(descriptor, json.dumps(_own_name()).encode() + b"\n")


def _own_name() -> dict:
    since = time.strftime("%d %B %H:%M")
    return {"host": socket.gethostname(), "process": os.getpid(), "since": since}


def _clear(lock_files: Path, alive: Path, descriptor: int) -> None:
    elsewhere = {holder["host"] for holder in _holders(alive)} - {socket.gethostname()}
    is_locked = lock_files.is_dir() and any(lock_files.iterdir())
    if not is_locked or not elsewhere or sees_locks(alive):
        shutil.rmtree(lock_files, ignore_errors=True)
        lock_files.mkdir()
        os.ftruncate(descriptor, 0)


class NameHolder(logging.Filter):
    """Says who holds the lock, where Snakemake says that it cannot have it.

    Parameters
    ----------
    alive : Path
        The file in which the holders have written their names.
    """

    def __init__(self, alive: Path):
        super().__init__()
        self._alive = alive

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "exception", None) == "LockException":
            record.msg, record.args = self._message(), ()
        return True

    def _message(self) -> str:
        folder, own = self._alive.parent.parent.absolute(), _own_name()
        holders = [h for h in _holders(self._alive) if h | {"since": own["since"]} != own]
        if not holders:
            return (
                f"Another Snakemake makes the same files in {folder}, or was killed. If none is at "
                "work there: snakemake --unlock"
            )
        who = " or ".join("process {process} on {host}, since {since}".format(**h) for h in holders)
        return (
            f"Another Snakemake makes the same files in {folder}: {who}. Wait for it, or end it "
            "there. If it is not running any more: snakemake --unlock"
        )


def sees_locks(path: Path) -> bool:
    """Whether a kernel lock on a file is seen by everybody who sees the file.

    False where it is not known: some network file systems keep such locks to each machine.
    """
    mount, kind, options = "", "", set()
    with suppress(OSError), open(MOUNTS, encoding="utf-8") as mounts:
        real = os.path.realpath(path)
        for line in mounts:
            _, point, found, settings, *_ = line.split()
            point = point.replace("\\040", " ")
            inside = point == "/" or real == point or real.startswith(point + "/")
            if inside and len(point) >= len(mount):
                mount, kind, options = point, found, set(settings.split(","))
    return kind in ONE_MACHINE or (kind in SHARED and not options & BLIND)


def _holders(alive: Path) -> list[dict]:
    """Who has shared the lock since one last had it alone: host, process and since when."""
    holders = []
    with suppress(OSError, ValueError):
        for line in alive.read_text(encoding="utf-8").splitlines():
            holder = json.loads(line)
            if {"host", "process", "since"} <= holder.keys():
                holders.append(holder)
    return holders
