"""Write the comparison table as CSV, Markdown, LaTeX and HTML."""

import pandas as pd

from workflow_scripts.files import read_json, write_text
from workflow_scripts.report import table
from workflow_scripts.step import Job, run


def tabulate(job: Job) -> None:
    metrics, runs = (
        pd.read_csv(path, dtype=table.TEXT) for path in (job.input.metrics, job.input.runs)
    )
    summary = table.summarise(metrics, runs)
    notes = table.footnotes(runs, metrics, read_json(job.input.total))
    write_text(job.output.csv, summary.to_csv(index=False))
    write_text(job.output.md, table.table_markdown(summary, notes))
    write_text(job.output.tex, table.table_latex(summary, notes))
    write_text(job.output.html, table.table_html(summary, notes))


if __name__ == "__main__":
    run(tabulate)
