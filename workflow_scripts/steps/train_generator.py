"""Train a diffusion model on a public data set and save it as a diffusers pipeline."""

from pathlib import Path

from workflow_scripts.edm.storage import save_denoiser
from workflow_scripts.edm.training import train_denoiser
from workflow_scripts.files import open_arrays
from workflow_scripts.generators.diffusion import train_diffusion
from workflow_scripts.resuming import Checkpoint
from workflow_scripts.step import Job, run


def train_generator(job: Job) -> None:
    data = open_arrays(job.input.images)
    images, labels = data["images"], data["labels"]
    folder, classes = job.output.pipeline, job.settings["classes"]
    settings = job.settings["generator"]
    job.claim(Path(folder).parent)
    checkpoint = Checkpoint.beside(folder, job.key)
    if settings["kind"] == "edm":
        denoiser = train_denoiser(
            settings["network"],
            images,
            labels,
            classes,
            settings["training"],
            settings["seed"],
            checkpoint=checkpoint,
        )
        save_denoiser(folder, denoiser, classes, settings["sampling"])
    else:
        train_diffusion(folder, images, labels, classes, settings, checkpoint)
    checkpoint.remove()


if __name__ == "__main__":
    run(train_generator)
