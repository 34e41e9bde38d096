"""List every run of the experiment: where it lies, what it spent, what it took."""

from workflow_scripts.files import write_text
from workflow_scripts.report.runs import run_table
from workflow_scripts.step import Job, run


def collect_runs(job: Job) -> None:
    write_text(job.output.runs, run_table(job.settings["rows"]).to_csv(index=False))


if __name__ == "__main__":
    run(collect_runs)
