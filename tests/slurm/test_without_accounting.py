"""A cluster without accounting: the small grid, GPUs, time limits, requeueing, kills."""

import json
import re
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.slurm.conftest import (
    Run,
    SlurmJob,
    grid_project,
    jobs_of,
    run_on_slurm,
    running_slurm,
    slurm,
    with_slurm_profile,
)
from tests.workflow.conftest import DETERMINISTIC, Project
from workflow_scripts.files import read_json

# The first attempt sleeps through its limit; the second finds that the first was there.
OVERSLEEP = """
import pathlib
import time

if not pathlib.Path("slept").exists():
    pathlib.Path("slept").touch()
    time.sleep(3600)
"""
RELEASED = ("runs/**/release.safetensors", "runs/**/ledger.json", "runs/**/privacy.json")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with running_slurm("none"):
        yield


@pytest.fixture(scope="module", autouse=True)
def overtime(cluster, tmp_path_factory):
    """A run whose one job exceeds its limit of a minute: begun first, because Slurm takes long."""
    project = grid_project(tmp_path_factory.mktemp("overtime") / "project")
    step = project.folder / "workflow_scripts/steps/prepare_sensitive.py"
    step.write_text(OVERSLEEP + step.read_text())
    # Without the signal before the limit, which so short a job would get as it begins.
    limit = ["prepare_sensitive:runtime=attempt", "prepare_sensitive:slurm_extra=''"]
    with run_on_slurm(project, "--until", "prepare_sensitive", "--set-resources", *limit) as run:
        yield run


@pytest.fixture(scope="module", autouse=True)
def grid(cluster, tmp_path_factory):
    """The small grid with the profile as it is, in the background of the other tests."""
    with run_on_slurm(grid_project(tmp_path_factory.mktemp("grid") / "project")) as run:
        yield run


@pytest.fixture(scope="module")
def ready_to_train(tmp_path_factory) -> Project:
    """Two runs of DP-SGD whose next job is the training."""
    # Here, after the background runs have begun: it imports networks.
    from tests.workflow.test_dpsgd import prepared

    project = prepared(tmp_path_factory.mktemp("ready") / "project", methods=["dpdm"], seeds=[0, 1])
    project.edit_catalogue("methods", dpdm={"epochs": 2})
    project.build("--until", "prepare_sensitive", "calibrate")
    return with_slurm_profile(project)


@pytest.fixture(scope="module")
def uninterrupted(ready_to_train, tmp_path_factory) -> dict[str, bytes]:
    """What two trainings release that nobody disturbs."""
    project = ready_to_train.copy(tmp_path_factory.mktemp("uninterrupted") / "project")
    project.build("--until", "release")
    released = project.contents(*RELEASED)
    assert len(released) == 2 * len(RELEASED)
    return released


def trainings_of(project: Project, seed: int) -> list[SlurmJob]:
    """The Slurm jobs that train a seed, the oldest first."""
    return [job for job in jobs_of(project, "finetune") if job.comment.endswith(f"_{seed}")]


def checkpoint_of(project: Project, seed: int) -> Path | None:
    """The last checkpoint of a seed's training."""
    files = project.find(f"sensitive/journal/**/seed{seed}/finetuned/step*.safetensors")
    return files[-1] if files else None


def devices_of(number: str) -> frozenset[str]:
    """The GPUs that the steps of a Slurm job are shown, by the environment of its processes."""
    shown = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b".snakemake/scripts" not in command:
                continue
            entries = (process / "environ").read_bytes().decode().split("\0")
        except OSError:  # it has ended
            continue
        values = dict(entry.partition("=")[::2] for entry in entries)
        if values.get("SLURM_JOB_ID") == number:
            shown.add(values.get("CUDA_VISIBLE_DEVICES"))
    return frozenset(shown)


def restarts_of(job: SlurmJob) -> int:
    return int(re.search(r"Restarts=(\d+)", slurm("scontrol", "show", "job", job.number))[1])


def log_of(project: Project, seed: int) -> str:
    return project.one(f"sensitive/*/logs/finetune/**/seed{seed}.log").read_text()


def test_trainings_that_slurm_requeues_warns_or_cancels_go_on_on_devices_of_their_own(
    ready_to_train, uninterrupted, tmp_path
):
    project = ready_to_train.copy(tmp_path / "project")
    # Seed 0 is requeued; seed 1 is cancelled, and its next job warned as before a time limit.
    to_come = {0: [("scontrol", "requeue")], 1: [("scancel",), ("scancel", "--signal=USR1")]}
    begun_at, hastened = {}, set()
    shown_together = set()  # the devices of both trainings, whenever both run

    def look() -> bool:
        """Interrupt what has written a checkpoint of its own; whether nothing is left to do."""
        shown = []
        for seed, commands in to_come.items():
            *_, job = trainings_of(project, seed) or [None]
            if job and job.state == "PENDING" and job.number not in hastened and restarts_of(job):
                # Slurm holds a requeued job back for two minutes, longer than its end takes.
                slurm("scontrol", "update", f"JobId={job.number}", "StartTime=now+15")
                hastened.add(job.number)
            if job and job.state == "RUNNING":
                shown.append(devices_of(job.number))
                checkpoint = checkpoint_of(project, seed)
                begun_at.setdefault(job.number, checkpoint)
                if commands and checkpoint not in (None, begun_at[job.number]):
                    slurm(*commands.pop(0), job.number)
        if len(shown) == 2 and all(shown):
            shown_together.add(frozenset(shown))
        return not any(to_come.values())

    with run_on_slurm(project, "--until", "release") as run:
        run.wait_until(look)
        while run.process.poll() is None:
            look()
            time.sleep(0.5)
        run.finish()
    assert shown_together == {frozenset([frozenset("0"), frozenset("1")])}
    (requeued,) = trainings_of(project, 0)
    cancelled, warned = trainings_of(project, 1)
    assert (requeued.state, cancelled.state, warned.state) == (
        "COMPLETED",
        "CANCELLED",
        "COMPLETED",
    )
    assert (restarts_of(requeued), restarts_of(warned)) == (1, 1)
    assert all("goes on after step" in log_of(project, seed) for seed in to_come)
    assert project.contents(*RELEASED) == uninterrupted


def test_a_snakemake_killed_while_its_jobs_run_on_is_started_again_and_releases_the_same(
    ready_to_train, uninterrupted, tmp_path
):
    project = ready_to_train.copy(tmp_path / "project")
    with run_on_slurm(project, "--until", "release") as run:
        run.wait_until(lambda: checkpoint_of(project, 0))
        run.kill()
    left = [job for job in jobs_of(project, "finetune") if job.state == "RUNNING"]
    assert left, "the jobs of the killed Snakemake run on"
    with run_on_slurm(project, "--until", "release") as run:
        run.finish()
    assert project.contents(*RELEASED) == uninterrupted
    # Charged once each, although two jobs trained: the second waited and replayed.
    lines = project.one("accounts/digits/register.jsonl").read_text().splitlines()
    assert len([line for line in lines if json.loads(line).get("release_id")]) == 2
    assert all("replayed" in log_of(project, seed) for seed in (0, 1))


def test_the_grid_releases_what_a_local_run_releases_and_reports_it(grid: Run, built_locally):
    grid.finish()
    project = grid.project
    assert project.contents(*DETERMINISTIC) == built_locally.contents(*DETERMINISTIC)
    table = pd.read_csv(project.results / "reports/small/table.csv")
    assert set(table["method"]) == {"random", "sim-pe", "real"}
    assert project.one("reports/small/report.html").stat().st_size > 10_000
    stated = read_json(project.one("runs/*/sim-pe~*/eps10/seed0/privacy.json"))
    assert 9.9 < stated["epsilon"] <= 10 * (1 + 1e-6)
    ledgers = [read_json(path) for path in project.find("runs/*/sim-pe~*/**/ledger.json")]
    assert [ledger["release_id"] for ledger in ledgers] == [
        release["release_id"] for release in stated["releases"]
    ]
    # Jobs of seconds share one: eleven of the report, the votes of an iteration and its selection.
    assert len(jobs_of(project, "report_")) == 1
    assert len(jobs_of(project, "turn_")) == 2


def test_a_job_over_its_time_limit_is_retried_with_more(overtime: Run):
    overtime.finish()
    first, second = jobs_of(overtime.project, "prepare_sensitive")
    assert (first.state, first.limit) == ("TIMEOUT", "1:00")
    assert (second.state, second.limit) == ("COMPLETED", "2:00")
    assert overtime.project.find("sensitive/digits~*/train.safetensors")
