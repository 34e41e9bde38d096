"""Large grids and long chains: what `snakemake -n` can plan, and with how much memory."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, SMALL, Project
from workflow_scripts.configuration import load_configuration, read_yaml
from workflow_scripts.plan import Plan

# In a small process of its own: the peak of a child is at least the memory of who started it.
MEASURED = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def plan_of(project: Project, configfile: str) -> Plan:
    experiment = read_yaml(project.folder / configfile)
    return Plan(load_configuration(project.folder / "config", experiment, configfile))


def dry_run(project: Project, log: Path, *arguments: str, configfile: str) -> tuple[str, int]:
    """What a dry run printed, and its memory at the peak, in bytes."""
    with open(log, "w") as output:
        command = project.command("-n", *arguments, configfile=configfile)
        command = [sys.executable, "-c", MEASURED, *command]
        done = subprocess.run(
            command, cwd=project.folder, stdout=output, stderr=output, timeout=1800
        )
    text = log.read_text()
    assert done.returncode == 0, text[-4000:]
    return text, 1024 * int(re.search(r"^peak (\d+)$", text, re.MULTILINE)[1])


def jobs_of(text: str) -> int:
    return int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1])


@pytest.mark.slow
def test_ten_thousand_jobs_are_planned_within_a_gigabyte(project, tmp_path):
    configfile = "config/experiments/scale.yaml"
    text, memory = dry_run(project, tmp_path / "log", configfile=configfile)
    assert jobs_of(text) >= 10_000
    assert memory < 1e9
    assert plan_of(project, configfile).longest_chain <= 400


def test_the_grid_of_the_scale_holds_every_published_data_set_that_its_methods_fit():
    """Without the sizes of 8, 64 and 512 pixels, and without those cut down for this machine."""
    catalogue = read_yaml(ROOT / "config/datasets.yaml")["sensitive"]
    fitting = {name for name in catalogue if not re.search("-12k$|-64|^cat|^digits", name)}
    assert set(read_yaml(ROOT / "config/experiments/scale.yaml")["datasets"]) == fitting


def chain_of(dot: str) -> int:
    """Jobs on the longest path of a graph as `snakemake --dag` prints it."""
    edges = [tuple(map(int, edge)) for edge in re.findall(r"(\d+) -> (\d+)", dot)]
    waiting: dict[int, set[int]] = {}
    for before, after in edges:
        waiting.setdefault(after, set()).add(before)
        waiting.setdefault(before, set())
    length: dict[int, int] = {}
    while waiting:
        ready = [job for job, needed in waiting.items() if needed <= length.keys()]
        for job in ready:
            length[job] = 1 + max((length[needed] for needed in waiting.pop(job)), default=0)
    return max(length.values())


def test_the_longest_chain_is_foreseen(project):
    done = subprocess.run(
        project.command("-n", "--dag", "--quiet"),
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    chain = chain_of(done.stdout)
    assert 9 + 5 < chain <= plan_of(project, "experiment.yaml").longest_chain


def test_a_file_at_the_end_of_three_hundred_iterations_can_be_asked_for(project, tmp_path):
    """900 jobs that wait for one another; Python alone would stop Snakemake after some 450."""
    degrees = {"font": 0.5, "size": 1, "rotation": 1, "stroke": 1, "shift": 1}
    method = {"samples": 60, "iterations": 300, "lookahead": 1, "variation": degrees}
    experiment = SMALL | {"methods": ["sim-pe"], "overrides": {"sim-pe": method}}
    name = project.write_experiment(experiment)
    (run,) = plan_of(project, name).runs
    last = f"{run.directory}/final/1-of-1.safetensors"
    text, _ = dry_run(project, tmp_path / "log", last, configfile=name)
    assert "RecursionError" not in text and jobs_of(text) > 900
