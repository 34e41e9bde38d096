"""Fail if an audit found what is not allowed."""

from workflow_scripts.audits.findings import from_json
from workflow_scripts.audits.table import check_verdicts
from workflow_scripts.files import read_json, write_json
from workflow_scripts.step import Job, run


def check_audits(job: Job) -> None:
    findings = [f for path in job.input.findings for f in from_json(read_json(path))]
    check_verdicts(findings)
    write_json(job.output.verdict, {"checks": len(findings), "failed": 0})


if __name__ == "__main__":
    run(check_audits)
