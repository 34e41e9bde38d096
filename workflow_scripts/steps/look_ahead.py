"""The first lookahead: mean embeddings of variations of a shard of the initial population."""

from pathlib import Path

import numpy as np

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evolution.blocks import Block, blocks_of, look_ahead, rows_of
from workflow_scripts.evolution.kept_blocks import KeptBlocks
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.population import StoredPopulation
from workflow_scripts.interruption import interruptible
from workflow_scripts.step import Job, run


def look_ahead_shard(job: Job) -> None:
    settings = job.settings
    folder = Path(job.output.lookahead).parent
    generator = None
    if settings["lookahead"]:
        generator = open_generator(
            settings["generator"], settings["classes"], job.input.model, folder / "answers"
        )
    blocks = blocks_of(settings["size"], settings["block_size"], job.wildcards.scatteritem)
    rows = rows_of(blocks, settings["copies"])
    encoder = open_encoder(settings["encoder"], job.input.get("weights"))
    population = StoredPopulation(*job.input.population)

    def make(block: Block) -> dict[str, np.ndarray]:
        embeddings = look_ahead(
            generator,
            encoder,
            population,
            settings["copies"],
            settings["degree"],
            settings["lookahead"],
            settings["image"],
            [block],
            settings["identity"],
        )
        return next(embeddings)

    job.claim(folder)
    with interruptible() as interruption:
        kept = KeptBlocks(job.output.lookahead, job.key, interruption)
        kept.write(blocks, rows.stop - rows.start, make)
    kept.remove()


if __name__ == "__main__":
    run(look_ahead_shard)
