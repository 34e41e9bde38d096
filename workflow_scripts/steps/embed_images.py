"""Embed a shard of stored images: of a sensitive split, inside its zone, or of a public pool."""

from pathlib import Path

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evolution.blocks import blocks_of
from workflow_scripts.files import open_arrays, write_rows
from workflow_scripts.step import Job, run

# Images that are embedded together, whatever the number of shards.
BLOCK = 2000


def embed_images(job: Job) -> None:
    data = open_arrays(job.open(job.input.images))
    encoder = open_encoder(job.settings["encoder"], job.input.get("weights"))
    job.claim(Path(job.output.embeddings).parent)
    blocks = blocks_of(len(data["labels"]), BLOCK, job.wildcards.scatteritem)
    ranges = [b.rows() for b in blocks] or [slice(0, 0)]
    embedded = (
        {"embeddings": encoder(data["images"][rows]), "labels": data["labels"][rows]}
        for rows in ranges
    )
    write_rows(job.output.embeddings, embedded, ranges[-1].stop - ranges[0].start)


if __name__ == "__main__":
    run(embed_images)
