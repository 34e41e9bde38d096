"""Audit DP-SGD on records made for it."""

from workflow_scripts.audits import dp_sgd
from workflow_scripts.audits.findings import as_json
from workflow_scripts.files import write_json
from workflow_scripts.step import Job, run


def audit(job: Job) -> None:
    write_json(job.output.findings, as_json(dp_sgd.audit(job.settings["noise_source"])))


if __name__ == "__main__":
    run(audit)
