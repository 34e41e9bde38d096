"""Draw accuracy by ε."""

import pandas as pd

from workflow_scripts.report import figures, table
from workflow_scripts.step import Job, run


def draw_accuracy(job: Job) -> None:
    values = pd.read_csv(job.input.table, dtype=table.TEXT)
    metric = f"accuracy_{job.settings['classifier']}"
    figures.save(figures.accuracy_by_epsilon(values, metric), job.output.figure)


if __name__ == "__main__":
    run(draw_accuracy)
