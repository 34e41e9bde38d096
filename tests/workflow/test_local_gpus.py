"""Local GPUs: Snakemake counts them, and every job gets one of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT

# As much of torch as says which devices there are.
TORCH = """
from types import SimpleNamespace as Names

cuda = Names(
    is_available=lambda: True,
    device_count=lambda: 3,
    get_device_properties=lambda index: Names(uuid=f"stand-in-{index}"),
)
backends = Names(cudnn=Names(), cuda=Names(matmul=Names()))
device = lambda kind, index: (kind, index)
"""

# A job writes when it began on which device and when it let it go, and lets nobody wait for it
# before as many jobs have begun as are expected side by side.
STEP = """
import json, sys, time
from pathlib import Path

began = time.time()
from workflow_scripts.device import choose_device

kind, index = choose_device()
held = time.time()
Path(f"began.{snakemake.wildcards.job}").touch()
deadline = held + 60
while len(list(Path(".").glob("began.*"))) < snakemake.config["together"]:
    assert time.time() < deadline, "no others began"
    time.sleep(0.05)
time.sleep(0.3)
content = {"device": index, "began": began, "held": held, "ended": time.time()}
Path(snakemake.output[0]).write_text(json.dumps(content))
"""

RULES = """
rule all:
    input: expand("job{n}.json", n=range(6))

rule compute:
    output: "{job}.json"
    resources: gpu=1
    script: "step.py"
"""


def run_jobs(folder: Path, *arguments: str, together: int) -> list[dict]:
    """Six jobs that need a GPU each, on a machine with three; what each wrote."""
    (folder / "modules").mkdir()
    (folder / "modules/torch.py").write_text(TORCH)
    (folder / "step.py").write_text(STEP)
    (folder / "Snakefile").write_text(RULES)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "6", *arguments),
            *("--config", f"together={together}"),
        ],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "PYTHONPATH": f"{folder}/modules:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(file.read_text()) for file in sorted(folder.glob("job*.json"))]


def most_at_once(jobs: list[dict], since: str) -> int:
    """How many jobs were between two moments of theirs at the same time."""
    moments = [(job[since], 1) for job in jobs] + [(job["ended"], -1) for job in jobs]
    count = most = 0
    for _, change in sorted(moments):
        count += change
        most = max(most, count)
    return most


def check_alone(jobs: list[dict]) -> None:
    """No device is held by two jobs at once."""
    for device in {job["device"] for job in jobs}:
        assert most_at_once([job for job in jobs if job["device"] == device], "held") == 1


def test_jobs_side_by_side_hold_a_device_each_and_more_jobs_than_devices_wait(tmp_path):
    jobs = run_jobs(tmp_path, together=3)
    assert {job["device"] for job in jobs} == {0, 1, 2}
    check_alone(jobs)
    assert most_at_once(jobs, "held") == 3
    assert most_at_once(jobs, "began") > 3, "Snakemake, not told of GPUs, started more"


@pytest.mark.parametrize("gpus", [1, 2], ids=lambda n: f"gpus{n}")
def test_snakemake_starts_no_more_jobs_than_it_is_given_gpus(tmp_path, gpus):
    jobs = run_jobs(tmp_path, "--resources", f"gpu={gpus}", together=gpus)
    check_alone(jobs)
    assert most_at_once(jobs, "began") == gpus
