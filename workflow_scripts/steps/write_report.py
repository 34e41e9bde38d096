"""Write the report of an experiment as one self-contained HTML page."""

import pandas as pd

from workflow_scripts.files import read_json, write_text
from workflow_scripts.report import page, table
from workflow_scripts.step import Job, run


def write_report(job: Job) -> None:
    metrics, runs, summary = (
        pd.read_csv(path, dtype=table.TEXT)
        for path in (job.input.metrics, job.input.runs, job.input.table)
    )
    html = page.render(
        job.settings["experiment"],
        table.table_html(summary, []),
        table.footnotes(runs, metrics, read_json(job.input.total)),
        runs,
        [page.figure_of(path, job.settings["classifier"]) for path in job.input.figures],
        page.facts(),
    )
    write_text(job.output.html, html)


if __name__ == "__main__":
    run(write_report)
