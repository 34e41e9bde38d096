"""A scheduler's signals, sent to real processes: noted where a step can keep its state."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from workflow_scripts.interruption import EXIT_STATUS, SIGNALS, Interrupted, interruptible

ROOT = Path(__file__).parents[2]
NAMES = [number.name for number in SIGNALS]

# A step as Snakemake runs it, with what a test makes of it.
STEP = """
import sys, time
from types import SimpleNamespace
from workflow_scripts.interruption import interruptible
from workflow_scripts.step import run

snakemake = SimpleNamespace(
    rule="train", input=[], output=[], wildcards=None, params={{}}, log=[sys.argv[1]]
)

def step(job):
    {body}

run(step)
"""
ASKS = """
    with interruptible() as interruption:
        print("ready", flush=True)
        while not interruption.requested:
            time.sleep(0.01)
        raise interruption.after("step 3 of 9: kept")
"""
NEVER_ASKS = """
    with interruptible():
        print("ready", flush=True)
        time.sleep(60)
        time.sleep(60)
"""
LATER = """
    with interruptible():
        pass
    print("ready", flush=True)
    time.sleep(60)
"""


def started(body: str, folder: Path, log: str = "log", **environment: str) -> subprocess.Popen:
    """A process that runs a step, once its log says that it is ready."""
    path = folder / log
    path.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", STEP.format(body=body.strip()), log],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not path.exists() or "ready" not in path.read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_step_says_so_in_one_line_and_by_its_exit_status(name, tmp_path):
    process = started(ASKS, tmp_path)
    process.send_signal(signal.Signals[name])
    terminal, _ = process.communicate(timeout=60)
    said = f"interrupted by {name} after step 3 of 9: kept; the job goes on from there when it is"
    assert process.returncode == EXIT_STATUS == 75
    assert terminal.startswith(f"train: {said}") and "Traceback" not in terminal
    assert (tmp_path / "log").read_text().startswith(f"ready\ncause: {said}")


def test_the_steps_of_private_data_are_counted_in_their_zone_alone(tmp_path):
    log = "results/sensitive/digits/logs/train.log"
    process = started(ASKS, tmp_path, log)
    process.terminate()
    terminal, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_STATUS
    assert "interrupted by SIGTERM; see the log" in terminal and "step 3" not in terminal
    assert "after step 3 of 9" in (tmp_path / log).read_text()


SCONTROL = """#!/bin/sh
echo "$@" >> asked
[ "$2" = 7 ] || { echo "Requested operation is presently disabled" >&2; exit 1; }
"""


@pytest.mark.parametrize(
    ("name", "job", "asks", "says"),
    [
        ("SIGUSR1", {"SLURM_JOB_ID": "7"}, True, "Slurm starts job 7 again"),
        ("SIGUSR1", {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "3"}, True, "job 7 again"),
        ("SIGUSR1", {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "4"}, False, ""),
        ("SIGUSR1", {"SLURM_JOB_ID": "8"}, True, "requeue 8: Requested operation is presently"),
        ("SIGUSR1", {}, False, ""),
        ("SIGTERM", {"SLURM_JOB_ID": "7"}, False, ""),
    ],
    ids=["warned", "restarted", "too-often", "refused", "no-slurm", "cancelled"],
)
def test_a_job_that_slurm_warned_of_its_time_limit_asks_to_be_started_again(
    tmp_path, name, job, asks, says
):
    (tmp_path / "scontrol").write_text(SCONTROL)
    (tmp_path / "scontrol").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    process = started(ASKS, tmp_path, PATH=path, **job)
    process.send_signal(signal.Signals[name])
    assert process.wait(timeout=60) == EXIT_STATUS
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == (
        f"requeue {job['SLURM_JOB_ID']}\n" if asks else ""
    )
    log = (tmp_path / "log").read_text()
    assert says in log and "cause: interrupted" in log.splitlines()[-1]


@pytest.mark.parametrize("name", NAMES)
def test_a_second_signal_ends_a_step_that_has_not_asked_yet(name, tmp_path):
    process = started(NEVER_ASKS, tmp_path)
    process.send_signal(signal.Signals[name])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.terminate()
    assert process.wait(timeout=10) == -signal.SIGTERM


@pytest.mark.parametrize("name", NAMES)
def test_elsewhere_a_step_dies_of_a_signal_at_once(name, tmp_path):
    process = started(LATER, tmp_path)
    process.send_signal(signal.Signals[name])
    assert process.wait(timeout=10) == -signal.Signals[name]


def test_what_handled_signals_before_handles_them_afterwards():
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Interrupted), interruptible() as interruption:
        os.kill(os.getpid(), signal.SIGUSR1)
        raise interruption.after("step 1 of 2")
    assert interruption.requested == "SIGUSR1"
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_outside_the_main_thread_nothing_is_noted_and_nothing_fails():
    found = []

    def enter() -> None:
        with interruptible() as interruption:
            found.append(interruption.requested)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [None]


@pytest.mark.parametrize("main", [True, False], ids=["main", "nested"])
def test_a_snakemake_of_a_job_alone_outlives_sigusr1(main):
    script = (
        "import os, signal\nfrom types import SimpleNamespace\n"
        "from workflow_scripts.workflow import outlive_warnings\n"
        f"outlive_warnings(SimpleNamespace(is_main_process={main}))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60)
    assert done.returncode == (-signal.SIGUSR1 if main else 0)
