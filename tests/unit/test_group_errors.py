"""What a cluster says of a group of jobs is said of each of them."""

from types import SimpleNamespace

import pytest
from snakemake.jobs import GroupJob

from workflow_scripts.group_errors import report_group_errors


class Member(SimpleNamespace):
    """A job of a group that keeps what is said of it."""

    def log_error(self, msg=None, indent=False, aux_logs=None, **kwargs):
        self.said.append((msg, kwargs))


@pytest.fixture
def group(monkeypatch):
    monkeypatch.setattr(GroupJob, "rule", None, raising=False)
    monkeypatch.setattr(GroupJob, "log_error", GroupJob.log_error)
    report_group_errors()
    group = GroupJob.__new__(GroupJob)
    group.groupid = "turn"
    group.jobs = [Member(rule=SimpleNamespace(name=name), said=[]) for name in ("vote", "select")]
    return group


def test_a_groups_message_reaches_its_jobs(group):
    group.log_error("SLURM status is: 'TIMEOUT'", aux_logs=["slurm.log"], external_jobid="7")
    for job in group.jobs:
        assert job.said == [("SLURM status is: 'TIMEOUT'", {"external_jobid": "7"})]


def test_a_group_has_the_name_that_the_plugin_puts_into_its_message(group):
    assert group.rule.name == "turn"
