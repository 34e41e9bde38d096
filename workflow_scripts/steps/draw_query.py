"""Draw the noisy counts of a semantic query and what was chosen by them."""

from workflow_scripts.files import read_arrays, read_json
from workflow_scripts.report import figures
from workflow_scripts.report.query_figure import query_figure
from workflow_scripts.step import Job, run


def draw_query(job: Job) -> None:
    counts = read_arrays(job.input.selection)["counts"]
    figures.save(query_figure(counts, read_json(job.input.summary)), job.output.figure)


if __name__ == "__main__":
    run(draw_query)
