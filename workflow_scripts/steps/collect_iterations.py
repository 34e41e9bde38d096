"""Collect accuracy by iteration into one long CSV."""

import pandas as pd

from workflow_scripts.files import read_json, write_text
from workflow_scripts.step import Job, run

COLUMNS = ["dataset", "method", "key", "epsilon", "seed", "iteration", "metric", "value"]


def collect_iterations(job: Job) -> None:
    rows = [
        {**row, "iteration": t, "metric": metric, "value": value}
        for row in job.settings["rows"]
        for metric, values in read_json(row["file"]).items()
        for t, value in values.items()
    ]
    write_text(job.output.iterations, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))


if __name__ == "__main__":
    run(collect_iterations)
