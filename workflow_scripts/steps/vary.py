"""VARIATION: a shard of the next population, and its lookahead unless it is the last.

Both are post-processing of released votes. They share a job because starting a foundation model
costs more than running it on a small shard. Where the next iteration has another generator, the
population is handed over to it.
"""

from pathlib import Path

import numpy as np

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evolution.blocks import (
    Block,
    blocks_of,
    hand_over,
    look_ahead,
    rows_of,
    vary,
)
from workflow_scripts.evolution.kept_blocks import KeptBlocks
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.population import StoredPopulation
from workflow_scripts.interruption import interruptible
from workflow_scripts.step import Job, run


def vary_shard(job: Job) -> None:
    settings = job.settings
    answers = Path(job.output.population).parent / "answers"
    generator = open_generator(settings["generator"], settings["classes"], job.input.model, answers)
    blocks = blocks_of(settings["selected"], settings["block_size"], job.wildcards.scatteritem)
    copies = settings["fold"] + settings["keep_selected"]
    rows, identity = rows_of(blocks, copies), settings["identity"]
    parents, follower = StoredPopulation(job.input.parents), settings.get("follower")
    next_generator = generator
    if follower:
        next_generator = open_generator(
            follower["generator"], follower["classes"], job.input.next_model, answers
        )

    def make(block: Block) -> dict[str, np.ndarray]:
        members = vary(
            generator,
            parents,
            settings["degree"],
            settings["fold"],
            settings["keep_selected"],
            [block],
            identity,
        )
        if follower:
            image = settings["follower_image"]
            members = hand_over(members, next_generator, image, [block], identity)
        return next(members).arrays

    def embed(block: Block) -> dict[str, np.ndarray]:
        embeddings = look_ahead(
            next_generator,
            encoder,
            population,
            copies,
            settings["next_degree"],
            settings["lookahead"],
            settings["image"],
            [block],
            identity,
            offset=rows.start,
        )
        return next(embeddings)

    size = rows.stop - rows.start
    with interruptible() as interruption:
        kept = KeptBlocks(job.output.population, job.key, interruption)
        kept.write(blocks, size, make)
        if "lookahead" in settings:
            encoder = open_encoder(settings["encoder"], job.input.get("weights"))
            population = StoredPopulation(job.output.population)
            embedded = KeptBlocks(job.output.lookahead, job.key, interruption)
            embedded.write(blocks, size, embed)
            # Before the population: what was embedded is of no use without it.
            embedded.remove()
    kept.remove()


if __name__ == "__main__":
    run(vary_shard)
