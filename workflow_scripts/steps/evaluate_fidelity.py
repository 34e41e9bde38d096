"""EVALUATION. Distances between a release (or the real data) and real test data."""

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evaluation.fidelity import fidelity
from workflow_scripts.files import open_arrays, write_json
from workflow_scripts.step import Job, run


def evaluate_fidelity(job: Job) -> None:
    settings = job.settings
    encoder = open_encoder(settings["encoder"], job.input.get("weights"))
    generated, reference = (
        encoder(open_arrays(job.open(path))["images"]) for path in (job.input.train, job.input.test)
    )
    metrics = fidelity(generated, reference, settings["neighbours"])
    write_json(
        job.output.metrics,
        {f"{metric}_{settings['name']}": value for metric, value in metrics.items()},
    )


if __name__ == "__main__":
    run(evaluate_fidelity)
