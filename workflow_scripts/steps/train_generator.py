"""Train a diffusion model on a public data set and save it as a diffusers pipeline."""

from pathlib import Path

from workflow_scripts.files import open_arrays
from workflow_scripts.generators.diffusion import train_diffusion
from workflow_scripts.step import Job, run


def train_generator(job: Job) -> None:
    data = open_arrays(job.input.images)
    job.claim(Path(job.output.pipeline).parent)
    train_diffusion(
        job.output.pipeline,
        data["images"],
        data["labels"],
        job.settings["classes"],
        job.settings["generator"],
    )


if __name__ == "__main__":
    run(train_generator)
