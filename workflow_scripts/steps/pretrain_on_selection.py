"""Train a model on the chosen public images, under the sensitive classes that chose them."""

from pathlib import Path

from workflow_scripts.edm.storage import save_denoiser
from workflow_scripts.edm.training import train_denoiser
from workflow_scripts.files import open_arrays, read_arrays
from workflow_scripts.randomness import seed_of
from workflow_scripts.resuming import Checkpoint
from workflow_scripts.semantic.selection import relabelled_rows
from workflow_scripts.step import Job, run


def pretrain(job: Job) -> None:
    settings = job.settings
    public = open_arrays(job.input.images)
    chosen = read_arrays(job.input.selection)["chosen"]
    rows, labels = relabelled_rows(public["labels"], chosen)
    job.claim(Path(job.output.pipeline).parent)
    checkpoint = Checkpoint.beside(job.output.pipeline, job.key)
    print(f"{len(rows)} of {len(public['labels'])} public images were chosen")
    denoiser = train_denoiser(
        settings["network"],
        public["images"][rows],
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
