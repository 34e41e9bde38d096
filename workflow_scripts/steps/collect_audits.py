"""Make one table of all audits, whatever they found."""

from workflow_scripts.audits.findings import from_json
from workflow_scripts.audits.table import as_markdown, as_table
from workflow_scripts.files import read_json, write_text
from workflow_scripts.step import Job, run


def collect_audits(job: Job) -> None:
    findings = [f for path in job.input.findings for f in from_json(read_json(path))]
    write_text(job.output.csv, as_table(findings).to_csv(index=False))
    write_text(job.output.md, as_markdown(findings))


if __name__ == "__main__":
    run(collect_audits)
