"""Warm a model up on the central images of the sensitive classes."""

from pathlib import Path

from workflow_scripts.edm.storage import save_denoiser
from workflow_scripts.edm.training import train_denoiser
from workflow_scripts.files import read_arrays
from workflow_scripts.randomness import rng_of, seed_of
from workflow_scripts.resuming import Checkpoint
from workflow_scripts.semantic.central_images import augmented_copies
from workflow_scripts.step import Job, run


def pretrain(job: Job) -> None:
    settings = job.settings
    released = read_arrays(job.input.images)
    rng = rng_of("augmented copies", *settings["seed"])
    images, labels = augmented_copies(
        released["images"], released["labels"], settings["copies"], settings["size"], rng
    )
    job.claim(Path(job.output.pipeline).parent)
    checkpoint = Checkpoint.beside(job.output.pipeline, job.key)
    denoiser = train_denoiser(
        settings["network"],
        images,
        labels,
        settings["classes"],
        settings["training"],
        seed_of("pretraining", *settings["seed"]),
        checkpoint=checkpoint,
    )
    save_denoiser(job.output.pipeline, denoiser, settings["classes"])
    checkpoint.remove()


if __name__ == "__main__":
    run(pretrain)
