"""Draw accuracy by iteration and by ε."""

import pandas as pd

from workflow_scripts.report import figures, table
from workflow_scripts.step import Job, run


def draw_accuracy(job: Job) -> None:
    metric = f"accuracy_{job.settings['classifier']}"
    iterations, summary = (
        pd.read_csv(path, dtype=table.TEXT) for path in (job.input.iterations, job.input.table)
    )
    figures.save(figures.by_iteration(iterations, metric), job.output.by_iteration)
    figures.save(figures.accuracy_by_epsilon(summary, metric), job.output.by_epsilon)


if __name__ == "__main__":
    run(draw_accuracy)
