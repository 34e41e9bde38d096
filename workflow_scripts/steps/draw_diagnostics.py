"""Draw signal and noise of the votes by iteration."""

import pandas as pd

from workflow_scripts.report import figures, table
from workflow_scripts.step import Job, run


def draw_diagnostics(job: Job) -> None:
    diagnostics = pd.read_csv(job.input.diagnostics, dtype=table.TEXT)
    figures.save(figures.diagnostics_by_iteration(diagnostics), job.output.figure)


if __name__ == "__main__":
    run(draw_diagnostics)
