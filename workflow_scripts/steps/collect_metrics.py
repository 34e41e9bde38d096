"""Collect the metrics of every run into one long CSV."""

import pandas as pd

from workflow_scripts.files import read_json, write_text
from workflow_scripts.step import Job, run

COLUMNS = ["experiment", "dataset", "method", "key", "epsilon", "seed", "metric", "value"]


def collect_metrics(job: Job) -> None:
    rows = [
        {**row, "experiment": job.settings["experiment"], "metric": metric, "value": value}
        for row in job.settings["rows"]
        for metric, value in read_json(row["file"]).items()
    ]
    write_text(job.output.metrics, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))


if __name__ == "__main__":
    run(collect_metrics)
