"""Embed a shard of stored images: of a sensitive split, inside its zone, or of a public pool."""

from pathlib import Path

import numpy as np

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evolution.blocks import Block, blocks_of, rows_of
from workflow_scripts.evolution.kept_blocks import KeptBlocks
from workflow_scripts.files import open_arrays
from workflow_scripts.interruption import interruptible
from workflow_scripts.step import Job, run

# Images that are embedded together, whatever the number of shards.
BLOCK = 2000


def embed_images(job: Job) -> None:
    data = open_arrays(job.open(job.input.images))
    encoder = open_encoder(job.settings["encoder"], job.input.get("weights"))
    job.claim(Path(job.output.embeddings).parent)
    blocks = blocks_of(len(data["labels"]), BLOCK, job.wildcards.scatteritem)
    rows = rows_of(blocks)

    def make(block: Block) -> dict[str, np.ndarray]:
        images, labels = (data[name][block.rows()] for name in ("images", "labels"))
        return {"embeddings": encoder(images), "labels": labels}

    with interruptible() as interruption:
        kept = KeptBlocks(job.output.embeddings, job.key, interruption)
        kept.write(blocks, rows.stop - rows.start, make)
    kept.remove()


if __name__ == "__main__":
    run(embed_images)
