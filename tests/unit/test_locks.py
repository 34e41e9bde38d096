"""Two Snakemakes on the same results: whose lock is stale, and who holds it."""

import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow_scripts import locks

ROOT = Path(__file__).resolve().parents[2]
MAIN = SimpleNamespace(is_main_process=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Snakemake's folder, with the lock file of a Snakemake that was killed."""
    monkeypatch.chdir(tmp_path)
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.output.lock").touch()
    logger = logging.getLogger("snakemake.logging")
    before = list(logger.filters)
    yield Path(".snakemake")
    logger.filters[:] = before


def held_by(folder: Path, host: str) -> None:
    content = {"host": host, "process": 17, "since": "1 May 10:00"}
    (folder / "alive.lock").write_text(json.dumps(content) + "\n")


def holders(folder: Path) -> list[tuple]:
    lines = map(json.loads, (folder / "alive.lock").read_text().splitlines())
    return [(line["host"], line["process"]) for line in lines]


HERE = (socket.gethostname(), os.getpid())
# A Snakemake that takes its place in the lock, says so, and lives until it is told to end.
SNAKEMAKE = """
import sys
from types import SimpleNamespace
from workflow_scripts import locks
locks.clear_stale_lock(SimpleNamespace(is_main_process=True), [])
open(f".snakemake/locks/{sys.argv[1]}.lock", "w")
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def living(name: str) -> Iterator[int]:
    """A Snakemake of another process with a lock file of this name; its process."""
    process = subprocess.Popen(
        [sys.executable, "-c", SNAKEMAKE, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        process.stdout.readline()
        yield process.pid
    finally:
        process.communicate()


def is_locked(folder: Path) -> bool:
    return any((folder / "locks").iterdir())


def test_the_lock_of_a_killed_snakemake_is_removed_and_this_ones_name_written(folder):
    held_by(folder, socket.gethostname())
    locks.clear_stale_lock(MAIN, [])
    assert not is_locked(folder)
    assert holders(folder) == [HERE]


@pytest.mark.parametrize(
    ("sees", "stays"), [(True, False), (False, True)], ids=["seen-by-all", "seen-by-one"]
)
def test_another_machines_lock_is_stale_only_where_its_kernel_lock_would_be_seen(
    folder, monkeypatch, sees, stays
):
    held_by(folder, "another")
    monkeypatch.setattr(locks, "sees_locks", lambda path: sees)
    locks.clear_stale_lock(MAIN, [])
    assert is_locked(folder) is stays
    if stays:
        assert holders(folder) == [("another", 17), HERE]


def test_a_living_snakemake_keeps_its_lock(folder):
    with living("a") as process:
        locks.clear_stale_lock(MAIN, [])
        assert is_locked(folder)
        assert holders(folder) == [(HERE[0], process), HERE]


def test_the_second_of_two_keeps_its_lock_when_the_first_has_ended(folder):
    with ExitStack() as second:
        with living("a"):
            second.enter_context(living("b"))
        locks.clear_stale_lock(MAIN, [])
        assert (folder / "locks/b.lock").exists()


def test_a_file_system_without_locks_leaves_the_matter_to_snakemake(folder, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    locks.clear_stale_lock(MAIN, [])
    assert is_locked(folder)


@pytest.mark.parametrize(
    ("workflow", "arguments"),
    [
        (SimpleNamespace(is_main_process=False), []),
        (MAIN, ["-n"]),
        (MAIN, ["--unlock"]),
    ],
    ids=["job", "dry-run", "unlock"],
)
def test_who_runs_nothing_of_its_own_touches_no_lock(folder, workflow, arguments):
    locks.clear_stale_lock(workflow, arguments)
    assert is_locked(folder) and not (folder / "alive.lock").exists()


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ("server:/x / nfs4 rw,vers=4.2,local_lock=none 0 0", True),
        ("server:/x / nfs rw,vers=3,local_lock=all 0 0", False),
        ("server:/x / lustre rw,flock 0 0", True),
        ("server:/x / lustre rw,localflock 0 0", False),
        ("beegfs / beegfs rw 0 0", False),
        ("/dev/sda / ext4 rw 0 0", True),
    ],
    ids=["nfs4", "nfs-local", "lustre", "lustre-local", "beegfs", "ext4"],
)
def test_kernel_locks_are_trusted_where_every_machine_sees_them(
    tmp_path, monkeypatch, mount, expected
):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"{mount}\nproc /proc proc rw 0 0\n")
    monkeypatch.setattr(locks, "MOUNTS", mounts)
    assert locks.sees_locks(tmp_path) is expected


def test_snakemakes_message_names_the_holder_and_what_to_do(folder):
    locks.clear_stale_lock(MAIN, [])
    held_by(folder, "node7")
    record = logging.LogRecord("", logging.ERROR, "", 0, "Directory cannot be locked", (), None)
    record.exception = "LockException"
    assert all(f.filter(record) for f in logging.getLogger("snakemake.logging").filters)
    message = record.getMessage()
    assert "process 17 on node7, since 1 May 10:00" in message
    assert "snakemake --unlock" in message and str(Path.cwd()) in message
