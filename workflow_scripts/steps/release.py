"""Publish a run's population: images and labels, its privacy on one page, and checksums."""

import hashlib
from pathlib import Path

from workflow_scripts.files import read_json, write_rows, write_text
from workflow_scripts.generators.population import StoredPopulation
from workflow_scripts.privacy.statement import page
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
    files = [job.output.release, job.input.privacy]
    checksums = {Path(path).name: _sha256(path) for path in files}
    write_text(job.output.statement, page(statement, job.settings["run"], checksums))
    checksums[Path(job.output.statement).name] = _sha256(job.output.statement)
    lines = [f"{checksum}  {name}\n" for name, checksum in checksums.items()]
    write_text(job.output.checksums, "".join(lines))


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    run(release)
