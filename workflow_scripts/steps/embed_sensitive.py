"""Embed a split of a sensitive data set; the embeddings stay in the sensitive zone."""

from pathlib import Path

from workflow_scripts.encoders import open_encoder
from workflow_scripts.files import read_arrays, write_arrays
from workflow_scripts.step import Job, run


def embed_sensitive(job: Job) -> None:
    data = read_arrays(job.open(job.input.images))
    encoder = open_encoder(job.settings["encoder"], job.input.get("weights"))
    job.claim(Path(job.output.embeddings).parent)
    write_arrays(
        job.output.embeddings, {"embeddings": encoder(data["images"]), "labels": data["labels"]}
    )


if __name__ == "__main__":
    run(embed_sensitive)
