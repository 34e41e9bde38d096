"""RANDOM: a shard of the initial population, or of what a trained model makes."""

from pathlib import Path

import numpy as np

from workflow_scripts.evolution.blocks import blocks_of, initialise, rows_of
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.population import save_population
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
    members = initialise(
        generator, labels, settings["fold"], settings["degree"], blocks, settings["identity"]
    )
    rows = rows_of(blocks, 1 + settings["fold"])
    save_population(population, members, rows.stop - rows.start)


if __name__ == "__main__":
    run(initialise_shard)
