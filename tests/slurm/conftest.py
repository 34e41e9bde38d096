"""Slurm on this machine, and projects that run on it.

`cluster.sh` starts it and stops it; where it cannot start, the tests are skipped with its reason.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, SMALL, Project, new_project

SCRIPT = Path(__file__).with_name("cluster.sh")
# Polls begin after a second and grow from there; a real cluster is asked less often.
PROFILE = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1")
PATIENCE = 1200

# Two iterations of Sim-PE, both brackets, and all that is made of them.
GRID = {
    **SMALL,
    "overrides": {
        **SMALL["overrides"],
        "sim-pe": {
            **SMALL["overrides"]["sim-pe"],
            "iterations": 2,
            "variation": {
                "font": [0.5, 0],
                "size": [4, 1],
                "rotation": [9, 3],
                "stroke": 1,
                "shift": 1,
            },
        },
    },
}


@contextmanager
def running_slurm(kind: str) -> Iterator[None]:
    """A cluster with (`accounting`) or without (`none`) accounting; skips where there is none."""
    started = subprocess.run(
        ["sh", str(SCRIPT), "start", kind], capture_output=True, text=True, timeout=180
    )
    try:
        if started.returncode:
            pytest.skip(f"no Slurm here: {started.stderr.strip()}")
        yield
    finally:
        subprocess.run(["sh", str(SCRIPT), "stop"], capture_output=True, timeout=180)


@dataclass(frozen=True)
class SlurmJob:
    """A job as Slurm shows it."""

    number: str
    state: str
    limit: str
    comment: str


def slurm(*command: str) -> str:
    """What a command of Slurm prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def jobs_of(project: Project, rule: str) -> list[SlurmJob]:
    """The jobs of a rule that Slurm remembers of a project, the oldest first."""
    lines = slurm("squeue", "--noheader", "--states=all", "--format=%Z|%i|%T|%l|%k").splitlines()
    fields = [line.split("|") for line in lines]
    found = [SlurmJob(*rest) for folder, *rest in fields if folder == str(project.folder)]
    return sorted(
        (job for job in found if job.comment.startswith(f"rule_{rule}")),
        key=lambda job: int(job.number),
    )


class Run:
    """A Snakemake that submits a project's jobs to Slurm, in the background."""

    def __init__(self, project: Project, *arguments: str):
        self.project = project
        self.output = project.folder / f"snakemake-{time.monotonic_ns()}.log"
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(
                project.command(*PROFILE, *arguments),
                cwd=project.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_until(self, condition: Callable[[], object]) -> object:
        """What the condition returns, once it is true; Snakemake has to be at work until then."""
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert self.process.poll() is None, self.text[-4000:]
            assert time.monotonic() < deadline, self.text[-4000:]
            time.sleep(0.1)
        return found

    def finish(self) -> None:
        """Wait for Snakemake; it has to succeed."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running\n{self.text[-4000:]}") from None
        assert status == 0, self.text[-4000:]

    def kill(self) -> None:
        """`kill -9` of Snakemake; its cluster jobs run on."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def run_on_slurm(project: Project, *arguments: str) -> Iterator[Run]:
    """A `Run` that does not outlive the block."""
    run = Run(project, *arguments)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.kill()


def with_slurm_profile(project: Project) -> Project:
    shutil.copytree(ROOT / "slurm", project.folder / "slurm")
    return project


def grid_project(folder: Path) -> Project:
    project = with_slurm_profile(new_project(folder))
    project.write_experiment(GRID)
    return project


@pytest.fixture(scope="session")
def built_locally(tmp_path_factory) -> Project:
    """The releases of the small grid, made without a cluster."""
    project = grid_project(tmp_path_factory.mktemp("local") / "project")
    project.build("--until", "release")
    return project
