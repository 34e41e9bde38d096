"""Schedulers' signals in the middle of long steps, through real Snakemake: no result differs."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.workflow.conftest import Outcome, Project
from tests.workflow.test_dpsgd import DPDM, MODEL, TRAINING, prepared, run_of

pytestmark = pytest.mark.slow

# 80 steps, and no checkpoint but those of interruptions.
METHOD = {**DPDM, "start": "pretrained", "epochs": 2, "checkpoint_every": 1000}
# What interrupted jobs leave beside their outputs, and what they must end with.
KEPT = ("**/*.checkpoint", "**/*.blocks", "sensitive/journal/**/step*.safetensors")
RESULTS = (
    "public/generators/**/*.safetensors",
    "runs/**/*.safetensors",
    "runs/**/ledger.json",
    "runs/**/privacy.json",
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Project:
    """Everything up to the trainings; not to be changed."""
    project = prepared(tmp_path_factory.mktemp("begun") / "project", methods=["pdp"])
    training = {**TRAINING, "training_steps": 80}
    project.edit_catalogue("generators", tiny={**MODEL, "training": training})
    project.edit_catalogue("methods", pdp=METHOD)
    project.build("--until", "prepare_sensitive", "render_public", "calibrate")
    return project


@pytest.fixture
def uninterrupted(begun, tmp_path) -> Iterator[Callable[[], Project]]:
    """The same experiment without an interruption, run beside the test; waits for its end."""
    project = begun.copy(tmp_path / "uninterrupted")
    with open(tmp_path / "uninterrupted.log", "w") as log:
        command = project.command("--cores", "1", "--until", "release")
        process = started(project, command, log)

    def finished() -> Project:
        assert process.wait(timeout=1800) == 0, (tmp_path / "uninterrupted.log").read_text()
        return project

    try:
        yield finished
    finally:
        end(process)


def started(project: Project, command: list[str], output) -> subprocess.Popen:
    """A command in a process group of its own."""
    return subprocess.Popen(
        command,
        cwd=project.folder,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen) -> None:
    """Kill a process group, unless it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def step_of(rule: str, project: Project) -> int | None:
    """The process of a rule's step."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            here = os.readlink(process / "cwd") == str(project.folder)
            if here and f".{rule}.py".encode() in (process / "cmdline").read_bytes():
                return int(process.name)
    return None


def notes_signals(process: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    (caught,) = [line for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def processor_time(process: int) -> float:
    """Seconds that a process has computed."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def interrupted(project: Project, rule: str, number: int, *arguments: str) -> Outcome:
    """Snakemake in which all processes get a signal in the middle of a rule's training."""
    command = project.command("--cores", "1", "--until", "release", *arguments)
    process = started(project, command, subprocess.PIPE)
    deadline = time.monotonic() + 900

    def wait_until(happens: Callable[[], object]) -> None:
        while not happens():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)

    try:
        wait_until(lambda: step_of(rule, project))
        wait_until(lambda: notes_signals(step_of(rule, project)))
        step = step_of(rule, project)
        entered = processor_time(step)
        # Some steps further: what goes on is to have something to go on from.
        wait_until(lambda: processor_time(step) > entered + 0.7)
        os.killpg(process.pid, number)
        output, _ = process.communicate(timeout=600)
    finally:
        end(process)
    return Outcome(process.returncode, output)


def log_of(project: Project, rule: str) -> str:
    (log,) = project.find(f"**/logs/{rule}/**/*.log")
    return log.read_text()


def test_interrupted_trainings_go_on_to_the_same_release(begun, uninterrupted, tmp_path):
    project = begun.copy(tmp_path / "project")
    # A Snakemake that runs a job of another one has to outlive the warning.
    nested = ("--mode", "subprocess", "--nolock")
    outcome = interrupted(project, "train_generator", signal.SIGUSR1, *nested)
    assert outcome.status == 1, outcome.text
    assert "train_generator: interrupted by SIGUSR1 after step" in outcome.text
    (done,) = re.findall(
        r"cause: interrupted by SIGUSR1 after step (\d+) of 80", log_of(project, "train_generator")
    )
    assert project.one("public/generators/tiny~*/pipeline.checkpoint").is_file()
    assert not project.find("public/generators/tiny~*/pipeline")

    outcome = interrupted(project, "finetune", signal.SIGTERM)
    assert outcome.status == 1, outcome.text
    # How far a training on private data is, stays in their zone.
    assert "interrupted; see the log, which lies in the sensitive zone" in outcome.text
    assert "after step" not in outcome.text and "Traceback" not in outcome.text
    log = log_of(project, "train_generator")
    assert f"goes on after step {done}\n" in log and "images/s, loss" in log
    (done,) = re.findall(
        r"cause: interrupted by SIGTERM after step (\d+) of 80", log_of(project, "finetune")
    )
    assert project.one("sensitive/journal/**/step*.safetensors")
    assert not project.find("runs/**/finetuned/ledger.json")

    project.build("--until", "release")
    log = log_of(project, "finetune")
    assert f"goes on after step {done}\n" in log and "images/s" in log
    assert project.one(f"{run_of('pdp')}/release.safetensors")
    assert project.contents(*RESULTS) == uninterrupted().contents(*RESULTS)
    assert not [path for pattern in KEPT for path in project.find(pattern)]
