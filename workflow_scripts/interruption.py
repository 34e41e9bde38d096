"""Interruptions: a scheduler asks a job to end, and a long step first keeps what it has done.

Schedulers send SIGTERM some seconds before they kill, and SIGUSR1 earlier where they are asked to.
Within `interruptible` the first such signal is only noted: the step asks at safe points, keeps its
state and raises `Interrupted`. A second signal has its usual effect at once, as has every signal
elsewhere: what a step writes is whole or absent. Who was warned by SIGUSR1 asks Slurm to be started
again.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from workflow_scripts.problems import Problem

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
# "Temporary failure": the exit status of an interrupted step.
EXIT_STATUS = os.EX_TEMPFAIL
# How often Slurm is asked to start a job again: below its own limit (MaxBatchRequeue, 5), beyond
# which it may hold the job. After that the job fails, and Snakemake tries it with more time.
RESTARTS = 4


class Interrupted(Problem):
    """A step that kept its state and ends before its work is done.

    Attributes
    ----------
    signal : str
        Which one asked for it.
    """

    def __init__(self, signal: str, done: str):
        super().__init__(
            f"interrupted by {signal} after {done}; the job goes on from there when it is started "
            "again"
        )
        self.signal = signal


@dataclass
class Interruption:
    """Whether a step has been asked to end.

    Attributes
    ----------
    requested : str or None
        The name of the signal that asked.
    """

    requested: str | None = None

    def after(self, done: str) -> Interrupted:
        """The error of a step that has kept what it has done: `step 120 of 500`, and how."""
        return Interrupted(self.requested, done)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Note the first signal of a scheduler instead of dying of it.

    Python allows handlers in the main thread alone; in others nothing is noted.
    """
    interruption, usual = Interruption(), {}

    def restore() -> None:
        while usual:
            signal.signal(*usual.popitem())

    def note(number: int, frame) -> None:
        interruption.requested = signal.Signals(number).name
        restore()

    if threading.current_thread() is threading.main_thread():
        usual.update({number: signal.signal(number, note) for number in SIGNALS})
    try:
        yield interruption
    finally:
        restore()


def requeue(interrupted: Interrupted) -> None:
    """Have Slurm start this job again, if it is one of Slurm's and its time limit is near.

    Of that warns SIGUSR1 (`sbatch --signal=USR1@…`). SIGTERM does not tell: it also comes from who
    cancels the job and means it.
    """
    number = os.environ.get("SLURM_JOB_ID")
    started = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if interrupted.signal != "SIGUSR1" or number is None or started >= RESTARTS:
        return
    command = ["scontrol", "requeue", number]
    try:
        subprocess.run(  # noqa: S603 — of the site
            command, check=True, capture_output=True, text=True, timeout=30
        )
        print(f"Slurm starts job {number} again", flush=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        print(f"{' '.join(command)}: {said}".strip(), flush=True)
