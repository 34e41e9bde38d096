"""Where torch computes, and how: a GPU of its own for every job, or one CPU thread.

Snakemake only counts GPUs (`--resources gpu=4`) and does not say which one a job got. So a job
takes the first that no other job of this machine holds: a lock on a file for each, which the kernel
releases when the job ends, however it ends. A scheduler that gives a job one device shows it only
that one, and then there is nothing to choose.
"""

import fcntl
import os
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from workflow_scripts.problems import Problem

# The order of sums depends on the number of threads, and results must not: parallelism comes from
# jobs and shards instead.
CPU_THREADS = 1
# Locks of this user's jobs on this machine, whatever folder they run in; not open to others.
LOCKS = Path.home() / ".cache" / "dp-image-synthesis" / "gpus"
PAUSE = 1.0


@cache
def choose_device() -> torch.device:
    """This job's GPU if there is one, else the CPU with a fixed number of threads.

    The same for the whole process. Waits while every GPU is held by another job.
    """
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        # Not TF32: results across devices agree to a tolerance that is stated.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        count = torch.cuda.device_count()
        names = [_identity(index) for index in range(count)]
        return torch.device("cuda", hold_one(names) if count > 1 else 0)
    torch.set_num_threads(CPU_THREADS)
    return torch.device("cpu")


def numerics() -> tuple[str, str]:
    """What the last bits of a result depend on: the kind of device, and torch's version."""
    return choose_device().type, torch.__version__


def _identity(index: int) -> str:
    """A name for a device that is the same in every process, whichever devices it sees."""
    return str(torch.cuda.get_device_properties(index).uuid)


def hold_one(names: Sequence[str], folder: Path = LOCKS) -> int:
    """Take one of several devices until this process ends; wait while others hold all of them.

    Parameters
    ----------
    names : sequence of str
        Of the devices, the same in every process.
    folder : path
        Of the locks.

    Returns
    -------
    int
        Which of them.

    Raises
    ------
    Problem
        If the folder's file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    waits = False
    while True:
        for index, name in enumerate(names):
            descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            except OSError as error:
                raise Problem(
                    f"{folder}: cannot be locked ({error.strerror}), so that jobs cannot share "
                    f"{len(names)} GPUs. Show Snakemake one of them: CUDA_VISIBLE_DEVICES=0"
                ) from error
            else:
                return index  # the descriptor stays open, and with it the lock
        if not waits:
            waits = True
            print(f"waits: other jobs hold all {len(names)} GPUs", flush=True)
        time.sleep(PAUSE)
