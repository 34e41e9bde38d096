"""RANDOM: a shard of the initial population."""

from pathlib import Path

import numpy as np

from workflow_scripts.evolution.blocks import blocks_of, initialise
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.population import save_population
from workflow_scripts.step import Job, run


def initialise_shard(job: Job) -> None:
    settings = job.settings
    counts = settings["samples_per_class"]
    labels = np.repeat(np.arange(len(counts)), counts)
    generator = open_generator(
        settings["generator"], settings["classes"], job.input.get("pipeline")
    )
    blocks = blocks_of(len(labels), settings["block_size"], job.wildcards.scatteritem)
    job.claim(Path(job.output.population).parents[2])
    save_population(
        job.output.population, initialise(generator, labels, blocks, settings["identity"])
    )


if __name__ == "__main__":
    run(initialise_shard)
