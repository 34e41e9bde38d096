"""Failures of groups of jobs, whose cause Snakemake (9.27) and its Slurm plugin (2.8) lose."""

from types import SimpleNamespace

from snakemake.jobs import GroupJob


def report_group_errors() -> None:
    """Let what a cluster says of a group be said of each of its jobs.

    - Snakemake drops the message of a group (refused by `sbatch`, over its time limit).
    - The plugin names `job.rule` when it cannot submit, which groups do not have. That second
      error ends its thread unseen, and Snakemake waits for the group without end.
    """
    GroupJob.rule = property(lambda group: SimpleNamespace(name=group.groupid))
    GroupJob.log_error = _log_error


def _log_error(group: GroupJob, msg: str | None = None, **details) -> None:
    for job in sorted(group.jobs, key=lambda job: job.rule.name):
        job.log_error(msg, indent=True, **details)
