"""The small grid on a cluster with accounting (slurmdbd), the wide rules as job arrays.

With the profile of a site, as docs/cluster.md shows one: an account, and GPUs by `gres`.
"""

import pandas as pd
import pytest

from tests.slurm.conftest import grid_project, run_on_slurm, running_slurm, slurm
from tests.workflow.conftest import DETERMINISTIC

SITE = """
default-resources:
  mem_mb: 2000 * attempt
  runtime: 20 * attempt
  slurm_account: "'lab'"
  gres: "'gpu:1'"
"""


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with running_slurm("accounting"):
        yield


def test_job_arrays_and_shards_give_the_releases_and_reports_of_a_local_run(
    built_locally, tmp_path
):
    project = grid_project(tmp_path / "project")
    (project.folder / "site.yaml").write_text(SITE)
    arrays = ("--profile", "slurm/arrays.yaml", "--set-scatter", "shards=2")
    with run_on_slurm(project, *arrays, "--profile", "site.yaml") as run:
        run.finish()
    assert project.contents(*DETERMINISTIC) == built_locally.contents(*DETERMINISTIC)
    table = pd.read_csv(project.results / "reports/small/table.csv")
    assert set(table["method"]) == {"random", "sim-pe", "real"}
    assert project.one("reports/small/report.html").stat().st_size > 10_000
    # Slurm's memory, not Snakemake's: arrays were arrays, and no job was tried twice.
    records = slurm("sacct", "-X", "-n", "-P", "-o", "JobID,State").split()
    assert {record.split("|")[1] for record in records} == {"COMPLETED"}
    assert sum("_2|" in record for record in records) >= 4
    # Evaluations and training have the site's GPU, simulators have none.
    lines = slurm("squeue", "--noheader", "--states=all", "--format=%k|%b|%a").splitlines()
    asked = [line.split("|") for line in lines if line.startswith("rule_")]
    assert {account for _, _, account in asked} == {"lab"}
    # Versions of Slurm write gres:gpu:1 or gres/gpu:1.
    assert {gres[5:] for job, gres, _ in asked if "evaluat" in job} == {"gpu:1"}
    assert {gres for job, gres, _ in asked if "rule_vary" in job} == {"N/A"}


def test_a_run_with_an_account_that_is_not_there_ends_and_says_so(tmp_path):
    project = grid_project(tmp_path / "project")
    (project.folder / "site.yaml").write_text(SITE.replace("lab", "labb"))
    with run_on_slurm(project, "--profile", "site.yaml", "--retries", "0") as run:
        # By itself: it would wait for the group for ever.
        assert run.process.wait(120) == 1
    for rule in ("prepare_sensitive", "calibrate"):  # alone, and in a group
        job = run.text.rpartition(f"\n{rule}  ")[2].splitlines()
        assert job[1].startswith("  cause: not submitted: The given account labb appears to be")
