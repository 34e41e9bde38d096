"""Train an encoder on a public data set."""

from pathlib import Path

from workflow_scripts.encoders.cnn import train_encoder
from workflow_scripts.files import open_arrays
from workflow_scripts.resuming import Checkpoint
from workflow_scripts.step import Job, run


def train(job: Job) -> None:
    data = open_arrays(job.input.images)
    job.claim(Path(job.output.weights).parent)
    checkpoint = Checkpoint.beside(job.output.weights, job.key)
    accuracy = train_encoder(
        job.output.weights,
        data["images"],
        data["labels"],
        len(job.settings["classes"]),
        job.settings["encoder"],
        checkpoint,
    )
    checkpoint.remove()
    print(f"accuracy on its own training set: {accuracy:.3f}")


if __name__ == "__main__":
    run(train)
