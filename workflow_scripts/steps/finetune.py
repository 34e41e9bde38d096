"""MECHANISM. Train a model on the sensitive images with DP-SGD; goes on after an interruption."""

from workflow_scripts.dpsgd.finetuning import finetune
from workflow_scripts.edm.storage import save_denoiser
from workflow_scripts.files import open_arrays, write_json
from workflow_scripts.privacy.budget import read_budget
from workflow_scripts.shards import Shards
from workflow_scripts.step import Job, run


def finetune_model(job: Job) -> None:
    settings = job.settings
    budget = read_budget(job.input.budget, settings)
    train = job.open(job.input.train)
    release, denoiser = finetune(
        open_arrays(train),
        Shards(train).digest(),
        job.input.start,
        budget["noise_multiplier"],
        job.entry,
        settings,
    )
    print("replayed from the journal" if release.replayed else "trained")
    save_denoiser(job.output.pipeline, denoiser, settings["classes"])
    write_json(job.output.ledger, release.ledger("finetune"))


if __name__ == "__main__":
    run(finetune_model)
