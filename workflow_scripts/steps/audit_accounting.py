"""Audit the accountant by others."""

from workflow_scripts.audits import accounting
from workflow_scripts.audits.findings import as_json
from workflow_scripts.files import write_json
from workflow_scripts.step import Job, run


def audit(job: Job) -> None:
    write_json(job.output.findings, as_json(accounting.audit()))


if __name__ == "__main__":
    run(audit)
