"""Publish a run's last population: images and labels, once its privacy statement is there."""

from workflow_scripts.files import read_json, write_arrays
from workflow_scripts.generators.population import load_population
from workflow_scripts.step import Job, run


def release(job: Job) -> None:
    statement = read_json(job.input.privacy)
    population = load_population(*job.input.population)
    metadata = {name: statement[name] for name in ("epsilon", "delta", "noise_source")}
    arrays = {"images": population.images, "labels": population.labels}
    write_arrays(job.output.release, arrays, metadata)


if __name__ == "__main__":
    run(release)
