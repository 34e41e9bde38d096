"""EVALUATION. Train a classifier on a release (or on the real data), test it on real test data."""

from workflow_scripts.evaluation.utility import accuracy
from workflow_scripts.files import read_arrays, write_json
from workflow_scripts.step import Job, run


def evaluate_utility(job: Job) -> None:
    settings = job.settings
    train, test = (read_arrays(job.open(path)) for path in (job.input.train, job.input.test))
    value = accuracy(
        train, test, settings["classifier"], classes=settings["classes"], seed=settings["seed"]
    )
    write_json(job.output.metrics, {f"accuracy_{settings['name']}": value})


if __name__ == "__main__":
    run(evaluate_utility)
