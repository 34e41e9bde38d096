"""Every job of a machine gets a device of its own."""

import errno
import fcntl
import subprocess
import sys

import pytest
import torch

from workflow_scripts import device
from workflow_scripts.problems import Problem

HOLD = """
import sys
from pathlib import Path
from workflow_scripts.device import hold_one
print(hold_one(["a", "b", "c"], Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def job(folder) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_jobs_side_by_side_hold_different_devices_and_a_killed_one_frees_its_own(tmp_path):
    jobs = [job(tmp_path) for _ in range(3)]
    held = [int(j.stdout.readline()) for j in jobs]
    assert sorted(held) == [0, 1, 2]
    fourth = job(tmp_path)
    assert fourth.stdout.readline() == "waits: other jobs hold all 3 GPUs\n"
    jobs[1].kill()
    assert int(fourth.stdout.readline()) == held[1]
    for j in (*jobs, fourth):
        j.kill()
        j.communicate()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(Problem, match=rf"{tmp_path}: .*No locks.*CUDA_VISIBLE_DEVICES"):
        device.hold_one(["x", "y"], tmp_path)


def test_locks_are_not_open_to_other_users(tmp_path):
    device.hold_one(["x"], tmp_path / "locks")
    assert (tmp_path / "locks").stat().st_mode & 0o077 == 0
    assert (tmp_path / "locks/x").stat().st_mode & 0o077 == 0


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with a number of GPUs, as far as torch says."""

    def pretend(count: int):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(device, "_identity", lambda index: f"gpu{index}")
        monkeypatch.setattr(device, "hold_one", lambda names: names.index("gpu1"))
        device.choose_device.cache_clear()

    yield pretend
    device.choose_device.cache_clear()


def test_one_visible_gpu_is_taken_without_a_lock(machine):
    machine(1)
    assert device.choose_device() == torch.device("cuda", 0)


def test_of_several_gpus_the_one_that_is_held(machine):
    machine(2)
    assert device.choose_device() == torch.device("cuda", 1)


def test_without_a_gpu_one_cpu_thread_computes(machine):
    machine(0)
    assert device.choose_device() == torch.device("cpu")
    assert torch.get_num_threads() == device.CPU_THREADS
