"""Publish a run's population: images and labels, once its privacy statement is there."""

from workflow_scripts.files import read_json, write_rows
from workflow_scripts.generators.population import StoredPopulation
from workflow_scripts.resizing import fit
from workflow_scripts.step import Job, run


def release(job: Job) -> None:
    statement = read_json(job.input.privacy)
    files = job.input.population
    if job.input.choice:
        chosen = read_json(job.input.choice)["iteration"]
        population = StoredPopulation.within(job.settings["candidates"][str(chosen)], files)
    else:
        population = StoredPopulation(*files)
    # A generator may make images of another shape than the sensitive data set has.
    images = (
        {"images": fit(block.images, **job.settings["image"]), "labels": block.labels}
        for block in population.blocks()
    )
    metadata = {name: statement[name] for name in ("epsilon", "delta", "noise_source")}
    write_rows(job.output.release, images, len(population), metadata)


if __name__ == "__main__":
    run(release)
