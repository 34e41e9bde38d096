"""Collect the diagnostics of every iteration into one CSV."""

import pandas as pd

from workflow_scripts.files import read_json, write_text
from workflow_scripts.step import Job, run


def collect_diagnostics(job: Job) -> None:
    rows = [
        {key: value for key, value in row.items() if key != "file"} | read_json(row["file"])
        for row in job.settings["rows"]
    ]
    write_text(job.output.diagnostics, pd.DataFrame(rows).to_csv(index=False))


if __name__ == "__main__":
    run(collect_diagnostics)
