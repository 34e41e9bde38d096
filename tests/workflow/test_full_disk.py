"""A full disk: said in one line, nothing half-written, and it goes on once there is room."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.workflow.conftest import DETERMINISTIC, Project

pytestmark = pytest.mark.slow

# Whole runs of Snakemake for every piece of room that is made; the releases need about 1.5 MB.
PIECE = 200 * 1024
SIZE = 16 * 1024 * 1024
BALLAST = ".ballast"


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Give a folder a small disk of its own, filled to the brim."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk of its own cannot be mounted here: {getattr(error, 'stderr', error)}")
    try:
        with (folder / BALLAST).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_room(folder: Path, room: int) -> None:
    """Let this much be free, if the ballast is large enough."""
    missing = room - shutil.disk_usage(folder).free
    if missing > 0:
        size = (folder / BALLAST).stat().st_size
        os.truncate(folder / BALLAST, max(size - missing, 0))


def check_whole(project: Project) -> None:
    """Every file that is there can be read to its end, and no temporary one is left."""
    for path in project.find("**/*.safetensors"):
        with safe_open(path, framework="numpy") as stored:
            for name in stored.keys():  # noqa: SIM118
                stored.get_tensor(name)
    for path in project.find("**/*.json"):
        json.loads(path.read_text())
    assert not project.find("**/*.part") and not project.find("**/.*.part")


def test_a_run_on_a_full_disk_says_so_and_ends_as_any_other_once_there_is_room(project, built_once):
    undisturbed = built_once.contents(*DETERMINISTIC)
    failures = 0
    with full_disk(project.results):
        for _ in range(SIZE // PIECE):
            outcome = project.snakemake("--cores", "1", "--until", "release")
            check_whole(project)
            there = project.contents(*DETERMINISTIC)
            assert there.items() <= undisturbed.items(), "what is there is what belongs there"
            if outcome.status == 0:
                break
            failures += 1
            assert "Traceback" not in outcome.text, outcome.text[-4000:]
            assert "o space left on" in outcome.text, outcome.text[-4000:]
            make_room(project.results, PIECE * failures)
    assert failures >= 3
    assert there == undisturbed


def test_snakemakes_own_folder_on_a_full_disk_is_one_line(project):
    with full_disk(project.folder / ".snakemake"):
        outcome = project.snakemake("--cores", "1", "--until", "release")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert outcome.text.splitlines()[-1].startswith(".snakemake: no space left on its disk")
    assert not project.results.exists()
