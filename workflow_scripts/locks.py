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

ATTEMPTS, PAUSE = 40, 0.25
MOUNTS = Path("/proc/mounts")
# File systems whose kernel locks are known to be seen by everybody who sees the files.
ONE_MACHINE = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"}
SHARED = {"nfs", "nfs4", "ceph", "gpfs", "lustre"}
# Mount options with which they are not.
BLIND = {"nolock", "local_lock=flock", "local_lock=all", "localflock", "noflock"}


def clear_stale_lock(workflow, arguments: Sequence[str], folder: str = ".snakemake") -> None:
    """Remove the lock of a Snakemake that was killed, and hold a better one until this one ends.

    Whoever gets the kernel lock knows that no living Snakemake holds it, and lock files that are
    there are stale; on a file system where other machines might not see the lock, only if the last
    holder was of this machine. If another process holds it, nothing is touched, and Snakemake
    itself finds out whether the two make the same files. Jobs that outlive their Snakemake do no
    harm: every write is whole, and releases are journalled.

    Raises
    ------
    FullDisk
    """
    if workflow.is_main_process and not is_dry_run(arguments) and "--unlock" not in arguments:
        with room_for(folder):
            _clear_and_hold(Path(folder))


def _clear_and_hold(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    lock_files, alive = folder / "locks", folder / "alive.lock"
    logging.getLogger("snakemake.logging").addFilter(NameHolder(alive))
    descriptor = os.open(alive, os.O_RDWR | os.O_CREAT, 0o666)
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _is_locked(lock_files):
                return
            # Held, but without lock files: a process that is about to end, or about to begin.
            time.sleep(PAUSE)
            continue
        except OSError:
            return  # a file system without locks: Snakemake's own have to do
        here, last = socket.gethostname(), _holder(alive)
        if _is_locked(lock_files) and last.get("host", here) != here and not sees_locks(alive):
            return
        shutil.rmtree(lock_files, ignore_errors=True)
        lock_files.mkdir()
        holder = {"host": here, "process": os.getpid(), "since": time.strftime("%d %B %H:%M")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        return


class NameHolder(logging.Filter):
    """Says who holds the lock, where Snakemake says that it cannot have it.

    Parameters
    ----------
    alive : Path
        The file in which the holder has written its name.
    """

    def __init__(self, alive: Path):
        super().__init__()
        self._alive = alive

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "exception", None) == "LockException":
            record.msg, record.args = self._message(), ()
        return True

    def _message(self) -> str:
        holder, folder = _holder(self._alive), self._alive.parent.parent.absolute()
        if not holder:
            return (
                f"Another Snakemake makes the same files in {folder}, or was killed. If none is at "
                "work there: snakemake --unlock"
            )
        who = "process {process} on {host}, since {since}".format(**holder)
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


def _is_locked(lock_files: Path) -> bool:
    return lock_files.is_dir() and any(lock_files.iterdir())


def _holder(alive: Path) -> dict:
    """Host, process and since when; empty if it is not known."""
    with suppress(OSError, ValueError):
        holder = json.loads(alive.read_text(encoding="utf-8"))
        if {"host", "process", "since"} <= holder.keys():
            return holder
    return {}
