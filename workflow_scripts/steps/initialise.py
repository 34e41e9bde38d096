"""RANDOM: a shard of the initial population, or of what a trained model makes."""

from pathlib import Path

import numpy as np

from workflow_scripts.evolution.blocks import Block, blocks_of, initialise, rows_of
from workflow_scripts.evolution.kept_blocks import KeptBlocks
from workflow_scripts.generators import open_generator
from workflow_scripts.interruption import interruptible
from workflow_scripts.step import Job, run


def initialise_shard(job: Job) -> None:
    settings = job.settings
    counts = settings["samples_per_class"]
    labels = np.repeat(np.arange(len(counts)), counts)
    population = Path(job.output.population)
    generator = open_generator(
        settings["generator"], settings["classes"], job.input.model, population.parent / "answers"
    )
    blocks = blocks_of(len(labels), settings["block_size"], job.wildcards.scatteritem)
    if "stage" in settings:
        job.claim(population.parents[2])
    rows = rows_of(blocks, 1 + settings["fold"])

    def make(block: Block) -> dict[str, np.ndarray]:
        drawn = initialise(
            generator, labels, settings["fold"], settings["degree"], [block], settings["identity"]
        )
        return next(drawn).arrays

    with interruptible() as interruption:
        kept = KeptBlocks(population, job.key, interruption)
        kept.write(blocks, rows.stop - rows.start, make)
    kept.remove()


if __name__ == "__main__":
    run(initialise_shard)
